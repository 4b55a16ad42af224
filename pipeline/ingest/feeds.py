"""`strata feeds`: what can be delivered, and trying a file before it is landed."""

import codecs
import json
import os
import re
import secrets
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from pipeline.errors import StrataError
from pipeline.ingest import ledger, quarantine
from pipeline.ingest.contracts import Contract, delivered_contract, load_contracts, source_of
from pipeline.ingest.generated import contract_of, facts, rules_of, type_of
from pipeline.ingest.landing import FORMATS, MANIFEST
from pipeline.ingest.load import sweep
from pipeline.ingest.mapping import targets
from pipeline.ingest.reading.content import Content
from pipeline.ingest.reject_codes import describe, load_codes
from pipeline.settings import Settings
from pipeline.words import counted

_UNNAMED = "unnamed"


# list


@dataclass(frozen=True)
class Feed:
    """One contract feed and what this home has had of it."""

    domain: str
    feed: str
    id: str
    key: tuple[str, ...]
    cadence: str
    sources: tuple[str, ...]
    files: int
    rows_loaded: int
    newest: date | None

    @property
    def delivered(self) -> bool:
        return bool(self.sources)


def list_feeds(settings: Settings) -> list[Feed]:
    """Every contract feed, with the deliveries of the ledger that were loaded into it."""
    last = quarantine.last_revisions(ledger.read(settings))
    loaded = [e for e in last.values() if e.status == "loaded"]
    found = []
    for contract in load_contracts().values():
        own = [e for e in loaded if contract.feed in targets(e.source or "", e.feed or "")]
        found.append(
            Feed(
                contract.domain,
                contract.feed,
                contract.id,
                contract.key,
                contract.cadence,
                tuple(sorted({e.source for e in own if e.source})),
                len(own),
                sum(_rows_of(e, contract.feed) for e in own),
                max((e.dt for e in own if e.dt), default=None),
            )
        )
    return found


def _rows_of(entry: ledger.Entry, feed: str) -> int:
    """Rows that a file brought to a contract feed; a mapped file brings other numbers than it has records."""
    return json.loads(entry.feed_rows).get(feed, 0) if entry.feed_rows else entry.rows_loaded


def told_list(feeds: Iterable[Feed]) -> str:
    """The feeds as a table for the terminal."""
    feeds = list(feeds)
    head = ("domain", "feed", "id", "cadence", "key", "delivered")
    rows = [
        (
            f.domain,
            f.feed,
            f.id,
            f.cadence,
            ", ".join(f.key),
            f"{', '.join(f.sources)}: {counted(f.files, 'file')} to {f.newest}, {counted(f.rows_loaded, 'row')}"
            if f.delivered
            else "-",
        )
        for f in feeds
    ]
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
    lines = [
        "  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in (head, *rows)
    ]
    lines.append(
        f"{len(feeds)} feeds, {sum(f.delivered for f in feeds)} delivered · `strata feeds show FEED` has the columns"
    )
    return "\n".join(lines)


# show


def as_dict(contract: Contract) -> dict[str, Any]:
    """The contract as plain data."""
    columns = {n: c.model_dump(mode="json", exclude_defaults=True) for n, c in contract.columns.items()}
    return contract.model_dump(mode="json") | {"columns": columns}


def told_contract(contract: Contract) -> str:
    """A contract for the terminal."""
    lines = [f"{contract.feed} · {contract.description}"]
    lines += [f"  {key:<16} {value}" for key, value in facts(contract).items()]
    lines.append("columns")
    width = max(map(len, contract.columns))
    for name, column in contract.columns.items():
        said = [type_of(column)]
        said += [column.unit.replace("_", " ")] if column.unit else []
        said += [f"personal ({column.pii})"] if column.pii else []
        rules = rules_of(column)
        lines.append(f"  {name:<{width}}  {', '.join(said)}{'; ' + rules if rules else ''}")
        if column.description:
            lines.append(f"  {'':<{width}}  {column.description}")
        if column.aliases:
            lines.append(f"  {'':<{width}}  also: {', '.join(column.aliases)}")
    for rule in contract.row_rules:
        lines.append(f"rejected as {rule.code} where {rule.reject_when}: {rule.description}")
    return "\n".join(lines)


# check


@dataclass(frozen=True)
class Rejected:
    """One rejected record. `line` and bytes are of the unpacked file, where it has lines; both count what is there."""

    record_no: int
    line: int | None
    byte_start: int | None
    byte_end: int | None
    code: str
    column: str | None
    value: str | None
    why: str
    do: str


@dataclass(frozen=True)
class Checked:
    """What would become of a file. `refused` says why the whole file would not be taken in."""

    file: str
    source: str
    feed: str
    day: date
    status: str
    rows_read: int
    rows_loaded: int
    rows_rejected: int
    rows_duplicate: int
    extra_columns: str | None
    refused: dict[str, str] | None
    rejected: tuple[Rejected, ...]

    @property
    def exit_code(self) -> int:
        """1 where anything was rejected; a record that a newer one of its key supersedes is no fault."""
        faults = [r for r in self.rejected if load_codes()[r.code].severity != "info"]
        return 1 if self.refused or faults else 0

    def as_dict(self) -> dict[str, Any]:
        return asdict(self) | {"exit_code": self.exit_code}


def check(
    settings: Settings,
    path: Path,
    *,
    source: str | None = None,
    feed: str | None = None,
    day: date | None = None,
) -> Checked:
    """What the loader would make of a file, found by loading it into a home that is thrown away.

    Args:
        source, feed, day: of the delivery, where the path is not `…/<source>/<feed>/<YYYY-MM-DD>.<ext>`. Without a day
            it is today; without a source one that declares nothing.

    Raises:
        StrataError: where there is no such file, or nothing says which feed it is.
    """
    if not path.is_symlink() and not path.is_file():
        raise StrataError(f"{path} is no file" if path.exists() else f"there is no file {path}")
    in_landing = feed is None
    source, feed = _placed(path, source, feed)
    ext = next((e for e in sorted(FORMATS, key=len, reverse=True) if path.name.endswith(f".{e}")), None)
    if ext is None:
        raise StrataError(f"{path.name} must end with .{', .'.join(FORMATS)}")
    today = datetime.now(ZoneInfo(settings.timezone)).date()
    # A file that stands in landing is judged by its own name; elsewhere the name is whatever it was saved as.
    keeps_name = day is None and (in_landing or _day_of(path.name) is not None)
    day = day or _day_of(path.name) or today
    name = path.name if keeps_name else f"{day}.{ext}"
    for what, given in (("source", source), ("feed", feed)):
        if not re.fullmatch(r"[^\W_][\w-]*", given):
            raise StrataError(f"{what} {given!r} is no folder of landing: use letters, digits, - and _")
    with _elsewhere(settings) as there:
        landed = there.landing / source / feed / name
        landed.parent.mkdir(parents=True)
        _copy(path, landed)
        manifest = path.with_name(path.name + MANIFEST)
        if keeps_name and manifest.is_file():
            _copy(manifest, landed.with_name(name + MANIFEST))
        as_of = min(day, today + timedelta(days=1)) + timedelta(days=1)
        swept = sweep(there, as_of, run_id="check", released=None)
        if not swept.entries:
            raise StrataError(f"{name} is no name of a delivery: give it another name, such as {day}.{ext}")
        entry = swept.entries[0]
        records = quarantine.read(there, entry.delivery)
        encoding = delivered_contract(source_of(source), feed).encoding  # type: ignore[union-attr]
        lines = _lines(landed, ext, encoding, [r.byte_start for r in records if r.byte_start is not None])
    return Checked(
        str(path),
        source,
        feed,
        day,
        entry.status,
        entry.rows_read,
        entry.rows_loaded,
        entry.rows_rejected,
        entry.rows_duplicate,
        entry.extra_columns,
        _refusal(entry) if entry.status == "rejected" else None,
        tuple(_rejected(record, lines, _rule(source, feed, record)) for record in records),
    )


def _day_of(name: str) -> date | None:
    try:
        return date.fromisoformat(name[:10])
    except ValueError:
        return None


def _copy(path: Path, to: Path) -> None:
    try:
        shutil.copyfile(path, to, follow_symlinks=False)
    except OSError as error:
        raise StrataError(f"{path} cannot be copied for the check: {error.strerror}") from error


def _placed(path: Path, source: str | None, feed: str | None) -> tuple[str, str]:
    """Source and feed as said, else as the folders say that the file lies in."""
    folders = path.absolute().parent
    if feed is None and delivered_contract(source_of(source or folders.parent.name), folders.name):
        feed, source = folders.name, source or folders.parent.name
    if feed is None:
        raise StrataError(
            f"which feed is {path.name}? {folders.name} is none, and no source.yml says that {folders.parent.name} "
            "delivers it. Say --feed (and --source), put it into <source>/<feed>/ with a feed of `strata feeds list`, or "
            "declare the source (docs/add-a-source.md)"
        )
    source = source or _UNNAMED
    if delivered_contract(source_of(source), feed) is None:
        contract_of(feed)
    return source, feed


@contextmanager
def _elsewhere(settings: Settings) -> Iterator[Settings]:
    """A home and a landing that are gone afterwards, under a key that nobody keeps."""
    before = os.environ.get("STRATA_TOKEN_KEY")
    os.environ["STRATA_TOKEN_KEY"] = secrets.token_hex(32)
    try:
        with tempfile.TemporaryDirectory(prefix="strata-check-") as folder:
            yield replace(settings, home=Path(folder) / "home", landing=Path(folder) / "landing")
    finally:
        if before is None:
            del os.environ["STRATA_TOKEN_KEY"]
        else:
            os.environ["STRATA_TOKEN_KEY"] = before


def _refusal(entry: ledger.Entry) -> dict[str, str]:
    code = entry.reject_code or ""
    _, why, do = describe(code)
    return {"code": code, "detail": entry.reject_detail or "", "why": why, "do": do}


def _rule(source: str, feed: str, record: quarantine.Record) -> str:
    """What the contract asks of the column that broke a rule of values; empty where the code says it all."""
    if record.code not in ("unknown_value", "unknown_currency", "out_of_range"):
        return ""
    mapped, _, column = (record.column or "").rpartition(".")
    contract = load_contracts()[mapped] if mapped else delivered_contract(source_of(source), feed)
    return rules_of(contract.columns[column]) if contract else ""


def _rejected(record: quarantine.Record, lines: dict[int, int], rule: str) -> Rejected:
    _, why, do = describe(record.code)
    why += f" ({rule})" if rule else ""
    return Rejected(
        record.record_no,
        lines.get(record.byte_start) if record.byte_start is not None else None,
        record.byte_start,
        record.byte_end,
        record.code,
        record.column,
        record.value,
        why,
        do,
    )


def _lines(path: Path, ext: str, encoding: str, offsets: Iterable[int]) -> dict[int, int]:
    """Line number, from 1, of each byte offset of a text file. UTF-16 has no line ends that are bytes: none there."""
    wanted = sorted(set(offsets))
    found: dict[int, int] = {}
    if (
        not wanted
        or ext in ("xlsx", "parquet")
        or codecs.lookup(encoding).name.startswith(("utf-16", "utf-32"))
    ):
        return found
    done = at = 0
    last = b""
    with Content(path, ext) as content:
        for block in content.blocks():
            if not at and block.startswith((b"\xff\xfe", b"\xfe\xff")):
                return {}
            while wanted and wanted[0] <= at + len(block):
                found[wanted[0]] = done + _line_ends(last, block[: wanted[0] - at]) + 1
                wanted.pop(0)
            done += _line_ends(last, block)
            at += len(block)
            last = block[-1:]
    return found


def _line_ends(before: bytes, block: bytes) -> int:
    """Line ends in `block`, where `before` is the byte that stood in front of it: LF, CR, or both as one."""
    pairs = block.count(b"\r\n") + (before == b"\r" and block[:1] == b"\n")
    return block.count(b"\n") + block.count(b"\r") - pairs


def told_check(checked: Checked, limit: int) -> str:
    """What a check found, with the first `limit` rejected records (0: all)."""
    lines = [f"{checked.file} as {checked.source}/{checked.feed} of {checked.day}"]
    if checked.refused:
        r = checked.refused
        lines += [
            f"  the whole file would be refused: {r['code']} ({r['why']})",
            f"  {r['detail']}",
            f"  to do: {r['do']}",
        ]
        return "\n".join(lines)
    lines.append(
        f"  {checked.rows_read:,} read = {checked.rows_loaded:,} loaded + {checked.rows_rejected:,} rejected "
        f"+ {checked.rows_duplicate:,} duplicate"
    )
    if checked.extra_columns:
        lines.append(f"  left out, because the contract does not know them: {checked.extra_columns}")
    shown = checked.rejected[: limit or None]
    for row in shown:
        place = f"record {row.record_no}" + (f", line {row.line}" if row.line else "")
        place += f", bytes {row.byte_start}-{row.byte_end}" if row.byte_start is not None else ""
        about = (
            f"{row.code}{' in ' + row.column if row.column else ''}{f' ({row.value})' if row.value else ''}"
        )
        lines.append(f"  {place}: {about}: {row.why}")
    if len(shown) < len(checked.rejected):
        lines.append(f"  … {len(checked.rejected) - len(shown):,} more: --limit 0 or --json shows them all")
    for code, n in Counter(r.code for r in checked.rejected).most_common():
        lines.append(f"  {n:,} × {code}: {describe(code)[2]}")
    return "\n".join(lines)
