"""What the files of a home say of one order or record: ledger, raw, quarantine, and landing where it is still there.

Everything here reads closed files, so it works while a run holds the home.
"""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from pipeline import duck
from pipeline.ingest import ledger, quarantine
from pipeline.ingest.contracts import Contract, delivered_contract, load_contracts, source_of
from pipeline.ingest.files import sha256
from pipeline.ingest.landing import Delivery, scan
from pipeline.ingest.ledger import Entry
from pipeline.ingest.mapping import targets
from pipeline.ingest.reading.content import Content, FileRejected
from pipeline.ingest.reading.reader import read_file, record_spans
from pipeline.ingest.reject_codes import load_codes
from pipeline.publish.shelf import current
from pipeline.settings import Settings

# Feeds of which each row in force becomes a row of a fact table, or is merged into a later version of it.
FACTS = {
    "orders": "fct_orders",
    "order_lines": "fct_order_lines",
    "returns": "fct_returns",
    "tickets": "fct_tickets",
}
_MAX_ROWS = 5_000
_TEXT = ("csv", "jsonl", "csv.gz", "jsonl.gz")


class Books:
    """One home as it stands now. `as_of` is the day of the current release, else the day after the last delivery."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.entries = ledger.read(settings)
        self.by_delivery = {e.delivery: e for e in self.entries}
        self.last = quarantine.last_revisions(self.entries)
        self.replayed_by = {e.replay_of: e for e in self.entries if e.replay_of}
        self.release = current(settings)
        days = [e.dt for e in self.entries if e.dt]
        if self.release:
            self.as_of = date.fromisoformat(self.release["as_of_date"])
        else:
            self.as_of = max(days, default=date.min) + timedelta(days=1)
        self.in_force = {
            e.delivery for e in ledger.in_force(self.entries, self.as_of) if e.status == "loaded"
        }
        # Deliveries in force in the warehouse as it was built last; None where nobody has looked.
        self.built: set[str] | None = None
        self._numbers: dict[str, dict[int, quarantine.Record]] = {}

    def current_of(self, entry: Entry) -> Entry:
        """The newest revision of the entry's stem."""
        return self.last.get((entry.source, entry.feed, entry.stem), entry)

    def last_reading(self, entry: Entry) -> Entry:
        """The entry, or the replay that read its bytes last."""
        while entry.delivery in self.replayed_by:
            entry = self.replayed_by[entry.delivery]
        return entry

    def rejects(self, entry: Entry) -> Mapping[int, quarantine.Record]:
        """Rejected records of one delivery by number."""
        if entry.delivery not in self._numbers:
            found = quarantine.read(self.settings, entry.delivery) if entry.rows_rejected else []
            self._numbers[entry.delivery] = {r.record_no: r for r in found}
        return self._numbers[entry.delivery]

    def repeats(self, entry: Entry) -> list[dict[str, Any]]:
        """Records of a delivery that were left out as repeats, with the record that they repeat."""
        path = quarantine.duplicates_path(self.settings, entry.delivery)
        return pq.read_table(path).to_pylist() if path.exists() else []

    def raw(self, feed: str, condition: str, values: Sequence[Any]) -> list[dict[str, Any]]:
        """Rows of one contract feed in raw, with `_delivery` and `_row`. At most 5,000.

        Args:
            condition: SQL over the columns of the feed, with a ? for each of `values`.
        """
        # A home that nobody delivers this feed to, or that is older than the feed, has no file of it.
        if not any(self.settings.raw.glob(f"*/{feed}/dt=*")):
            return []
        files = duck.literal(str(self.settings.raw / "*" / feed / "*" / "*" / "*.parquet"))
        with duck.connect([self.settings.raw]) as con:
            found = con.execute(
                f"select * from read_parquet({files}, union_by_name = true, hive_partitioning = false) "
                f"where {condition} order by _delivery, _row limit {_MAX_ROWS}",
                list(values),
            ).to_arrow_table()
        known = [row for row in found.to_pylist() if row["_delivery"] in self.by_delivery]
        return [row | {"_feed": feed} for row in known]

    # Landing

    def landed(self, entry: Entry) -> Path | None:
        """The delivered file, if it still lies in landing with the bytes that were read."""
        path = self.settings.landing / entry.file
        if not path.is_file() or path.is_symlink() or sha256(path) != entry.sha256:
            return None
        return path

    def places(self, entry: Entry, numbers: Iterable[int]) -> dict[int, tuple[int, int, int]]:
        """(line, first byte, end byte) of records of a text file that is still in landing; no answer otherwise."""
        path, contract = self.landed(entry), _contract(entry)
        ext = _ext(entry)
        if path is None or contract is None or ext not in _TEXT:
            return {}
        try:
            spans = record_spans(path, ext, contract, numbers)
            content = b"".join(_blocks(path, ext)) if spans else b""
        except FileRejected:
            return {}
        return {no: (content.count(b"\n", 0, start) + 1, start, end) for no, (start, end) in spans.items()}

    def left_out_with(self, order_id: str, source: str | None) -> tuple[list[tuple[Entry, int]], list[Entry]]:
        """Rejected and repeated records that name the order, and the deliveries that could not be looked into.

        The quarantine holds no ids: the delivered file is read again where it still is.
        """
        found: list[tuple[Entry, int]] = []
        unseen: list[Entry] = []
        for entry in ledger.last_readings(self.entries):
            left_out = entry.status == "loaded" and (entry.rows_rejected or entry.rows_duplicate)
            if not left_out or source not in (None, entry.source) or not _may_name_orders(entry):
                continue
            path = self.landed(entry)
            if path is None:
                unseen.append(entry)
            else:
                numbers = {*self.rejects(entry), *(r["record_no"] for r in self.repeats(entry))}
                found += [(entry, no) for no in _naming(path, entry, order_id, numbers)]
        return found, unseen

    def refused_with(self, order_id: str, source: str | None) -> list[Entry]:
        """Files refused as a whole, still refused, that hold the order's id."""
        return [
            e
            for e in ledger.last_readings(self.entries)
            if e.status == "rejected"
            and source in (None, e.source)
            and self.current_of(e) is e
            and (path := self.landed(e))
            and _holds(path, _ext(e), order_id)
        ]

    def pending_with(self, order_id: str, source: str | None) -> list[Delivery]:
        """Files in landing that no sweep has taken in yet and that hold the order's id."""
        if not self.settings.landing.is_dir():
            return []
        stats = {(e.file, e.file_stat) for e in self.entries}
        hashes = {(e.file, e.sha256) for e in self.entries}
        return [
            d
            for d in scan(self.settings.landing)[0]
            if source in (None, d.source)
            and d.path.is_file()
            and not d.path.is_symlink()
            and (d.file, d.stat) not in stats
            and _holds(d.path, d.ext, order_id)
            and (d.file, sha256(d.path)) not in hashes
        ]


def words_of(code: str | None) -> dict[str, str | None]:
    """What a reject code means and what to do, for an answer."""
    found = load_codes().get(code or "")
    return {
        "code": code,
        "means": found.en if found else None,
        "means_zh": found.zh if found else None,
        "to_do": found.do_en if found else None,
        "to_do_zh": found.do_zh if found else None,
    }


def order_feeds() -> list[str]:
    """Contract feeds whose rows name an order."""
    return [feed for feed, contract in load_contracts().items() if "order_id" in contract.raw_schema()]


def _may_name_orders(entry: Entry) -> bool:
    return bool(set(targets(entry.source or "", entry.feed or "")) & set(order_feeds()))


def _contract(entry: Entry) -> Contract | None:
    return delivered_contract(source_of(entry.source or ""), entry.feed or "")


def _ext(entry: Entry) -> str:
    return entry.file.rsplit("/", 1)[-1].removeprefix(f"{entry.stem}.")


def _naming(path: Path, entry: Entry, order_id: str, rejects: Collection[int]) -> list[int]:
    """Which rejected records of a file name the order."""
    ext, contract = _ext(entry), _contract(entry)
    if contract is None:
        return []
    if ext == "parquet":
        with duck.connect([path.parent]) as con:
            rows = con.execute(
                "select file_row_number + 1, * exclude (file_row_number) "
                f"from read_parquet({duck.literal(str(path))}, file_row_number = true, hive_partitioning = false) "
                "where file_row_number + 1 in (select unnest($1::bigint[]))",
                [sorted(rejects)],
            ).fetchall()
        return [no for no, *cells in rows if order_id in map(str, cells)]
    if not _holds(path, ext, order_id):
        return []
    try:
        if ext not in _TEXT:
            table = read_file(path, ext, contract).table(list(contract.columns))
            rows = table.to_pylist()
            return [r["_row"] for r in rows if r["_row"] in rejects and order_id in r.values()]
        spans = record_spans(path, ext, contract, rejects)
        content = b"".join(_blocks(path, ext))
    except FileRejected:
        return []
    named = _pattern(order_id, contract.encoding)
    return sorted(no for no, (start, end) in spans.items() if named.search(content[start:end]))


def _pattern(order_id: str, encoding: str) -> re.Pattern[bytes]:
    """The id where it stands alone and not inside a longer one."""
    return re.compile(rb"(?<![\w-])" + re.escape(order_id.encode(encoding, "replace")) + rb"(?![\w-])")


def _holds(path: Path, ext: str, order_id: str) -> bool:
    """Whether the file has the id somewhere; a workbook or Parquet file is not searched and may."""
    if ext not in _TEXT:
        return ext == "xlsx"
    named, tail = _pattern(order_id, "utf-8"), b""
    try:
        for block in _blocks(path, ext):
            if named.search(tail + block):
                return True
            tail = block[-len(order_id) * 4 - 2 :]
    except FileRejected:
        return False
    return False


def _blocks(path: Path, ext: str) -> Iterator[bytes]:
    with Content(path, ext) as content:
        yield from content.blocks()


def plain(value: Any) -> Any:
    """A value of a row as an answer shows it."""
    return value.isoformat(sep=" ", timespec="seconds") if isinstance(value, datetime) else value
