"""Reading landed files again after a rule was mended: states of records move, totals stay."""

import uuid
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import date
from typing import Any

from pipeline.errors import StrataError
from pipeline.ingest import ledger, quarantine
from pipeline.ingest.contracts import source_of
from pipeline.ingest.files import sha256
from pipeline.ingest.ledger import Entry
from pipeline.ingest.load import sweep
from pipeline.ingest.rules import rules_of
from pipeline.settings import Settings
from pipeline.words import counted


@dataclass(frozen=True)
class Replay:
    """What a replay came to. `moved` pairs each earlier reading with its replay; `same_rules` were left alone;
    `not_there` names files whose bytes are no longer in landing, which must be delivered again."""

    moved: tuple[tuple[Entry, Entry], ...]
    same_rules: tuple[Entry, ...]
    not_there: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        names = ("rows_read", "rows_loaded", "rows_rejected", "rows_duplicate")
        return {
            "replayed": [
                {
                    "file": new.file,
                    "replay_of": old.delivery,
                    "delivery": new.delivery,
                    "known_from": new.known_from,
                }
                | {"before": {"status": old.status} | {n: getattr(old, n) for n in names}}
                | {"after": {"status": new.status} | {n: getattr(new, n) for n in names}}
                for old, new in self.moved
            ],
            "same_rules": [e.delivery for e in self.same_rules],
            "not_there": list(self.not_there),
        }


def replay(
    settings: Settings,
    wanted: quarantine.Filter,
    *,
    all_rows: bool = False,
    released: date | None,
    log: Callable[[str], None] = lambda _: None,
) -> Replay:
    """Read landed files again under the rules of today: each becomes the next revision of its delivery.

    Only the last revision of a stem is read again, and only where its rules have changed since. Under the run lock.

    Args:
        all_rows: also files without rejects, for a mapping or contract that was wrong about rows it accepted.
        released: newest as-of date that the home has published: a replay of an older day is known from it on.

    Raises:
        StrataError: where nothing is meant by `wanted`, or no file that is meant is in landing with its bytes.
    """
    entries = ledger.read(settings)
    last = quarantine.last_revisions(entries).values()
    meant = [e for e in last if wanted.meets(e) and e.status in ("loaded", "rejected")]
    if wanted.code:
        meant = [e for e in meant if wanted.code in _codes(settings, e)]
    if not all_rows:
        meant = [e for e in meant if e.status == "rejected" or e.rows_rejected]
    if not meant:
        what = "delivery" if all_rows else "rejected record or file"
        raise StrataError(
            f"no {what} in {settings.home} is meant by that; `strata quarantine list` shows what is there"
        )
    rules = {
        (s, f): rules_of(settings, source_of(s or ""), f or "")
        for s, f in {(e.source, e.feed) for e in meant}
    }
    same = [e for e in meant if e.rules == rules[e.source, e.feed]]
    todo = [e for e in meant if e.rules != rules[e.source, e.feed]]
    not_there = [e.file for e in todo if not _has_bytes(settings, e)]
    todo = [e for e in todo if e.file not in not_there]
    if not_there and not todo:
        raise StrataError(_deliver_again(settings, not_there))
    moved: tuple[tuple[Entry, Entry], ...] = ()
    if todo:
        newest = max(e.dt for e in todo if e.dt)
        swept = sweep(
            settings,
            released or newest,
            run_id=f"replay-{uuid.uuid4()}",
            released=released,
            replay=frozenset(e.delivery for e in todo),
            log=log,
        )
        before = {e.delivery: e for e in entries}
        moved = tuple((before[e.replay_of], e) for e in swept.entries if e.replay_of)
    return Replay(moved, tuple(same), tuple(not_there))


def _codes(settings: Settings, entry: Entry) -> Collection[str | None]:
    return (
        {entry.reject_code}
        if entry.status == "rejected"
        else {r.code for r in quarantine.read(settings, entry.delivery)}
    )


def _has_bytes(settings: Settings, entry: Entry) -> bool:
    path = settings.landing / entry.file
    return path.is_file() and not path.is_symlink() and sha256(path) == entry.sha256


def _deliver_again(settings: Settings, files: Collection[str]) -> str:
    named = ", ".join(sorted(files)[:3]) + (f" and {len(files) - 3} more" if len(files) > 3 else "")
    return (
        f"{named}: not in {settings.landing} with the bytes that were loaded; deliver the file again and run "
        "`strata quarantine replay`, or deliver a correction and run `strata run`"
    )


def told(done: Replay, settings: Settings) -> str:
    """The outcome as lines for the terminal."""
    lines = []
    for old, new in done.moved:
        was = f"refused as {old.reject_code}" if old.status == "rejected" else f"{old.rows_rejected} rejected"
        now = (
            f"{new.status} as {new.reject_code}"
            if new.status != "loaded"
            else f"{new.rows_rejected} rejected"
        )
        lines.append(
            f"  {new.file}: {was} → {now}; {new.rows_loaded} of {counted(new.rows_read, 'row')} loaded (revision {new.rev})"
        )
    if done.moved:
        lines.insert(
            0, f"{counted(len(done.moved), 'file')} read again; `strata run` publishes what has moved"
        )
    if done.same_rules:
        lines.append(
            f"{counted(len(done.same_rules), 'file')} left alone: read under the rules of today already"
        )
    if done.not_there:
        lines.append(_deliver_again(settings, done.not_there))
    return "\n".join(lines)
