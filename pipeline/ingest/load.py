"""Landing → raw: sweep what is pending, account for every record, write Parquet, tokenise personal data."""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from pipeline.ingest import ledger, profile, quarantine
from pipeline.ingest.contracts import load_contracts, source_of
from pipeline.ingest.files import file_stat
from pipeline.ingest.landing import Delivery, Misplaced, scan
from pipeline.ingest.ledger import Entry
from pipeline.ingest.loader import Loader, now_utc
from pipeline.ingest.mapping import targets
from pipeline.ingest.reading.content import FileRejected, sha256_of
from pipeline.ingest.vault import Vault
from pipeline.ingest.writing import check_raw, prepare_raw
from pipeline.privacy import desk
from pipeline.settings import Settings
from pipeline.words import counted

_NAME_SHOWN = 400
_DETAIL_SHOWN = 1_000


@dataclass(frozen=True)
class Sweep:
    """What a sweep took in: the new ledger entries."""

    entries: tuple[Entry, ...]

    def of_feed(self, feed: str) -> list[Entry]:
        """Entries whose rows went to the contract feed `feed`."""
        return [e for e in self.entries if e.source and e.feed and feed in targets(e.source, e.feed)]


def sweep(
    settings: Settings,
    as_of: date,
    *,
    run_id: str,
    released: date | None,
    feeds: set[str] | None = None,
    replay: Collection[str] = (),
    log: Callable[[str], None] = lambda _: None,
) -> Sweep:
    """Take in every pending file whose business day lies before `as_of`.

    Args:
        released: newest as-of date that the home has published, for `known_from`.
        feeds: contract feeds to take in; all where None.
        replay: deliveries to read again under the rules of today. Nothing else is taken in then.
    """
    prepare_raw(settings)
    known = ledger.read(settings)
    check_raw(settings, known)
    ledger.fold(settings)
    profile.fold(settings.raw, {entry.delivery for entry in known})
    deliveries, misplaced = scan(settings.landing)
    deliveries = [*deliveries, *desk.deliveries(settings)]
    # Beside what is read again the loader sees the unchanged files of the feed: one may lean on what moves.
    again = {e.file for e in known if e.delivery in replay}
    moving = {(e.source, e.feed) for e in known if e.delivery in replay}
    unchanged = {(e.file, e.file_stat) for e in known} if replay else set()
    groups: dict[tuple[str, str, str], list[Delivery]] = defaultdict(list)
    for delivery in deliveries:
        if replay:
            same = (delivery.source, delivery.feed) in moving and (delivery.file, delivery.stat) in unchanged
            wanted = delivery.file in again or same
        else:
            fills = set(targets(delivery.source, delivery.feed))
            wanted = delivery.dt < as_of and (feeds is None or bool(feeds & fills))
        if wanted:
            groups[delivery.source, delivery.feed, delivery.origin].append(delivery)
    before = quarantine.last_revisions(known)
    new: list[Entry] = []
    with Vault(settings) as vault:
        if not replay:
            new += _refused(misplaced, deliveries, known, as_of, run_id, settings, vault)
            ledger.append(settings, new)
        # Names first: a comment of the same sweep may name a customer whom the vault does not know yet.
        for (source, feed, origin), files in sorted(
            groups.items(), key=lambda g: not _names_people(*g[0][:2])
        ):
            done = 0
            loader = Loader(
                settings,
                vault,
                desk.source_of_desk(source) if origin else source_of(source),
                feed,
                [*known, *new],
                run_id,
                released,
                as_of,
                replay,
            )
            for entries in loader.load(files):
                new.extend(entries)
                for entry in entries:
                    other = before.get((entry.source, entry.feed, entry.stem))
                    if other and other.file != entry.file and entry.status == "loaded":
                        log(f"{entry.file} takes the place of {other.file} (revision {entry.rev})")
                done += len(entries)
            if done:
                rows = sum(e.rows_loaded for e in new[-done:])
                log(f"{source}/{feed}: {counted(done, 'file')}, {counted(rows, 'row')} loaded")
    return Sweep(tuple(new))


def _names_people(source: str, feed: str) -> bool:
    """Whether a delivered feed fills a feed with people's names."""
    contracts = load_contracts()
    return any(
        c.pii == "name"
        for t in targets(source, feed)
        if t in contracts
        for c in contracts[t].columns.values()
    )


def _refused(
    misplaced: Iterable[Misplaced],
    deliveries: Iterable[Delivery],
    known: list[Entry],
    as_of: date,
    run_id: str,
    settings: Settings,
    vault: Vault,
) -> Iterator[Entry]:
    """Entries for files that stand in no delivery's place or are dated after tomorrow; each is named once.

    A name is anybody's: what is personal in it is masked, and it is cut.
    """
    seen = {(e.file, e.file_stat) for e in known}
    tomorrow = datetime.now(ZoneInfo(settings.timezone)).date() + timedelta(days=1)
    cases = [(m.file, m.path, m.code, f"expected {m.expected}") for m in misplaced]
    cases += [
        (d.file, d.path, "future_delivery", f"the name says {d.dt}, which is after tomorrow ({tomorrow})")
        for d in deliveries
        if d.dt > tomorrow and d.dt >= as_of
    ]
    for file, path, code, detail in cases:
        try:
            size, stat = path.lstat().st_size, file_stat(path)
        except FileNotFoundError:
            # It was taken away since the folder was listed.
            continue
        file, detail = vault.mask([file[:_NAME_SHOWN], detail[:_DETAIL_SHOWN]], "CN")
        if (file, stat) not in seen:
            sha = ""
            with suppress(FileRejected):
                sha = sha256_of(path)
            yield Entry(
                delivery=f"{file}/rev=0",
                source=None,
                feed=None,
                stem=None,
                file=file,
                dt=None,
                rev=0,
                known_from=as_of,
                sha256=sha,
                bytes=size,
                status="rejected",
                loaded_at=now_utc(),
                run_id=run_id,
                file_stat=stat,
                reject_code=code,
                reject_detail=detail,
            )
