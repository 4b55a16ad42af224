"""Whom the company writes to and whom its people call: messages with what became of them, and personal contacts."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .accounts import SOURCE as B2B
from .accounts import Account
from .company import DAY, Calendar
from .draws import EXPONENTIAL, Draws, choose, lognormal, read_table
from .files import NULL, Column, Table
from .masters import text_column
from .orders import deliveries
from .people import People

SOURCE = "outreach"
CRM = 1  # the account kind whose card numbers the tool has
INTEREST = lognormal(0.7)
OPENED, CLICKED_OF_OPENED, SMS_CLICKED, INTEREST_OF_LEAVERS = 0.32, 0.18, 0.06, 0.25
DEAD_ADDRESS, FULL_MAILBOX = 0.004, 0.008
UNSUBSCRIBED_BY_MESSAGE = 2 * DAY
COMPLAINED = 0.004  # of the mails that arrive
COST_FEN = {"email": 1, "sms": 5}
# Of the card holders so many are minded by somebody; the first third of them more often.
CARED, CARE_DAYS, CARE_DAYS_KEY, VISIT_DAYS = 0.3, 80, 32, 45
CARERS = 6


class Campaign(NamedTuple):
    """Sent on its weekday (Monday 0) every so many weeks to a share of those who have consented to its channel."""

    id: str
    channel: str
    weekday: int
    every: int
    hour: int
    reach: float


CAMPAIGNS = (
    Campaign("MAIL-WEEKLY", "email", 1, 1, 9, 0.95),
    Campaign("SMS-WEEKLY", "sms", 3, 1, 10, 0.55),
    Campaign("SMS-WEEKEND", "sms", 4, 2, 17, 0.35),
)
STATES = (
    "sent_at",
    "delivered_at",
    "opened_at",
    "clicked_at",
    "bounced_at",
    "unsubscribed_at",
    "complained_at",
)


class Consents:
    """What the consents of the cards say of marketing on one channel; withdrawing all of them ends each."""

    def __init__(self, table: Table, channel: str, people: People):
        columns = {c.name: c.values for c in table.columns}
        person = {card: k for k, card in enumerate(people.account_id[CRM]) if card is not None}
        of_channel = (columns["channel"] == channel) | (columns["channel"] == "all")
        rows = np.flatnonzero((columns["purpose"] == "marketing") & of_channel)
        who = np.array([person[card] for card in columns["source_customer_id"][rows]], dtype=np.int64)
        at = columns["at"][rows].astype(np.int64)
        order = np.lexsort((at, who))
        self._keys = (who * 2**32 + at)[order]
        self._granted = (columns["action"][rows] == "grant")[order]

    def live(self, person: np.ndarray, at: np.ndarray) -> np.ndarray:
        """Whether each person's last word by then was yes."""
        if not len(self._keys):
            return np.zeros(len(person), dtype=bool)
        place = np.searchsorted(self._keys, person * 2**32 + at, side="left") - 1
        return (place >= 0) & (self._keys[place] // 2**32 == person) & self._granted[place]

    def withdrawn_after(self, person: np.ndarray, at: np.ndarray) -> np.ndarray:
        """When each person next withdrew, NULL where it took longer than a message is remembered."""
        keys = self._keys[~self._granted]
        if not len(keys):
            return np.full(len(person), NULL)
        place = np.minimum(np.searchsorted(keys, person * 2**32 + at, side="right"), len(keys) - 1)
        moment = keys[place] - person * 2**32
        return np.where((moment > at) & (moment <= at + UNSUBSCRIBED_BY_MESSAGE), moment, NULL)


def outreach_tables(
    consents: Table, people: People, accounts: list[Account], stopped: np.ndarray, cal: Calendar, draws: Draws
) -> list[Table]:
    """Messages and contacts of people, by their card numbers, and contacts of business customers.

    consents: those of the cards. stopped: the day from which each person does not buy any more.
    """
    return [
        _message_table(consents, people, stopped, cal, draws),
        _contact_table(consents, people, cal, draws),
        _visit_table(accounts, cal, draws),
    ]


def _message_table(
    consents: Table, people: People, stopped: np.ndarray, cal: Calendar, draws: Draws
) -> Table:
    n = people.n
    interest = draws.shaped("message.interest", n, INTEREST)
    reachable = ~people.is_test & ~people.is_minor
    parts: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    for number, campaign in enumerate(CAMPAIGNS):
        own = Consents(consents, campaign.channel, people)
        dead = draws.hits(f"message.dead.{campaign.channel}", n, DEAD_ADDRESS)
        for day in np.flatnonzero(cal.weekday == campaign.weekday).tolist():
            if int(cal.epoch_day[day]) // 7 % campaign.every:
                continue
            sent = cal.seconds(np.full(n, day)) + campaign.hour * 3600 + np.arange(n) % 600
            picked = draws.hits(f"message.{campaign.id}", n, campaign.reach, day)
            who = np.flatnonzero(reachable & picked & own.live(np.arange(n), sent))
            u = draws.unit(f"message.{campaign.id}.then", 6 * n, day).reshape(6, n)[:, who]
            sent = sent[who]
            bounced = dead[who] | (u[0] < FULL_MAILBOX)
            delivered = np.where(bounced, NULL, sent + 2 + (u[1] * 60).astype(np.int64))
            eager = interest[who] * np.where(stopped[who] <= day, INTEREST_OF_LEAVERS, 1.0)
            later = delivered + 60 + (read_table(EXPONENTIAL, u[2]) * 5 * 3600).astype(np.int64)
            if campaign.channel == "email":
                opens = ~bounced & (u[3] < np.minimum(OPENED * eager, 0.95))
                opened = np.where(opens, later, NULL)
                clicked = np.where(opens & (u[4] < CLICKED_OF_OPENED), later + 15, NULL)
            else:
                # Nobody sees whether a short message was opened.
                opened = np.full(len(who), NULL)
                clicked = np.where(~bounced & (u[4] < np.minimum(SMS_CLICKED * eager, 0.6)), later, NULL)
            left = np.where(bounced, NULL, own.withdrawn_after(who, np.where(bounced, sent, delivered)))
            returned = np.where(bounced, sent + 30, NULL)
            # A stream of its own: what else happens stays as it would be without complaints.
            spam = draws.unit(f"message.{campaign.id}.spam", n, day)[who]
            complains = ~bounced & (spam < COMPLAINED) & (campaign.channel == "email")
            seen = np.where(opened != NULL, opened, delivered)
            complained = np.where(complains, seen + 20 + (spam / COMPLAINED * 600).astype(np.int64), NULL)
            events = np.stack([sent, delivered, opened, clicked, returned, left, complained], axis=1)
            kind = np.full((len(who), 2), number, dtype=np.int64)
            kind[:, 1] = dead[who]
            parts.append((who, events, kind))
    who, events, kind = (
        (np.concatenate(part) for part in zip(*parts, strict=True))
        if parts
        else (np.zeros(0, np.int64), np.zeros((0, len(STATES)), np.int64), np.zeros((0, 2), np.int64))
    )
    order = np.lexsort((who, events[:, 0]))
    who, events, kind = who[order], events[order], kind[order]
    # Whoever left may have done so before opening, and a state comes on the day on which it was reached.
    row, day, updated = deliveries(np.sort(events, axis=1), cal)
    # Numbered all the same, so that a message keeps its id whoever else complains.
    sent = ~_after_a_complaint(who, kind[:, 0], events)[row]
    row, day, updated = row[sent], day[sent], updated[sent]
    shown = np.where(events[row] < (cal.seconds(day) + DAY)[:, None], events[row], NULL)
    channel = [CAMPAIGNS[k].channel for k in kind[row, 0].tolist()]
    back = shown[:, STATES.index("bounced_at")] != NULL
    return Table(
        SOURCE,
        "messages",
        "csv",
        [
            text_column("message_id", [f"MSG{k + 1:08d}" for k in row.tolist()]),
            text_column("campaign_id", [CAMPAIGNS[k].id for k in kind[row, 0].tolist()]),
            Column("source_customer_id", "s", people.account_id[CRM][who[row]]),
            text_column("channel", channel),
            *[Column(name, "ts", shown[:, k]) for k, name in enumerate(STATES)],
            Column("bounce_type", "s", np.where(back, np.where(kind[row, 1] == 1, "hard", "soft"), None)),
            Column("cost", "m", np.array([COST_FEN[c] for c in channel], dtype=np.int64)),
            Column("updated_at", "ts", updated),
        ],
        day,
    ).sorted(row, updated)


def _after_a_complaint(who: np.ndarray, campaign: np.ndarray, events: np.ndarray) -> np.ndarray:
    """Mails to who has called one of before spam: the tool sends none of them."""
    mail = np.array([c.channel == "email" for c in CAMPAIGNS], dtype=bool)[campaign]
    complained = events[:, STATES.index("complained_at")]
    first: dict[int, int] = {}
    for k in np.flatnonzero(complained != NULL).tolist():
        first[int(who[k])] = min(first.get(int(who[k]), int(complained[k])), int(complained[k]))
    left = np.array([first.get(k, -NULL) for k in who.tolist()], dtype=np.int64)
    return mail & (events[:, 0] > left)


def _contact_table(consents: Table, people: People, cal: Calendar, draws: Draws) -> Table:
    """Card holders who spend most are minded by one employee each: called where they allow it, else written to or met."""
    n = people.n
    minded = people.buys & ~people.is_test & ~people.is_minor & (people.registered[:, CRM] < cal.days)
    rank = np.argsort(np.where(minded, -people.basket / people.gap, 1.0), kind="stable")
    cared = rank[: min(int(CARED * n), int(minded.sum()))]
    every = np.where(np.arange(len(cared)) < len(cared) // 3, CARE_DAYS_KEY, CARE_DAYS)
    who, at = _rounds(cared, every, people.registered[cared, CRM], "care", cal, draws)
    u = draws.unit("care.how", 3 * len(who)).reshape(3, -1)
    call = Consents(consents, "call", people).live(who, at)
    kind = np.where(call, "call", np.where(u[0] < 0.75, "chat", "visit")).astype(object)
    reached = np.array(("reached", "no_answer", "callback"), dtype=object)[choose(u[1], (0.7, 0.2, 0.1))]
    columns = [
        Column("source_customer_id", "s", people.account_id[CRM][who]),
        Column("kind", "s", kind),
        Column("direction", "s", np.where(u[2] < 0.85, "out", "in").astype(object)),
        Column("at", "ts", at),
        text_column("employee_id", [f"E1{k % CARERS:02d}" for k in who.tolist()]),
        Column("code", "s", np.where(call, reached, "reached").astype(object)),
        Column("cost", "m", np.where(call, 300, 120).astype(np.int64)),
    ]
    return _contacts(SOURCE, "KC", columns, at, cal, daily=True)


def _visit_table(accounts: list[Account], cal: Calendar, draws: Draws) -> Table:
    """Who minds a business customer sees it or calls."""
    own = np.array([k for k, account in enumerate(accounts) if account.owner], dtype=np.int64)
    since = np.array([accounts[k].since for k in own], dtype=np.int64)
    who, at = _rounds(own, np.full(len(own), VISIT_DAYS), since, "visit", cal, draws)
    kinds = np.array(("visit", "meeting", "call"), dtype=object)
    kind = kinds[draws.choice("visit.how", len(who), (0.5, 0.2, 0.3))]
    columns = [
        text_column("account_id", [accounts[k].id for k in who.tolist()]),
        Column("kind", "s", kind),
        text_column("direction", ["out"] * len(who)),
        Column("at", "ts", at),
        text_column("employee_id", [accounts[k].owner for k in who.tolist()]),
    ]
    return _contacts(B2B, "BV", columns, at, cal, daily=False)


def _rounds(
    who: np.ndarray, every: np.ndarray, since: np.ndarray, stream: str, cal: Calendar, draws: Draws
) -> tuple[np.ndarray, np.ndarray]:
    """(who, local second) of contacts about `every` days apart, on working days from `since` on."""
    found: list[tuple[np.ndarray, np.ndarray]] = []
    u = draws.unit(f"{stream}.first", len(who))
    day = np.maximum(since, 0) + (u * every).astype(np.int64)
    turn = 0
    while (day < cal.days).any():
        v = draws.unit(f"{stream}.next", 2 * len(who), turn).reshape(2, -1)
        # Nobody is called on a Sunday.
        on = day + (cal.weekday[np.minimum(day, cal.days - 1)] == 6)
        keep = on < cal.days
        found.append((who[keep], (cal.seconds(on) + 9 * 3600 + (v[0] * 9 * 3600).astype(np.int64))[keep]))
        day = day + np.maximum((every * (0.7 + 0.6 * v[1])).astype(np.int64), 1)
        turn += 1
    if not found:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    people, at = (np.concatenate(part) for part in zip(*found, strict=True))
    order = np.lexsort((people, at))
    return people[order], at[order]


def _contacts(
    source: str, prefix: str, columns: list[Column], at: np.ndarray, cal: Calendar, daily: bool
) -> Table:
    ids = text_column("contact_id", [f"{prefix}{k + 1:07d}" for k in range(len(at))])
    day = at // DAY - int(cal.epoch_day[0])
    return Table(source, "contact_log", "csv", [ids, *columns], day, daily=daily)
