"""The desk: what people ask for in person, written down as deliveries of the home's own.

`vault/desk/<source>/<feed>/<day>.desk-<time>-<id>.jsonl` holds rows of a contract feed in the name of the source whose
customer id they carry. A run takes them in like any delivery: they stand in the ledger (under `_desk/…`) and in raw, so
a rebuild keeps them. They lie in the vault because a rectification holds clear personal data. The gates of arrival and
size pass over them: nobody expects a number of them.
"""

import json
import secrets
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from pipeline.errors import StrataError
from pipeline.home import backup_folders
from pipeline.ingest.contracts import Source, source_of
from pipeline.ingest.landing import Delivery
from pipeline.ingest.vault.private import fsync_folder, write_private
from pipeline.settings import Settings

ORIGIN = "_desk/"


@dataclass(frozen=True)
class Word:
    """One row that was written down at the desk, and the delivery that holds it."""

    delivery: str
    feed: str
    source: str
    row: Mapping[str, Any]


def folder(settings: Settings) -> Path:
    return settings.vault / backup_folders.DESK


def is_of_desk(file: str) -> bool:
    """Whether a file of the ledger was written at the desk."""
    return file.startswith(ORIGIN)


def source_of_desk(name: str) -> Source:
    """The source as the desk writes in its name: columns of the contract, UTF-8, whatever its own exports look like."""
    return source_of(name).model_copy(update={"feeds": {}})


@dataclass(frozen=True)
class Moment:
    """When a word is given: the business day of its delivery, and its time (UTC, ISO)."""

    day: date
    at: str


def moments(settings: Settings, as_of: date) -> list[Moment]:
    """The moment under which the next run takes a word in; for a home that lags behind also the true one.

    A delivery holds nothing later than its day, and a run for D reads the days before D. Where the home's next run is
    for a day that is over, a word of now would wait until it has caught up: it is dated to the last moment that the home
    knows. A refusal is written again under its true time, or a grant given in between would outlast it.
    """
    zone = ZoneInfo(settings.timezone)
    now = datetime.now(UTC)
    today = now.astimezone(zone).date()
    true = Moment(today, now.isoformat(timespec="seconds"))
    if as_of >= today:
        return [true]
    day = as_of - timedelta(days=1)
    end = datetime.combine(day, time(23, 59, 59), zone).astimezone(UTC)
    return [Moment(day, end.isoformat(timespec="seconds")), true]


def write(settings: Settings, day: date, source: str, feed: str, rows: Iterable[Mapping[str, Any]]) -> str:
    """Write rows of a feed down as a delivery of `day`; the file below the desk. Durable on return.

    Raises StrataError where the source gives the feed's name to files of its own.
    """
    declared = source_of(source).feeds.get(feed)
    if declared and declared.maps_to:
        raise StrataError(f"source {source} has a feed of its own called {feed}: rename it in its source.yml")
    target = folder(settings) / source / feed
    target.mkdir(parents=True, exist_ok=True, mode=0o700)
    for parent in (target, target.parent, folder(settings)):
        parent.chmod(0o700)
    path = target / f"{day}.desk-{datetime.now(UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(4)}.jsonl"
    write_private(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    fsync_folder(target.parent)
    # A disk that cannot be written now has it with the next backup: the word itself waits for nothing.
    with suppress(OSError):
        backup_folders.leave_words(settings)
    return path.relative_to(folder(settings)).as_posix()


def deliveries(settings: Settings) -> list[Delivery]:
    """What was written at the desk, as deliveries, oldest day first."""
    found = []
    for path in sorted(folder(settings).glob("*/*/*.jsonl")):
        source, feed, name = path.relative_to(folder(settings)).parts
        found.append(Delivery(source, feed, date.fromisoformat(name[:10]), name, path, origin=ORIGIN))
    return found


def words(settings: Settings, known: Collection[str] = ()) -> Iterator[Word]:
    """The rows of every file that is not among the deliveries `known`."""
    for delivery in deliveries(settings):
        name = f"{delivery.source}/{delivery.feed}/{delivery.stem}/rev=1"
        if name not in known:
            for line in delivery.path.read_text(encoding="utf-8").splitlines():
                yield Word(name, delivery.feed, delivery.source, json.loads(line))


def forget(settings: Settings, records: Collection[tuple[str, str]]) -> int:
    """Remove what was written about these (source, source_customer_id); number of files. For an erasure.

    Each file is about one person. What a run has taken in of it stands in raw, and is taken out there.
    """
    gone = {
        word.delivery for word in words(settings) if (word.source, word.row["source_customer_id"]) in records
    }
    paths = [d.path for d in deliveries(settings) if f"{d.source}/{d.feed}/{d.stem}/rev=1" in gone]
    backup_folders.take_words_away(settings, [str(path.relative_to(folder(settings))) for path in paths])
    for path in paths:
        path.unlink()
    return len(gone)
