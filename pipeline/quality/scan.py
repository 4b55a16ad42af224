"""A suite asked of a table by DuckDB: every expectation is a count of its faulty rows, all of them in one scan.

Great Expectations takes a table as a frame: for the memberships of 500,000 people that is millions of rows in memory
and its import seconds more. Here the same suites are asked of the very files that leave, where they lie. The tests hold both
answers against each other on every planted defect.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import duckdb

from pipeline.duck import quote
from pipeline.quality.checks import Check
from pipeline.quality.suites import Expect, Suite, limit_of

_SHOWN = 5
_UNIQUE = "ExpectCompoundColumnsToBeUnique"
# Whose faults are told by the values themselves, which should be words of the policy; elsewhere a value may be personal.
_BY_VALUE = "ExpectColumnDistinctValuesToBeInSet"


def _outside(args: Mapping[str, Any]) -> tuple[str, list[Any]]:
    column, values = quote(args["column"]), list(args["value_set"])
    return f"{column} is not null and {column} not in ({', '.join('?' * len(values)) or 'null'})", values


def _inside(args: Mapping[str, Any]) -> tuple[str, list[Any]]:
    values = list(args["value_set"])
    return f"{quote(args['column'])} in ({', '.join('?' * len(values)) or 'null'})", values


def _beyond(of: str) -> Callable[[Mapping[str, Any]], tuple[str, list[Any]]]:
    def faulty(args: Mapping[str, Any]) -> tuple[str, list[Any]]:
        return f"{of.format(quote(args['column']))} not between ? and ?", [
            args["min_value"],
            args["max_value"],
        ]

    return faulty


# Of a class of Great Expectations: SQL that is true of a faulty row, and its parameters. Like there, nulls are no fault
# but where they are asked for.
_FAULTY: Mapping[str, Callable[[Mapping[str, Any]], tuple[str, list[Any]]]] = {
    "ExpectColumnValuesToNotBeNull": lambda args: (f"{quote(args['column'])} is null", []),
    "ExpectColumnValuesToMatchRegex": lambda args: (
        f"not regexp_matches({quote(args['column'])}, ?)",
        [args["regex"]],
    ),
    "ExpectColumnDistinctValuesToBeInSet": _outside,
    "ExpectColumnValuesToBeInSet": _outside,
    "ExpectColumnValuesToNotBeInSet": _inside,
    "ExpectColumnValuesToBeBetween": _beyond("{}"),
    "ExpectColumnValueLengthsToBeBetween": _beyond("length({})"),
}


def scan_suite(con: duckdb.DuckDBPyConnection, suite: Suite, relation: str) -> list[Check]:
    """One check per expectation of the suite on the rows of `relation`, in the suite's order.

    Args:
        relation: SQL of a table or file, as it stands behind `from`.

    Raises KeyError for an expectation that is not known here.
    """
    there = {row[0] for row in con.execute(f"describe select * from {relation}").fetchall()}
    rows: dict[str, tuple[str, list[Any]]] = {}
    for expect in suite.expectations:
        if expect.type != _UNIQUE and _columns(expect) <= there:
            rows[expect.check] = _FAULTY[expect.type](expect.args)
    counted = [f"count(*) filter (where {sql})" for sql, _ in rows.values()]
    values = [value for _, own in rows.values() for value in own]
    found = con.execute(f"select {', '.join(counted) or '0'} from {relation}", values).fetchone() or ()
    faults = dict(zip(rows, found, strict=False))
    named = [column for column in _named_by(suite) if column in there]
    checks = []
    for expect in suite.expectations:
        examples: Sequence[str] = ()
        observed: Any
        missing = sorted(_columns(expect) - there)
        if missing:
            observed = f"there is no column {', '.join(missing)}"
        elif expect.type == _UNIQUE:
            observed, examples = _doubled(con, relation, expect.args["column_list"])
        else:
            observed = faults[expect.check]
            if observed:
                examples = _examples(con, relation, expect, rows[expect.check], named)
        checks.append(
            Check(
                "table", suite.target, expect.check, expect.level, observed == 0, observed, limit_of(expect),
                expect.description, tuple(examples), expect.gates,
            )
        )  # fmt: skip
    return checks


def _columns(expect: Expect) -> set[str]:
    return {expect.args["column"]} if "column" in expect.args else set(expect.args["column_list"])


def _named_by(suite: Suite) -> list[str]:
    """Columns that tell one row from another, as the suite says itself."""
    return [c for e in suite.expectations if e.type == _UNIQUE for c in e.args["column_list"]]


def _doubled(
    con: duckdb.DuckDBPyConnection, relation: str, columns: Sequence[str]
) -> tuple[int, Sequence[str]]:
    """(rows that share all the columns with another, a few of what they share)."""
    by = ", ".join(quote(c) for c in columns)
    stated = " or ".join(f"{quote(c)} is not null" for c in columns)
    groups = f"select {by}, count(*) as n from {relation} where {stated} group by {by} having count(*) > 1"
    found = con.execute(f"select coalesce(sum(n), 0)::bigint from ({groups})").fetchone() or (0,)
    if not found[0]:
        return 0, ()
    shown = con.execute(f"select {by} from ({groups}) order by all limit {_SHOWN}").fetchall()
    return found[0], [_told(row) for row in shown]


def _examples(
    con: duckdb.DuckDBPyConnection,
    relation: str,
    expect: Expect,
    faulty: tuple[str, list[Any]],
    named: Sequence[str],
) -> Sequence[str]:
    """The faulty rows by what names them, or the faulty values; what is personal by mistake is not told."""
    column = expect.args["column"]
    told = [column] if expect.type == _BY_VALUE else [c for c in named if c != column]
    if not told:
        return ()
    shown = ", ".join(quote(c) for c in told)
    sql, values = faulty
    rows = con.execute(
        f"select distinct {shown} from {relation} where {sql} order by all limit {_SHOWN}", values
    )
    return [_told(row) for row in rows.fetchall()]


def _told(row: Sequence[Any]) -> str:
    return " · ".join("–" if value is None else str(value) for value in row)
