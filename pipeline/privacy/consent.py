"""Withdrawals of consent: written down as data, and heeded at publish even before a run has taken them in."""

import secrets
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import duckdb

from pipeline import duck
from pipeline.errors import StrataError
from pipeline.ingest import ledger
from pipeline.ingest.contracts import load_sources
from pipeline.privacy import desk, persons
from pipeline.settings import Settings
from pipeline.transform import receipt

# What a person who says "stop" withdraws. Messages about an order rest on the contract: they are named on their own.
_BY_CONSENT = ("marketing", "profiling", "survey", "third_party")
_BY_MESSAGE = ("unsubscribe", "complaint")
_ENDS_PROFILING = ("object", "restrict", "delete")
# SQL of the refusals of a delivered feed: the feed whose word each is, its columns, and which rows may be one.
_WORDS = {
    "consents": ("consents", {"purpose": "purpose", "channel": "channel", "action": "action"}, "true"),
    "dsr": ("dsr", {"kind": "kind", "lifted_at": "lifted_at"}, "true"),
    # Whoever leaves by a message withdraws marketing on its channel (fct_consent_states).
    "messages": (
        "consents",
        {
            "purpose": "'marketing'",
            "channel": "channel",
            "action": "case when complained_at is not null then 'complaint' else 'unsubscribe' end",
        },
        "coalesce(unsubscribed_at, complained_at) is not null",
    ),
}


@dataclass(frozen=True)
class Withdrawal:
    """What was written down. `files` lie below `vault/desk`."""

    customer_key: str
    purposes: tuple[str, ...]
    channel: str
    files: tuple[str, ...]


@dataclass(frozen=True)
class Refusals:
    """Persons whose refusal the built tables do not know yet.

    unprofiled: may be in no table of a person's class. unmarketed: in no audience. channels: channel → persons who may
    not be addressed by it. others: any other purpose → persons who may not be met for it. by_message: channel → person →
    `unsubscribe` or `complaint`, for those of `channels` who said it by a message. A release tells neither of these two.
    """

    unprofiled: frozenset[str] = frozenset()
    unmarketed: frozenset[str] = frozenset()
    channels: Mapping[str, frozenset[str]] = field(default_factory=dict)
    others: Mapping[str, frozenset[str]] = field(default_factory=dict)
    by_message: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    @property
    def persons(self) -> frozenset[str]:
        return self.unprofiled.union(self.unmarketed, *self.channels.values())

    def __or__(self, other: "Refusals") -> "Refusals":
        """Whoever has refused in one or the other."""
        return Refusals(
            self.unprofiled | other.unprofiled,
            self.unmarketed | other.unmarketed,
            _either(self.channels, other.channels),
            _either(self.others, other.others),
            {
                c: {**self.by_message.get(c, {}), **other.by_message.get(c, {})}
                for c in {*self.by_message, *other.by_message}
            },
        )

    def of(self, people: Collection[str]) -> "Refusals":
        """Those of these customer_keys alone: many have refused, and few of them are met."""
        met = frozenset(people)
        return Refusals(
            self.unprofiled & met, self.unmarketed & met, {c: keys & met for c, keys in self.channels.items()}
        )


def _either(
    one: Mapping[str, frozenset[str]], other: Mapping[str, frozenset[str]]
) -> dict[str, frozenset[str]]:
    nobody: frozenset[str] = frozenset()
    return {name: one.get(name, nobody) | other.get(name, nobody) for name in {*one, *other}}


def withdraw(
    settings: Settings, source: str, customer_id: str, *, purpose: str | None, channel: str | None, by: str
) -> Withdrawal:
    """Write a withdrawal down; the next run takes it in. Without purpose: all that rest on consent; without channel: all.

    Raises StrataError where the home does not know the customer.
    """
    if not by.strip():
        raise StrataError("--by must say who writes the withdrawal down")
    person = persons.find(settings, source, customer_id)
    as_of = persons.as_of(settings)
    purposes = (purpose,) if purpose else _BY_CONSENT
    written = f"written down by {by} at {datetime.now(UTC).isoformat(timespec='seconds')}"
    files = []
    for moment in desk.moments(settings, as_of):
        rows = [
            {
                "consent_id": f"desk-{secrets.token_hex(8)}",
                "source_customer_id": customer_id,
                "purpose": name,
                "channel": channel or "all",
                "action": "withdraw",
                "at": moment.at,
                "proof": written,
            }
            for name in purposes
        ]
        files.append(desk.write(settings, moment.day, source, "consents", rows))
    return Withdrawal(person.customer_key, purposes, channel or "all", tuple(files))


def taken_in(settings: Settings, deliveries: Collection[str]) -> set[str]:
    """Those of the deliveries that were loaded whole: a word that was rejected is not known, whatever the ledger holds."""
    whole = {e.delivery for e in ledger.read(settings) if e.status == "loaded" and not e.rows_rejected}
    return whole & set(deliveries)


def refusals(settings: Settings, known: Collection[str]) -> Refusals:
    """What was written at the desk and is not among the deliveries `known` that the tables were built from.

    Only refusals: a grant or the end of a restriction waits for the next run.
    """
    return _refused(settings, list(desk.words(settings, taken_in(settings, known))))


def heard(settings: Settings, con: duckdb.DuckDBPyConnection, known: Collection[str]) -> set[str]:
    """The deliveries whose words have had their say in the warehouse `con`: those of the newest build where it is complete
    and its warehouse is the one that it left, else no others than `known`, a release's own."""
    if not receipt.stands(settings):
        return set(known)
    rows = con.execute("select delivery from operations.ingest_ledger where is_in_force").fetchall()
    return {row[0] for row in rows}


def delivered_since(settings: Settings, told: Collection[str]) -> Refusals:
    """What deliveries of any source say that were taken in and are not among `told`, those that the states of consent rest
    on: a run that a gate stopped has read them and built nothing. Only refusals, as above."""
    entries = ledger.in_force(ledger.read(settings), date.max)
    new = {e.delivery: e for e in entries if e.status == "loaded" and e.delivery not in told}
    waiting = []
    for feed, (word, columns, is_one) in _WORDS.items():
        folders = {settings.raw / str(e.source) / feed / f"dt={e.dt}" / f"rev={e.rev}" for e in new.values()}
        files = [str(path) for folder in sorted(folders) for path in sorted(folder.glob("*.parquet"))]
        if not files:
            continue
        with duck.connect([settings.raw]) as con:
            rows = con.execute(
                f"select _delivery, source_customer_id, {', '.join(columns.values())} "
                f"from read_parquet($1, hive_partitioning = false, union_by_name = true) where {is_one}",
                [files],
            )
            for delivery, customer, *values in rows.fetchall():
                if delivery in new:
                    row = {"source_customer_id": customer, **dict(zip(columns, values, strict=True))}
                    waiting.append(desk.Word(delivery, word, str(new[delivery].source), row))
    return _refused(settings, waiting)


def as_held(settings: Settings, release: Path, refused: Refusals) -> Refusals:
    """The same persons under the keys of today and those that a release holds them under: a merge since gives another."""
    channels = list(refused.channels)
    unprofiled, unmarketed, *keys = persons.every_key(
        settings, release, refused.unprofiled, refused.unmarketed, *(refused.channels[c] for c in channels)
    )
    return Refusals(unprofiled, unmarketed, dict(zip(channels, keys, strict=True)))


def _refused(settings: Settings, waiting: Sequence[desk.Word]) -> Refusals:
    if not waiting:
        return Refusals()
    owners = persons.owners(settings, [str(word.row.get("source_customer_id")) for word in waiting])
    unprofiled: set[str] = set()
    unmarketed: set[str] = set()
    channels: dict[str, set[str]] = defaultdict(set)
    others: dict[str, set[str]] = defaultdict(set)
    by_message: dict[str, dict[str, str]] = defaultdict(dict)
    # A source that uses another one's ids may name a person for the first time: no run has linked that record yet.
    ids_of = {one.source: one.customer_ids_of or one.source for one in load_sources().values()}
    for word in waiting:
        customer = str(word.row.get("source_customer_id"))
        key = owners.get((word.source, customer)) or owners.get((ids_of.get(word.source, ""), customer))
        if key is None:
            continue
        if word.feed == "dsr" and _ends_profiling(word.row):
            unprofiled.add(key)
        elif word.feed == "consents" and word.row.get("action") != "grant":
            if word.row.get("purpose") == "profiling":
                # Of one channel, too: what is left to the others the next run decides.
                unprofiled.add(key)
            elif word.row.get("purpose") == "marketing" and word.row.get("channel") == "all":
                unmarketed.add(key)
            elif word.row.get("purpose") == "marketing":
                channel = str(word.row["channel"])
                channels[channel].add(key)
                if word.row["action"] in _BY_MESSAGE:
                    # As in fct_consent_states, of two words the first of the alphabet.
                    said = by_message[channel]
                    said[key] = min(said.get(key, word.row["action"]), word.row["action"])
            else:
                others[str(word.row.get("purpose"))].add(key)
    return Refusals(
        frozenset(unprofiled),
        frozenset(unmarketed),
        {c: frozenset(keys) for c, keys in channels.items()},
        {p: frozenset(keys) for p, keys in others.items()},
        dict(by_message),
    )


def _ends_profiling(row: Mapping[str, Any]) -> bool:
    return row.get("kind") in _ENDS_PROFILING and not row.get("lifted_at")
