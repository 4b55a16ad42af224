"""What people decide about suspect merges. Decisions are lines of a file that is only added to.

The file is `decisions/identity.jsonl` of the home. A line counts from its `known_from` on (the as-of date of the release
that was current when it was decided), so a rebuild from the deliveries comes to the same persons. The last line about
the same records counts.
"""

import hashlib
import json
import os
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.errors import StrataError
from pipeline.identity import tables
from pipeline.identity.history import Judgement, Name, Suspect
from pipeline.settings import Settings

QUEUE = "review.parquet"
WHY = {
    "contradiction": "they share an identifier and more, but names, birth dates or member ids contradict",
    "shared value": "one source has the identifier for several records, or two people have it, and nothing else says who is meant",
    "low confidence": "the source was not sure of the identifier",
    "two people": "the link would join two people through a third record",
    "bridge": "one identifier joins two groups that hold together without it",
    "value of too many": "so many records share the identifier that it is a shop's or a mailbox of many",
    "too many ids": "so many records hang together that they are hardly one person",
}


@dataclass(frozen=True)
class Decision:
    """One line of the file. `right` is None where a shared value or a whole group is rejected."""

    at: str
    who: str
    why: str
    verdict: str
    left: Name
    right: Name | None
    rule: str
    known_from: date | None

    @property
    def judgement(self) -> Judgement:
        return Judgement(self.verdict, self.left, self.right, self.rule)


def read(settings: Settings, known_at: date = date.max) -> list[Decision]:
    """Decisions in force on a day, oldest first: of those about the same records the last one.

    Raises StrataError naming the line that cannot be read.
    """
    path = settings.decisions
    latest: dict[tuple[frozenset[Name] | Name, str], Decision] = {}
    if not path.exists():
        return []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            row = json.loads(line)
            left, right = tuple(row["left"]), tuple(row["right"]) if row["right"] else None
            known_from = date.fromisoformat(row["known_from"]) if row["known_from"] else None
            if row["verdict"] not in ("accept", "reject") or len(left) != 2:
                raise ValueError(row["verdict"])
        except (ValueError, KeyError, TypeError) as error:
            raise StrataError(f"{path}:{number}: no decision: mend or remove the line") from error
        if known_from and known_from > known_at:
            continue
        key = (frozenset((left, right)), "") if right else (left, row["rule"])
        latest.pop(key, None)
        latest[key] = Decision(**row | {"left": left, "right": right, "known_from": known_from})
    return list(latest.values())


def item_of(suspect: Suspect) -> str:
    """12 hex digits that name a suspect; the same as long as the same records are meant."""
    about = sorted([suspect.left, *([suspect.right] if suspect.right else [])])
    text = json.dumps([about, suspect.rule if suspect.right is None else ""], ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def queue(settings: Settings) -> list[dict[str, Any]]:
    """What waits for review as of the last run, the largest first. Raises StrataError where there was none yet."""
    path = settings.identity / QUEUE
    if not path.exists():
        raise StrataError(f"{path} is missing: `strata run` finds out who is who first")
    decided = {(d.left, d.right, d.rule if d.right is None else "") for d in read(settings)}
    return [
        row
        for row in pq.read_table(path).to_pylist()
        if not {
            (one, other, row["rule"] if other is None else "")
            for one, other in ((_left(row), _right(row)), (_right(row), _left(row)))
        }
        & decided
    ]


def told(items: list[dict[str, Any]], waiting: int) -> str:
    """The queue as lines for the terminal."""
    if not waiting:
        return "nothing waits for review"
    lines = []
    for row in items:
        left, right = "/".join(_left(row)), "/".join(_right(row) or ())
        who = f"{left}  {right}" if right else f"{left} and {row['records_n'] - 1:,} more"
        lines += [
            f"{row['item']}  {row['rule']:<10} {who}",
            f"              {WHY[row['why']]} (since {row['since']})",
        ]
    more = f"\n… and {waiting - len(items):,} more (--limit 0)" if waiting > len(items) else ""
    return "\n".join(lines) + more


def told_decisions(decisions: list[Decision]) -> str:
    """Decisions as lines for the terminal."""
    return (
        "\n".join(
            f"{d.at}  {d.verdict}  {'/'.join(d.left)}  {'/'.join(d.right) if d.right else f'its {d.rule} value'}  ({d.who}: {d.why})"
            for d in decisions
        )
        or "nothing is decided yet"
    )


def decide(
    settings: Settings,
    verdict: str,
    targets: tuple[str, ...],
    *,
    who: str,
    why: str,
    known_from: date | None,
) -> list[Decision]:
    """Add decisions about items of the queue, or about two records given as source/id.

    Raises StrataError where a target is unknown, or where an item of more than two records is to be accepted.
    """
    made = [
        Decision(datetime.now(UTC).isoformat(timespec="seconds"), who, why, verdict, *what, known_from)
        for what in _meant(settings, verdict, targets)
    ]
    path = settings.decisions
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(asdict(d), ensure_ascii=False, default=str) + "\n" for d in made)
    with os.fdopen(
        os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "a", encoding="utf-8"
    ) as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    return made


def _meant(settings: Settings, verdict: str, targets: tuple[str, ...]) -> list[tuple[Name, Name | None, str]]:
    if len(targets) == 2 and all("/" in target for target in targets):
        left, right = (_record(settings, target) for target in targets)
        if left == right:
            raise StrataError(f"{targets[0]} is one record: give two")
        return [(left, right, "reviewed")]
    items = {row["item"]: row for row in queue(settings)}
    found = []
    for target in targets:
        row = items.get(target)
        if row is None:
            raise StrataError(f"{target} does not wait for review: `strata identity review` lists what does")
        if verdict == "accept" and row["right_source"] is None:
            raise StrataError(
                f"{target} is about {row['records_n']} records: accept them two by two, "
                "`strata identity accept SOURCE/ID SOURCE/ID`"
            )
        found.append((_left(row), _right(row), row["rule"]))
    return found


def _record(settings: Settings, target: str) -> Name:
    source, _, id_ = target.partition("/")
    links = tables.links(settings, ("source", "source_customer_id"), newest=True)
    if links is None:
        raise StrataError(f"{settings.home} knows nobody yet: run `strata run` first")
    own = pc.and_(pc.equal(links["source"], source), pc.equal(links["source_customer_id"], id_))
    if not pc.any(own).as_py():
        raise StrataError(f"{target} is no record that Strata knows: give SOURCE/ID as in dim_identity_links")
    return source, id_


def _left(row: dict[str, Any]) -> Name:
    return row["left_source"], row["left_id"]


def _right(row: dict[str, Any]) -> Name | None:
    return (row["right_source"], row["right_id"]) if row["right_source"] else None
