"""Contacts that till buyers without a card leave for the electronic receipt, and whom each of them tells (C-22)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from . import labels
from .company import STORE, Calendar
from .draws import Draws
from .files import NULL, Column, Table, chinese_headers
from .masters import account_style, lacks_phone, text_column
from .orders import SOURCE_FORMAT
from .people import People, email_spelling, person_name, phone_spelling
from .trade import SALE, Orders

LEAVES_CONTACT = 0.35
KINDS = ("own", "refused", "silent", "withdrawn", "masked", "placeholder", "borrowed")
# Of customers without their card, and of people whom nobody knows.
WEIGHTS = ((0.55, 0.12, 0.05, 0.08, 0.07, 0.05, 0.08), (0.66, 0.12, 0.05, 0.04, 0.05, 0.05, 0.03))
GIVES_NAME, GIVES_EMAIL = 0.6, 0.4
PLACEHOLDER = ("13800000000", "test@test.com")


@dataclass
class Guests:
    """One entry a contact, by order. Persons are indexes of People, −1 = nobody known."""

    order: np.ndarray
    kind: list[str]
    contact_of: np.ndarray  # whose phone it is
    joins: np.ndarray  # the person whom the order belongs to by C-22
    name: list[str | None]
    phone: list[str]  # as the contact is, before its spelling
    email: list[str | None]

    def joined(self, n: int) -> np.ndarray:
        """Person of each of n orders that a contact gives, −1 for none."""
        out = np.full(n, -1)
        out[self.order] = self.joins
        return out


def make_guests(orders: Orders, people: People, cal: Calendar, draws: Draws) -> Guests:
    """Some of the guest orders of the till leave a contact.

    Own and borrowed phones are taken only where the customer feeds surely say whose they are: the marketplace masks
    some, so a phone that stands there alone would make the truth a guess.
    """
    guest = np.array([c is None for c in orders.customer], dtype=bool)
    guest &= (orders.channel == STORE) & (orders.kind == SALE)
    guest &= draws.hits("guest.contact", len(guest), LEAVES_CONTACT)
    rows = np.flatnonzero(guest)
    n, buyers = len(rows), orders.person[rows]
    u = draws.unit("guest.contact.how", 3 * n).reshape(3, n)
    kinds = [
        np.searchsorted(np.cumsum(w) / sum(w), u[0], side="right").clip(max=len(KINDS) - 1) for w in WEIGHTS
    ]
    kind = np.where(buyers >= 0, kinds[0], kinds[1])
    words = [int(w) for w in draws.words("guest.contact.who", n)]
    owner = _sure_owners(people, cal, draws)
    lenders = sorted(owner.values())
    found: list[tuple] = []
    for k in range(n):
        what, buyer, word = KINDS[kind[k]], int(buyers[k]), words[k]
        stranger = _stranger_phone(people, k)
        whose = buyer
        phone = stranger if buyer < 0 else people.phone[buyer]
        if what == "borrowed" and lenders:
            whose = lenders[word // 64 % len(lenders)]
            phone = people.phone[whose]
        if whose >= 0 and owner.get(phone) != whose:
            continue
        email = people.email[buyer] if what == "own" and buyer >= 0 and u[2][k] < GIVES_EMAIL else None
        own_name = people.name[buyer] if buyer >= 0 else person_name(word, False, word % 2)
        name = own_name if u[1][k] < GIVES_NAME else None
        if what == "masked":
            phone = f"{phone[:3]}****{phone[7:]}"
        elif what == "placeholder":
            phone, email = PLACEHOLDER
        counts = what in ("own", "borrowed") and whose >= 0
        joins = whose if counts and name in (None, people.name[whose]) else -1
        found.append((rows[k], what, whose, joins, name, phone, email))
    order, what, whose, joins, name, phone, email = ([row[i] for row in found] for i in range(7))
    ints = [np.array(c, dtype=np.int64) for c in (order, whose, joins)]
    return Guests(ints[0], what, ints[1], ints[2], name, phone, email)


def _sure_owners(people: People, cal: Calendar, draws: Draws) -> dict[str, int]:
    """Phone → the only person whose it is, where the app or the card file surely delivers it."""
    held: dict[str, set[int]] = {}
    for p in range(people.n):
        held.setdefault(people.phone[p], set()).add(p)
    sure = set()
    for kind, source in ((0, "app"), (1, "crm")):
        style = account_style(source, people, draws).tolist()
        here = np.flatnonzero((people.registered[:, kind] < cal.days) & ~people.is_test)
        sure |= {p for p in here.tolist() if not lacks_phone(style[p])}
    return {phone: p for phone, who in held.items() for p in who if len(who) == 1 and p in sure}


def _stranger_phone(people: People, k: int) -> str:
    """A number after the last one of the people, so it is none of theirs."""
    last = int(people.phone[-1][3:]) if people.n else 0
    return f"{labels.PHONE_PREFIXES[k % len(labels.PHONE_PREFIXES)]}{(last + (k + 1) * 48271) % 10**8:08d}"


def guest_table(guests: Guests, orders: Orders, cal: Calendar, draws: Draws) -> Table:
    """A row with the order; who withdraws the agreement does so on the next day, in a row of its own."""
    n = len(guests.order)
    style = draws.words("guest.contact.style", n)
    at = orders.ordered_at[guests.order] + 60
    consented = np.array(
        [NULL if k == "silent" else int(k != "refused") for k in guests.kind], dtype=np.int64
    )
    back = np.flatnonzero([k == "withdrawn" for k in guests.kind])
    day = orders.day[guests.order]
    later = np.minimum(day[back] + 1, cal.days - 1)
    # On the last day there is no next file: the same one says both.
    back_at = np.maximum(cal.seconds(later) + 9 * 3600, at[back] + 600)
    row = np.concatenate([np.arange(n), back]).astype(np.int64)
    spelled = [
        p if "*" in p else phone_spelling(p, int(s) % 5) for p, s in zip(guests.phone, style, strict=True)
    ]
    mails = [email_spelling(m, int(s) // 8 % 4) for m, s in zip(guests.email, style, strict=True)]
    columns = {
        "order_id": Column("order_id", "s", orders.order_id[guests.order][row]),
        "name": text_column("name", [guests.name[r] for r in row]),
        "phone": text_column("phone", [spelled[r] for r in row]),
        "email": text_column("email", [mails[r] for r in row]),
        "is_consented": Column(
            "is_consented", "b", np.concatenate([consented, np.zeros(len(back), dtype=np.int64)])
        ),
        "updated_at": Column("updated_at", "ts", np.concatenate([at, back_at])),
    }
    for name, header in chinese_headers("guest_contacts", columns).items():
        columns[name].header = header
    updated = columns["updated_at"].values
    days = np.concatenate([day, later])
    return Table(
        "store_pos", "guest_contacts", SOURCE_FORMAT["store_pos"], list(columns.values()), days
    ).sorted(updated, columns["order_id"].values)
