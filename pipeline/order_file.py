"""An analyst's order file as one relation: every row is an order, or is skipped for a reason that is counted.

The file is read as `strata score` reads it (pipeline.score.orders): the same formats, dates, amounts and complaints.
"""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import duckdb

from pipeline import duck
from pipeline.duck import literal
from pipeline.errors import StrataError
from pipeline.score import orders as reading
from pipeline.score.orders import PROBLEMS, Columns

# Name of the relation: one row per row of the file that could be read.
#   customer_id  as the file has it, without blanks around it
#   ordered_on   DATE, as written: no zone is applied
#   amount       DECIMAL(18,4), negative where the file says so
#   skipped      null for an order, else a key of PROBLEMS or NOT_YET
RELATION = "orders"
NOT_YET = "not_before_as_of"
_FIRST_YEAR = 1900
_POLICY_BEGINS = date(2000, 1, 1)


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


def policy_day(as_of: date) -> date:
    """The day whose policy judges a file of `as_of`: policy rows begin in 2000, public data sets before it."""
    return max(as_of, _POLICY_BEGINS)


@contextmanager
def open_orders(path: Path, columns: Columns, as_of: date) -> Iterator[OrderFile]:
    """The file as the relation RELATION on a connection that reaches the file's folder and a private temporary one.

    Args:
        as_of: D; rows of D and later are skipped (NOT_YET), as a window ends before D.

    Raises:
        StrataError: no such file, format not known, column not there (the names found are listed), no order left.
    """
    with tempfile.TemporaryDirectory(prefix="strata-orders-") as folder:
        scratch = Path(folder)
        con = duck.connect([scratch, path.parent], spill=scratch / "spill")
        try:
            with reading.plainly(path):
                file = _opened(con, path, columns, as_of, scratch)
            yield file
        finally:
            con.close()


def _opened(
    con: duckdb.DuckDBPyConnection, path: Path, columns: Columns, as_of: date, scratch: Path
) -> OrderFile:
    reading.open_typed(con, path, columns, scratch)
    names = " ".join(f"when {i} then {literal(name)}" for i, name in enumerate(PROBLEMS))
    con.execute(
        f"""
        create table {RELATION} as
        select
            customer_id,
            day as ordered_on,
            amount,
            currency,
            case
                when problem is not null then case problem {names} end
                when year(day) < {_FIRST_YEAR} then 'unreadable_date'
                when day >= date {literal(as_of.isoformat())} then {literal(NOT_YET)}
            end as skipped
        from typed
        """
    )
    reading.refuse_mixed_currencies(con, path, columns, RELATION)
    groups = con.execute(
        f"select skipped, count(*), min(ordered_on), max(ordered_on) from {RELATION} group by all"
    ).fetchall()
    counts = {state: (n, low, high) for state, n, low, high in groups}
    found, first, last = counts.pop(None, (0, None, None))
    skipped = {name: counts[name][0] for name in (*PROBLEMS, NOT_YET) if name in counts}
    if broken := reading.broken_lines(con):
        skipped["broken_line"] = broken
    rows = found + sum(skipped.values())
    if not rows:
        raise StrataError(f"{path.name}: no row below the header")
    if not found:
        told = "; ".join(
            f"{n:,} are of {as_of} or later (give a later --as-of)" if name == NOT_YET else f"{n:,} have {PROBLEMS[name][1]}"
            for name, n in skipped.items()
        )  # fmt: skip
        raise StrataError(f"{path.name}: none of its {rows:,} rows can be used: {told}")
    return OrderFile(con, path, rows, found, skipped, first, last)
