"""An analyst's order file → one row per customer, order and day, and what of the file could not be read."""

import codecs
import gzip
import io
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, datetime, time
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from pipeline.duck import connect, literal, quote, without_values
from pipeline.errors import StrataError
from pipeline.ingest.cast import number_text

_HEAD_BYTES = 1 << 20
_FORMS = {
    ".csv": "csv",
    ".tsv": "csv",
    ".txt": "csv",
    ".parquet": "parquet",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
}
_SLASHED = r"^\d{1,2}[-/]\d{1,2}[-/]\d{4}([ T].*)?$"
# What is wrong with a row → how it is told, in the order in which a row is asked; its position stands for it in SQL.
PROBLEMS = {
    "missing_customer": ("没有客户编号", "no customer"),
    "unreadable_date": ("日期无法识别", "no date that can be read"),
    "unreadable_amount": ("金额无法识别", "no amount that can be read"),
    "broken_line": ("行结构损坏", "a line that is broken as such"),
}
_CODES = tuple(PROBLEMS)
# One bit each; what a plain number is in, the file does not say.
_CURRENCIES = ("¥￥元", "$", "£", "€")


@dataclass
class OrderFile:
    """What was found in the file. `bad` is problem → rows; `examples` is problem → a few values as they stand there."""

    rows: int = 0
    bad: dict[str, int] = field(default_factory=dict)
    examples: dict[str, list[str]] = field(default_factory=dict)
    first_day: date = date.min
    last_day: date = date.min


@dataclass(frozen=True)
class Columns:
    """Names of columns of the file. `day_first`: how 3/4/2026 is read; None: the column must tell."""

    customer: str
    date: str
    amount: str
    order: str | None = None
    day_first: bool | None = None

    def named(self) -> dict[str, str]:
        given = {"customer": self.customer, "date": self.date, "amount": self.amount, "order": self.order}
        return {role: name for role, name in given.items() if name is not None}


def columns_of(file: Path) -> list[str]:
    """Names of the file's columns. Raises StrataError where it cannot be read."""
    with tempfile.TemporaryDirectory(prefix="strata-score-") as scratch:
        con = connect([Path(scratch), file.parent], spill=Path(scratch) / "spill")
        try:
            _must_exist(file)
            with plainly(file):
                return list(_open(con, file, Path(scratch)))
        finally:
            con.close()


def _must_exist(file: Path) -> None:
    if not file.is_file():
        raise StrataError(f"{file}: no such file")


def read(con: duckdb.DuckDBPyConnection, file: Path, columns: Columns, scratch: Path) -> OrderFile:
    """Make the temp table `moved` (see facts.sql.j2) of the file's readable rows.

    Args:
        scratch: folder for a copy in UTF-8 where the file has another encoding.

    Raises:
        StrataError: the file cannot be read, lacks a column, has no readable row or several currencies, or leaves open
            which of two numbers of its dates is the month.
    """
    with plainly(file):
        has_signs = open_typed(con, file, columns, scratch)
        return _group(con, file, columns, has_signs=has_signs)


@contextmanager
def plainly(file: Path) -> Iterator[None]:
    """Errors of the engine in one line that names the file and no value."""
    try:
        yield
    except duckdb.Error as error:
        raise StrataError(f"{file.name}: {without_values(error)}") from None


def _form(file: Path) -> str:
    suffixes = [s.lower() for s in file.suffixes]
    if suffixes[-1:] == [".gz"]:
        suffixes = suffixes[:-1]
    last = suffixes[-1] if suffixes else ""
    if last in (".xlsx", ".xlsm"):
        return "xlsx"
    if last not in _FORMS:
        raise StrataError(
            f"{file.name}: name the file .csv, .tsv, .parquet, .xlsx or .jsonl (csv and jsonl also .gz)"
        )
    return _FORMS[last]


def _open(con: duckdb.DuckDBPyConnection, file: Path, scratch: Path) -> dict[str, str]:
    """Make the view `given` over the file: column → DuckDB type. Texts stay texts, so that 007 stays 007."""
    form = _form(file)
    if form == "xlsx":
        con.register("given", _sheet(file))
    elif form == "parquet":
        con.execute(f"create temp view given as select * from read_parquet({literal(str(file))})")
    else:
        path = literal(str(_in_utf8(file, scratch)))
        if form == "jsonl":
            described = con.execute(
                f"select column_name from (describe select * from read_json({path}, format = 'newline_delimited', ignore_errors = true))"
            )
            # As text: a number keeps the digits that it was written with.
            listed = ", ".join(f"{literal(name)}: 'VARCHAR'" for (name,) in described.fetchall())
            con.execute(
                f"create temp view given as select * from read_json({path}, format = 'newline_delimited', "
                f"columns = {{{listed}}}, ignore_errors = true)"
            )
        else:
            con.execute(
                f"create temp view given as select * from read_csv({path}, header = true, all_varchar = true, "
                "store_rejects = true, rejects_limit = 0)"
            )
    return {name: kind for name, kind, *_ in con.execute("describe given").fetchall()}


def _sheet(file: Path) -> pa.Table:
    """The first sheet of a workbook, its first row the header, every cell as text."""
    from python_calamine import CalamineError, CalamineWorkbook

    from pipeline.ingest.reading.content import FileRejected, read_workbook

    try:
        rows = (
            CalamineWorkbook.from_object(io.BytesIO(read_workbook(file)[0])).get_sheet_by_index(0).to_python()
        )
    except FileRejected as error:
        raise StrataError(f"{file.name}: {error.detail}") from None
    except (CalamineError, IndexError) as error:
        raise StrataError(f"{file.name}: the first sheet cannot be read ({error})") from None
    if not rows:
        raise StrataError(f"{file.name}: the first sheet is empty")
    names = [_cell(value) or f"column {i}" for i, value in enumerate(rows[0], 1)]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice:
        raise StrataError(f"{file.name}: two columns are called {twice!r}; rename one of them")
    return pa.table(
        {n: pa.array([_cell(row[i]) for row in rows[1:]], pa.string()) for i, n in enumerate(names)}
    )


def _cell(value: Any) -> str | None:
    """A cell as an export would write it. A whole number has no point: ids come as floats."""
    if value is None or value == "":
        return None
    if isinstance(value, datetime):
        return value.isoformat(" ")
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return str(value)


def _in_utf8(file: Path, scratch: Path) -> Path:
    """The file, or a copy of it in UTF-8 where its first megabyte is GB 18030 or UTF-16."""
    opener = gzip.open if file.suffix.lower() == ".gz" else Path.open
    try:
        with opener(file, "rb") as source:
            head = source.read(_HEAD_BYTES)
    except (OSError, EOFError) as error:
        raise StrataError(f"{file.name}: cannot be read ({error})") from None
    if not head.strip():
        raise StrataError(f"{file.name}: the file is empty")
    if head[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        encoding = "utf-16"
    elif _decodes(head, "utf-8") or not _decodes(head, "gb18030"):
        return file
    else:
        encoding = "gb18030"
    copy = scratch / "utf8.csv"
    with opener(file, "rb") as source, copy.open("w", encoding="utf-8", newline="") as target:
        for block in codecs.iterdecode(iter(lambda: source.read(_HEAD_BYTES), b""), encoding, "replace"):
            target.write(block)
    return copy


def _decodes(head: bytes, encoding: str) -> bool:
    try:
        codecs.getincrementaldecoder(encoding)().decode(head, final=len(head) < _HEAD_BYTES)
    except UnicodeDecodeError:
        return False
    return True


def _check_columns(file: Path, columns: Columns, types: dict[str, str]) -> None:
    for role, name in columns.named().items():
        if name not in types:
            near = get_close_matches(name.lower(), {n.lower(): n for n in types}, 1, 0.6)
            meant = next((n for n in types if near and n.lower() == near[0]), None)
            raise StrataError(
                f"{file.name} has no column {name!r} (--{role}); it has {', '.join(types)}"
                + (f". Did you mean {meant!r}?" if meant else "")
            )


def _customer_sql(column: str, kind: str) -> str:
    """The id as it was given, without blanks around it. A float came from a gap in a column of whole numbers."""
    if kind == "VARCHAR":
        return f"case when {column} like ' %' or {column} like '% ' or {column} = '' then nullif(trim({column}), '') else {column} end"
    if kind in ("FLOAT", "DOUBLE"):
        whole = f"{column} = trunc({column}) and abs({column}) < 1e15"
        return (
            f"case when {whole} then cast(cast({column} as bigint) as varchar) "
            f"when not isnan({column}) then cast({column} as varchar) end"
        )
    return column


def _date_sql(column: str, kind: str, day_first: bool | None) -> str:
    """The calendar day as it is written there; a time and an offset behind it change nothing."""
    if kind == "DATE":
        return column
    if kind.startswith("TIMESTAMP"):
        return f"cast({column} as date)"
    x = column if kind == "VARCHAR" else f"cast({column} as varchar)"
    # Nearly all files write 2026-01-31, alone or before a time; the other forms cost ten times as much.
    dashed = f"{x}[5] = '-' and {x}[8] = '-'"
    forms = [
        (r"^(\d{4})[-/.年](\d{1,2})[-/.月](\d{1,2})日?([ T].*)?$", r"\1-\2-\3"),
        (r"^(\d{4})(\d{2})(\d{2})(\.0)?$", r"\1-\2-\3"),
        (r"^(\d{1,2})\.(\d{1,2})\.(\d{4})([ T].*)?$", r"\3-\2-\1"),
    ]
    if day_first is not None:
        forms.append(
            (r"^(\d{1,2})[-/](\d{1,2})[-/](\d{4})([ T].*)?$", r"\3-\2-\1" if day_first else r"\3-\1-\2")
        )
    t = f"trim({x})"
    cases = " ".join(
        f"when regexp_matches({t}, {literal(form)}) then try_cast(regexp_replace({t}, {literal(form)}, {literal(to)}) as date)"
        for form, to in forms
    )
    return (
        f"case when strlen({x}) = 10 and {dashed} then try_cast({x} as date) "
        f"when {dashed} and {x}[11] in (' ', 'T') then try_cast(left({x}, 10) as date) "
        f"else case {cases} end end"
    )


def _amount_sql(column: str, kind: str) -> str:
    plain = f"try_cast({column} as decimal(18, 4))"
    if kind != "VARCHAR":
        return plain
    # A case, because coalesce would take every row through the costly form.
    other = f"try_cast({number_text(f'trim({column})')} as decimal(18, 4))"
    return f"case when {plain} is not null then {plain} else {other} end"


def _currency_sql(column: str, kind: str) -> str:
    if kind != "VARCHAR":
        return "cast(null as utinyint)"
    signs = " ".join(
        f"when regexp_matches({column}, {literal(f'[{signs}]')}) then {1 << i}"
        for i, signs in enumerate(_CURRENCIES)
    )
    # Nested, because nearly all files have plain numbers and a sign costs a search.
    return (
        f"cast(case when try_cast({column} as decimal(18, 4)) is null then case {signs} end end as utinyint)"
    )


def refuse_mixed_currencies(con: duckdb.DuckDBPyConnection, file: Path, columns: Columns, bits: str) -> None:
    """Raise StrataError where amounts are in several currencies: there is no rate by which they could be added.

    Args:
        bits: SQL of the relation whose column `currency` has the bits of `typed`.
    """
    (seen,) = con.execute(f"select bit_or(currency) from {bits}").fetchone() or (None,)
    signs = [signs[0] for i, signs in enumerate(_CURRENCIES) if (seen or 0) >> i & 1]
    if len(signs) > 1:
        raise StrataError(
            f"{file.name}: column {columns.amount!r} has amounts in {' and '.join(signs)}, and no rate is known; "
            "give amounts of one currency"
        )


def _day_first(con: duckdb.DuckDBPyConnection, file: Path, columns: Columns, kind: str) -> bool | None:
    """Whether 3/4/2026 is the third of April here. None where no date is written like that."""
    column = quote(columns.date)
    if kind != "VARCHAR":
        return None
    slashed = f"regexp_matches(trim({column}), {literal(_SLASHED)})"
    seen = con.execute(
        f"select count(*) from (select {column} from given limit 1000) where {slashed}"
    ).fetchone()
    if not seen or not seen[0]:
        return None
    if columns.day_first is not None:
        return columns.day_first
    first, second = con.execute(
        "select "
        + ", ".join(
            f"max(cast(regexp_extract(trim({column}), '^(\\d+)[-/](\\d+)', {group}) as integer))"
            for group in (1, 2)
        )
        + f" from given where {slashed}"
    ).fetchone() or (0, 0)
    if first > 12 and second > 12:
        raise StrataError(
            f"{file.name}: column {columns.date!r} has both 31/1/2026 and 1/31/2026; write its dates in one form"
        )
    if first <= 12 and second <= 12:
        raise StrataError(
            f"{file.name}: column {columns.date!r} does not tell whether 3/4/2026 is in March or in April; "
            "say --day-first or --month-first"
        )
    return first > 12


def open_typed(con: duckdb.DuckDBPyConnection, file: Path, columns: Columns, scratch: Path) -> bool:
    """Make the temp view `typed`, a row per row of the file: problem (position in PROBLEMS, null for a good row),
    customer_id, day, amount, order_id, the bit of the currency sign (null where there is none), and the date and amount
    as given. True where amounts are text and may have a currency sign.

    Args and errors as of `read`.
    """
    _must_exist(file)
    types = _open(con, file, scratch)
    _check_columns(file, columns, types)
    customer, day, amount = (quote(name) for name in (columns.customer, columns.date, columns.amount))
    day_first = _day_first(con, file, columns, types[columns.date])
    order = f"nullif(trim(cast({quote(columns.order)} as varchar)), '')" if columns.order else "null"
    con.execute(
        f"""
        create temp view typed as
        select
            cast(case when customer_id is null then 0 when day is null then 1 when amount is null then 2 end as tinyint)
                as problem,
            *
        from (
            select
                {_customer_sql(customer, types[columns.customer])} as customer_id,
                {_date_sql(day, types[columns.date], day_first)} as day,
                {_amount_sql(amount, types[columns.amount])} as amount,
                {order} as order_id,
                {_currency_sql(amount, types[columns.amount])} as currency,
                {day} as given_date,
                {amount} as given_amount
            from given
        )
        """
    )
    return types[columns.amount] == "VARCHAR"


def _group(con: duckdb.DuckDBPyConnection, file: Path, columns: Columns, *, has_signs: bool) -> OrderFile:
    """One pass over the file: rows that cannot be read form groups of their own."""
    key = "case when problem is null then {} end as {}"
    keys = [
        ("customer_id", "customer_id"),
        ("day", "day"),
        *([("order_id", "order_id")] if columns.order else []),
    ]
    con.execute(
        f"""
        create temp table grouped as
        select
            problem,
            {", ".join(key.format(*pair) for pair in keys)},
            count(*) as rows_n,
            sum(amount) as net,
            count(case when amount >= 0 then 1 end) as sales_n,
            count(case when amount < 0 then 1 end) as returns_n
            {", bit_or(currency) as currency" if has_signs else ""}
        from typed
        group by all
        """
    )
    con.execute(
        f"create temp view moved as select customer_id, {'order_id' if columns.order else 'null'} as order_id, "
        "day, net, sales_n, returns_n from grouped where problem is null"
    )
    if has_signs:
        refuse_mixed_currencies(con, file, columns, "grouped")
    found = OrderFile()
    for problem, rows in con.execute("select problem, sum(rows_n) from grouped group by problem").fetchall():
        found.rows += int(rows)
        if problem is not None:
            found.bad[_CODES[problem]] = int(rows)
    _note_broken_lines(con, found)
    found.bad = {name: found.bad[name] for name in PROBLEMS if name in found.bad}
    for problem, column in (("unreadable_date", "given_date"), ("unreadable_amount", "given_amount")):
        if problem in found.bad:
            found.examples[problem] = _examples(con, problem, column)
    if not found.rows:
        raise StrataError(f"{file.name}: no row below the header")
    if found.rows == sum(found.bad.values()):
        raise StrataError(
            f"{file.name}: none of its {found.rows:,} rows can be read: {told_bad(found.bad, found.examples)}"
        )
    found.first_day, found.last_day = con.execute("select min(day), max(day) from moved").fetchone()  # type: ignore[misc]
    return found


def _note_broken_lines(con: duckdb.DuckDBPyConnection, found: OrderFile) -> None:
    """Lines of a CSV file that the reader itself had to leave out."""
    if broken := broken_lines(con):
        found.bad["broken_line"] = broken
        found.rows += broken


def broken_lines(con: duckdb.DuckDBPyConnection) -> int:
    """How many lines the reader of a CSV file had to leave out, after the file has been read."""
    made = con.execute("select count(*) from duckdb_tables() where table_name = 'reject_errors'").fetchone()
    if not made or not made[0]:
        return 0
    broken = con.execute("select count(distinct line) from reject_errors").fetchone()
    return int(broken[0]) if broken else 0


def _examples(con: duckdb.DuckDBPyConnection, problem: str, column: str) -> list[str]:
    rows = con.execute(
        f"select distinct coalesce(left(cast({column} as varchar), 40), '') as x from typed where problem = ? "
        "order by x limit 3",
        [_CODES.index(problem)],
    )
    return [value or "(empty)" for (value,) in rows.fetchall()]


def told_bad(bad: Mapping[str, int], examples: Mapping[str, list[str]]) -> str:
    """Bad rows by kind, with examples of the values that could not be read."""
    parts = []
    for problem, rows in bad.items():
        shown = f" (such as {', '.join(examples[problem])})" if examples.get(problem) else ""
        parts.append(f"{PROBLEMS[problem][1]}: {rows:,}{shown}")
    return "; ".join(parts)
