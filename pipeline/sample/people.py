"""Persons, the accounts they hold in each source, and what they buy like."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from . import labels
from .company import NEVER, Calendar
from .draws import Draws, lognormal

# Accounts of a person, in this order everywhere. TM and JD are two shops of the source marketplace.
ACCOUNTS = ("app", "crm", "tm", "jd", "dealer")
HELD_BY = (0.66, 0.62, 0.16, 0.10, 0.09)
GAP_SKEW, BASKET_SKEW = lognormal(0.95), lognormal(0.42)
MEDIAN_GAP_DAYS = 22.0
# Shares by household type of labels in catalog.HOUSEHOLDS.
HOUSEHOLD_SHARE = (0.20, 0.17, 0.30, 0.18, 0.15)
HOUSEHOLD_BASKET = (0.6, 0.9, 1.5, 1.1, 0.8)
BIRTH_YEARS = ((1992, 2005), (1988, 2001), (1978, 1996), (1964, 1978), (1945, 1964))
# Preference for STORE, APP, MINI, TM, JD, DEALER by household type.
PREFERENCE = (
    (0.35, 1.3, 1.0, 0.7, 0.5, 0.2),
    (0.5, 1.1, 0.8, 0.6, 0.5, 0.3),
    (0.9, 0.9, 0.8, 0.5, 0.4, 0.4),
    (1.4, 0.4, 0.7, 0.3, 0.2, 0.8),
    (2.0, 0.15, 0.4, 0.1, 0.1, 1.0),
)


@dataclass
class People:
    """Arrays over persons 0 … n−1; days are indexes of the calendar, NEVER = does not happen."""

    n: int
    person_id: np.ndarray
    household: np.ndarray
    size: np.ndarray
    gender: np.ndarray  # 0 male, 1 female
    birth: np.ndarray  # days since 1970-01-01
    english: np.ndarray
    city: np.ndarray
    gap: np.ndarray  # own mean days between purchases
    basket: np.ndarray
    weekday: np.ndarray  # favourite day for shopping
    preference: np.ndarray  # n × 6
    joined: np.ndarray  # day of the first account
    registered: np.ndarray  # n × ACCOUNTS: day
    account_id: list[np.ndarray]  # per account kind: id or None
    buys: np.ndarray
    is_test: np.ndarray
    is_employee: np.ndarray
    is_minor: np.ndarray
    name: list[str]
    phone: list[str]  # 11 digits
    email: list[str | None]
    address: list[str]


def make_people(n: int, calendar: Calendar, draws: Draws) -> People:
    u = draws.unit
    household = draws.choice("person.household", n, HOUSEHOLD_SHARE)
    years = np.array(BIRTH_YEARS)[household]
    birth_year = years[:, 0] + (u("person.birth.year", n) * (years[:, 1] - years[:, 0])).astype(np.int64)
    is_minor = draws.hits("person.minor", n, 0.006)
    birth_year = np.where(is_minor, 2009 + draws.below("person.minor.year", n, 5), birth_year)
    birth = (birth_year - 1970) * 36525 // 100 + draws.below("person.birth.day", n, 365)
    size = np.array([1, 2, 3, 2, 2])[household] + ((household == 2) & (u("person.size", n) < 0.45))
    gap = np.clip(MEDIAN_GAP_DAYS * draws.shaped("person.gap", n, GAP_SKEW), 2.5, 260.0)
    basket = np.array(HOUSEHOLD_BASKET)[household] * draws.shaped("person.basket", n, BASKET_SKEW)
    noise = 0.4 + 1.2 * u("person.preference", 6 * n).reshape(n, 6)
    joined = _joined(n, calendar.days, draws)
    registered = _registered(joined, n, draws)
    is_test = np.zeros(n, dtype=bool)
    # Test accounts live in the app only; every company has two, the first two persons of the list.
    is_test[:2] = True
    is_test |= draws.hits("person.test", n, 0.001)
    registered[is_test] = NEVER
    registered[is_test, 0] = np.minimum(joined[is_test], 0)
    joined[is_test] = registered[is_test, 0]
    is_employee = draws.hits("person.employee", n, 0.01) & ~is_test
    return People(
        n,
        np.array([f"PER{k + 1:06d}" for k in range(n)], dtype=object),
        household,
        size,
        (u("person.gender", n) < 0.58).astype(np.int64),
        birth,
        draws.hits("person.english", n, 0.04),
        draws.choice("person.city", n, labels.CITY_WEIGHTS),
        gap,
        basket,
        draws.below("person.weekday", n, 7),
        np.array(PREFERENCE)[household] * noise,
        joined,
        registered,
        _account_ids(n, registered, draws),
        ~draws.hits("person.prospect", n, 0.08),
        is_test,
        is_employee,
        is_minor,
        [],
        [],
        [],
        [],
    )


def _joined(n: int, days: int, draws: Draws) -> np.ndarray:
    """Three in ten per year of the sample join inside it, later days more often; the rest before."""
    share_new = min(0.5, 0.30 * days / 365)
    inside = draws.hits("person.joins", n, share_new)
    root = np.sqrt(draws.unit("person.joined", n))
    before = -1 - (900 * (1 - root)).astype(np.int64)
    return np.where(
        inside, (days * (0.35 * draws.unit("person.joined.flat", n) + 0.65 * root)).astype(np.int64), before
    )


def _registered(joined: np.ndarray, n: int, draws: Draws) -> np.ndarray:
    """Day of each account: one at the join day, the others up to a year later."""
    held = draws.unit("account.held", 5 * n).reshape(n, 5) < np.array(HELD_BY)
    none = ~held[:, :4].any(axis=1)
    held[none, 1] = True
    later = (200 * draws.unit("account.later", 5 * n).reshape(n, 5) ** 2).astype(np.int64)
    # The first account is one with the shortest wait among those held; never the dealer's.
    wait = np.where(held, later, NEVER)
    wait[:, 4] += 1
    first = wait[:, :4].min(axis=1)
    return np.where(held, joined[:, None] + wait - first[:, None], NEVER)


def _account_ids(n: int, registered: np.ndarray, draws: Draws) -> list[np.ndarray]:
    words = draws.words("account.id", n)
    shapes = (
        lambda k: f"A{1000000 + (k * 48271 + 7919) % 8999993}",
        lambda k: f"C{k + 1:06d}",
        lambda k: f"TM{int(words[k]) % 10**6:06d}{k:05d}",
        lambda k: f"JD_{int(words[k]) >> 40:06x}{k:05d}",
        lambda k: f"DC{k + 1:05d}",
    )
    out = []
    for kind, shape in enumerate(shapes):
        ids = np.full(n, None, dtype=object)
        for k in np.flatnonzero(registered[:, kind] < NEVER).tolist():
            ids[k] = shape(k)
        out.append(ids)
    return out


def name_people(people: People, draws: Draws) -> People:
    """Fill name, phone, e-mail and address; 1 % of the persons share the phone of the person before them."""
    n = people.n
    word = [[int(x) for x in draws.words(f"person.{w}", n)] for w in ("name", "phone", "mail", "address")]
    shared = draws.hits("person.phone.shared", n, 0.01)
    offset = word[1][0] % 10**8
    for k in range(n):
        people.name.append(person_name(word[0][k], bool(people.english[k]), int(people.gender[k])))
        # 48271 is prime to 10^8, so the last eight digits never repeat.
        digits = (offset + k * 48271) % 10**8
        phone = f"{labels.PHONE_PREFIXES[word[1][k] % len(labels.PHONE_PREFIXES)]}{digits:08d}"
        people.phone.append(people.phone[-1] if shared[k] and k > 2 else phone)
        m = word[2][k]
        first, second = labels.MAIL_WORDS[m % 12], labels.MAIL_WORDS[m // 12 % 12]
        mail = f"{first}.{second}{k}@{labels.MAIL_HOSTS[m // 144 % 3]}"
        people.email.append(mail if m // 432 % 10 < 6 else None)
        people.address.append(address(word[3][k], int(people.city[k]), bool(people.english[k])))
    return people


def person_name(word: int, english: bool, gender: int) -> str:
    if english:
        return f"{labels.ENGLISH_FIRST[word % 16]} {labels.ENGLISH_LAST[word // 16 % 16]}"
    given = labels.GIVEN["female" if gender else "male"]
    return labels.SURNAMES[word % len(labels.SURNAMES)] + given[word // 64 % len(given)]


def address(word: int, city: int, english: bool) -> str:
    """One line; the English spelling has commas, as CSV files meet them."""
    street = labels.STREETS[word % len(labels.STREETS)]
    estate = labels.ESTATES[word // 16 % len(labels.ESTATES)]
    house, unit, room = word // 256 % 300 + 1, word // 2**20 % 4 + 1, word // 2**24 % 18 * 100 + 101
    if english:
        return f"Room {room}, Unit {unit}, No. {house} {street}, {labels.CITIES[city][1]}"
    return f"{labels.CITIES[city][1]}{street}{house}号{estate}{unit}单元{room}室"


def phone_spelling(phone: str, style: int) -> str:
    """The same number as different systems keep it."""
    return (
        phone,
        f"+86 {phone[:3]} {phone[3:7]} {phone[7:]}",
        f"{phone[:3]}-{phone[3:7]}-{phone[7:]}",
        f"0086{phone}",
        f" {phone} ",
    )[style]


def email_spelling(email: str | None, style: int) -> str | None:
    if email is None:
        return None
    return (email, email.upper(), email.capitalize(), f"{email} ")[style]
