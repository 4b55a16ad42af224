"""Withdrawals of consent: written down as data, and heeded at publish even before a run has taken them in."""

import secrets
from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from pipeline.errors import StrataError
from pipeline.ingest import ledger
from pipeline.privacy import desk, persons
from pipeline.settings import Settings

# What a person who says "stop" withdraws. Messages about an order rest on the contract: they are named on their own.
_BY_CONSENT = ("marketing", "profiling", "survey", "third_party")
_ENDS_PROFILING = ("object", "restrict", "delete")


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
    not be addressed by it.
    """

    unprofiled: frozenset[str] = frozenset()
    unmarketed: frozenset[str] = frozenset()
    channels: Mapping[str, frozenset[str]] = field(default_factory=dict)

    @property
    def persons(self) -> frozenset[str]:
        return self.unprofiled.union(self.unmarketed, *self.channels.values())


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
    waiting = list(desk.words(settings, taken_in(settings, known)))
    if not waiting:
        return Refusals()
    owners = persons.links(settings)
    unprofiled: set[str] = set()
    unmarketed: set[str] = set()
    channels: dict[str, set[str]] = defaultdict(set)
    for word in waiting:
        key = owners.get((word.source, str(word.row.get("source_customer_id"))))
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
                channels[str(word.row["channel"])].add(key)
    return Refusals(
        frozenset(unprofiled), frozenset(unmarketed), {c: frozenset(keys) for c, keys in channels.items()}
    )


def _ends_profiling(row: Mapping[str, Any]) -> bool:
    return row.get("kind") in _ENDS_PROFILING and not row.get("lifted_at")
