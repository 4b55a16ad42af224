"""An analyst's own order file (CSV, Parquet, XLSX, JSONL) as one typed relation, without a landing zone.

Every row of the file is either an order or skipped for a reason that is counted: nothing disappears.
"""

import codecs
import io
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
from python_calamine import CalamineError, CalamineWorkbook

from pipeline import duck
from pipeline.duck import literal, quote
from pipeline.errors import StrataError
from pipeline.ingest.reading.content import FileRejected, read_workbook

# Name of the relation: one row per row of the file that could be read.
#   customer_id  as the file has it (text where the file is CSV, JSONL or XLSX)
#   ordered_on   DATE, as written: no zone is applied
#   amount       DECIMAL(18,4), negative where the file says so
#   order_id     only where an order column was named
#   skipped      null for an order, else no_customer, no_date, no_amount or not_before_as_of
RELATION = "orders"
SKIPPED = ("no_customer", "no_date", "no_amount", "not_before_as_of", "malformed")
_FORMATS = {
    ".csv": "csv",
    ".tsv": "csv",
    ".txt": "csv",
    ".parquet": "parquet",
    ".xlsx": "xlsx",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
}
_FIRST_YEAR = 1900
_POLICY_BEGINS = date(2000, 1, 1)
_SHOWN_COLUMNS = 40


@dataclass(frozen=True)
class OrderColumns:
    """Names in the file; `date_format` is a strptime pattern for dates that are not ISO (2026-01-31, 20260131)."""

    customer: str
    date: str
    amount: str
    order: str | None = None
    date_format: str | None = None


@dataclass(frozen=True)
class OrderFile:
    """An open file: `con` has the relation RELATION. It must be asked inside `open_orders`.

    Attributes:
        rows: data rows of the file; orders + every skipped one.
        orders: rows of RELATION where skipped is null.
        skipped: rows left out, by reason (only those that occur).
        first_day, last_day: of the orders; None without any.
    """

    con: duckdb.DuckDBPyConnection
    path: Path
    as_of: date
    rows: int
    orders: int
    skipped: dict[str, int]
    first_day: date | None
    last_day: date | None

    def as_dict(self) -> dict[str, Any]:
        """What was read, for a JSON answer."""
        return {
            "file": self.path.name,
            "rows": self.rows,
            "orders": self.orders,
            "skipped": self.skipped,
            "first_day": self.first_day,
            "last_day": self.last_day,
        }

    def told(self) -> str:
        """What was read, in one line."""
        left_out = ", ".join(f"{name} {n:,}" for name, n in self.skipped.items()) or "none"
        return (
            f"{self.path.name}: {self.rows:,} rows, {self.orders:,} orders "
            f"from {self.first_day} to {self.last_day}; left out: {left_out}"
        )


def policy_day(as_of: date) -> date:
    """The day whose policy judges a file of `as_of`: policy rows begin in 2000, public data sets before it."""
    return max(as_of, _POLICY_BEGINS)


@contextmanager
def open_orders(
    path: Path, columns: OrderColumns, as_of: date, *, encoding: str = "utf-8"
) -> Iterator[OrderFile]:
    """The file as the relation RELATION on a connection that reaches the file's folder and a private temporary one.

    Parquet stays on disk and is scanned by each query; the text formats are read once into memory (DuckDB spills).

    Args:
        as_of: D; rows of D and later are skipped (`not_before_as_of`), as a window ends before D.
        encoding: of a CSV or JSONL file, a name that Python knows.

    Raises:
        StrataError: no such file, format not known, column not there (the names found are listed), no order left.
    """
    kind = _format_of(path)
    scratch = Path(tempfile.mkdtemp(prefix="strata-orders-"))
    try:
        con = duck.connect([path.parent, scratch], spill=scratch)
        try:
            yield _opened(con, kind, path, columns, as_of, encoding, scratch)
        finally:
            con.close()
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _format_of(path: Path) -> str:
    if not path.is_file():
        raise StrataError(f"{path}: no such file")
    suffixes = [s.lower() for s in path.suffixes]
    if suffixes and suffixes[-1] == ".gz":
        suffixes.pop()
        if suffixes and _FORMATS.get(suffixes[-1]) not in ("csv", "jsonl"):
            raise StrataError(f"{path.name}: only CSV and JSONL may be packed with gzip")
    kind = _FORMATS.get(suffixes[-1]) if suffixes else None
    if kind is None:
        raise StrataError(
            f"{path.name}: the name must end in {', '.join(_FORMATS)} (.gz after CSV and JSONL)"
        )
    return kind


def _opened(
    con: duckdb.DuckDBPyConnection,
    kind: str,
    path: Path,
    columns: OrderColumns,
    as_of: date,
    encoding: str,
    scratch: Path,
) -> OrderFile:
    malformed = 0
    try:
        if kind == "parquet":
            source = f"read_parquet({literal(str(path.resolve()))})"
            found = _types(con, source)
            con.execute(f"create view {RELATION} as {_typed(found, columns, path, source, as_of)}")
        else:
            source = _text_source(con, kind, path, columns, encoding, scratch)
            found = _types(con, source)
            con.execute(f"create table {RELATION} as {_typed(found, columns, path, source, as_of)}")
            if kind == "csv":
                malformed = _single(con, "select count(distinct line) from reject_errors")[0]
        groups = con.execute(
            f"select skipped, count(*), min(ordered_on), max(ordered_on) from {RELATION} group by all"
        ).fetchall()
    except duckdb.Error as error:
        raise StrataError(f"{path.name} cannot be read as {kind}: {duck.without_values(error)}") from error
    counts = {state: (n, low, high) for state, n, low, high in groups}
    orders, first, last = counts.pop(None, (0, None, None))
    skipped = {name: counts[name][0] for name in SKIPPED if name in counts} | (
        {"malformed": malformed} if malformed else {}
    )
    rows = orders + sum(skipped.values())
    if not orders:
        raise StrataError(f"{path.name}: {_why_no_order(rows, skipped, columns, as_of)}")
    return OrderFile(con, path, as_of, rows, orders, skipped, first, last)


def _single(con: duckdb.DuckDBPyConnection, sql: str) -> tuple[Any, ...]:
    row = con.execute(sql).fetchone()
    assert row is not None
    return row


def _types(con: duckdb.DuckDBPyConnection, source: str) -> dict[str, str]:
    return {name: kind for name, kind, *_ in con.execute(f"describe select * from {source}").fetchall()}


def _text_source(
    con: duckdb.DuckDBPyConnection,
    kind: str,
    path: Path,
    columns: OrderColumns,
    encoding: str,
    scratch: Path,
) -> str:
    """SQL of a source whose columns are all text, so that ids keep their zeros and money its digits."""
    if kind == "xlsx":
        con.register("sheet", _sheet(path, columns))
        return "sheet"
    name = literal(str(_as_utf8(path, encoding, scratch).resolve()))
    if kind == "csv":
        return f"read_csv({name}, header = true, all_varchar = true, store_rejects = true)"
    sniffed = f"read_json({name}, format = 'newline_delimited', sample_size = 1000)"
    wanted = {columns.customer, columns.date, columns.amount, columns.order} - {None}
    if not wanted <= _types(con, sniffed).keys():
        return sniffed  # The check of the names says which there are.
    text = ", ".join(f"{literal(column)}: 'VARCHAR'" for column in sorted(map(str, wanted)))
    return f"read_json({name}, format = 'newline_delimited', columns = {{{text}}})"


def _as_utf8(path: Path, encoding: str, scratch: Path) -> Path:
    """The file itself where it is UTF-8, else a copy that is: DuckDB reads nothing else without an extension."""
    try:
        if codecs.lookup(encoding).name in ("utf-8", "utf-8-sig", "ascii"):
            return path
    except LookupError as error:
        raise StrataError(f"--encoding {encoding}: no such encoding") from error
    if path.suffix.lower() == ".gz":
        raise StrataError(f"{path.name}: unpack it first; a packed file must be UTF-8")
    copy = scratch / path.name
    try:
        with (
            path.open(encoding=encoding, newline="") as source,
            copy.open("w", encoding="utf-8", newline="") as out,
        ):
            shutil.copyfileobj(source, out, 1024 * 1024)
    except UnicodeError as error:
        raise StrataError(f"{path.name}: not {encoding}: {error}") from error
    return copy


def _sheet(path: Path, columns: OrderColumns) -> pa.Table:
    """First sheet of a workbook: every header; text in the wanted columns, nothing in the others."""
    try:
        data, _ = read_workbook(path)
        rows = iter(CalamineWorkbook.from_filelike(io.BytesIO(data)).get_sheet_by_index(0).iter_rows())
    except (FileRejected, CalamineError, ValueError) as error:
        raise StrataError(f"{path.name}: {error}") from error
    header = [str(cell).strip() for cell in next(rows, [])]
    wanted = {columns.customer, columns.date, columns.amount, columns.order}
    places = {name: i for i, name in enumerate(header) if name and name in wanted}
    cells: dict[str, list[str | None]] = {name: [] for name in places}
    n = 0
    for row in rows:
        if all(cell == "" for cell in row):
            continue
        n += 1
        for name, i in places.items():
            cells[name].append(_cell_text(row[i]))
    return pa.table(
        {
            name: pa.array(cells[name], pa.string()) if name in cells else pa.nulls(n, pa.string())
            for name in dict.fromkeys(header)
            if name
        }
    )


def _cell_text(cell: Any) -> str | None:
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))  # A spreadsheet has no whole numbers: id 17850 is stored as 17850.0.
    if isinstance(cell, datetime | date):
        return cell.isoformat()
    return None if cell == "" else str(cell)


def _typed(found: dict[str, str], columns: OrderColumns, path: Path, source: str, as_of: date) -> str:
    """SELECT of RELATION's columns from `source`."""
    names = {
        option: getattr(columns, option)
        for option in ("customer", "date", "amount", "order")
        if getattr(columns, option) is not None
    }
    for option, name in names.items():
        if name not in found:
            listed = ", ".join(list(found)[:_SHOWN_COLUMNS])
            more = f" and {len(found) - _SHOWN_COLUMNS} more" if len(found) > _SHOWN_COLUMNS else ""
            raise StrataError(f"{path.name} has no column {name!r} (--{option}); it has: {listed}{more}")
    customer = quote(names["customer"])
    is_text = found[names["customer"]] == "VARCHAR"
    blank = f"{customer} is null or trim({customer}) = ''" if is_text else f"{customer} is null"
    order = f"{quote(names['order'])} as order_id," if "order" in names else ""
    day = _day(quote(names["date"]), found[names["date"]], columns.date_format)
    return f"""
    select
        *,
        case
            when no_customer then 'no_customer'
            when ordered_on is null or year(ordered_on) < {_FIRST_YEAR} then 'no_date'
            when amount is null then 'no_amount'
            when ordered_on >= date {literal(as_of.isoformat())} then 'not_before_as_of'
        end as skipped
    from (
        select
            {customer} as customer_id,
            {day} as ordered_on,
            try_cast({quote(names["amount"])} as decimal(18, 4)) as amount,
            {order}
            {blank} as no_customer
        from {source}
    )
    """


def _day(column: str, kind: str, date_format: str | None) -> str:
    if kind == "DATE" or kind.startswith("TIMESTAMP"):
        return f"cast({column} as date)"
    text = column if kind == "VARCHAR" else f"cast({column} as varchar)"
    if date_format:
        return f"cast(try_strptime(trim({text}), {literal(date_format)}) as date)"
    compact = f"length(trim({text})) = 8 and trim({text}) not like '%-%' and trim({text}) not like '%/%'"
    return (
        f"case when {compact} then cast(try_strptime(trim({text}), '%Y%m%d') as date) "
        f"else try_cast(trim({text}) as date) end"
    )


def _why_no_order(rows: int, skipped: dict[str, int], columns: OrderColumns, as_of: date) -> str:
    if not rows:
        return "no data rows"
    reason = max(skipped, key=lambda name: skipped[name])
    advice = {
        "no_customer": f"column {columns.customer!r} is empty",
        "no_date": (
            f"column {columns.date!r} holds no date such as 2026-01-31 or 20260131; "
            "name its pattern, for example --date-format %d/%m/%Y"
        ),
        "no_amount": f"column {columns.amount!r} holds no number such as 1234.50",
        "not_before_as_of": f"every order is of {as_of} or later; give a later --as-of",
        "malformed": "the records do not have the columns of the header",
    }[reason]
    return f"none of {rows:,} rows can be used: {advice}"
