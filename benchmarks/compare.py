"""Are two result tables the same work? Totals first, because they tell what differs, then a hash over all
rows.

Our customers are tokens, so rows are compared as multisets of (recency, frequency, monetary, scores, segment,
ABC class, stage) without the customer. Money is compared at the currency's minor unit, in which we publish
it.
"""

from __future__ import annotations

from pathlib import Path

import duckdb

COLUMNS = "recency, frequency, monetary, r_score, f_score, m_score, rfm_segment, abc_class, stage"
COUNTED = ("rfm_segment", "abc_class", "stage", "r_score", "f_score", "m_score")


def _quoted(path: Path) -> str:
    return "'" + str(path).replace("'", "''") + "'"


def peer_rows(result: Path) -> str:
    """SQL of a peer's rows in the compared form."""
    return f"""select recency::integer as recency, frequency::integer as frequency,
        round(monetary, 2)::decimal(18, 2) as monetary, r_score::integer as r_score,
        f_score::integer as f_score, m_score::integer as m_score, rfm_segment, abc_class, stage
    from read_parquet({_quoted(result)})"""


def our_rows(release: Path) -> str:
    """SQL of the same from our release. Outside the window nothing but segment and stage is compared: there
    we publish reasons, the peers NULL."""

    def table(name: str) -> str:
        return f"read_parquet({_quoted(release / 'tables' / 'segments' / (name + '.parquet'))})"

    return f"""select
        case when in_window then recency_days end::integer as recency,
        case when in_window then frequency_days end::integer as frequency,
        case when in_window then round(monetary, 2) end::decimal(18, 2) as monetary,
        case when in_window then r_score end::integer as r_score,
        case when in_window then f_score end::integer as f_score,
        case when in_window then m_score end::integer as m_score,
        rfm_segment,
        case when in_window then abc_class end as abc_class,
        stage
    from (
        select rfm.recency_days, frequency_days, monetary, r_score, f_score, m_score,
               rfm_segment, abc_class, stage,
               coalesce(rfm_segment not in ('prospects', 'lapsed'), false) as in_window
        from {table("customer_rfm")} rfm
        full join {table("customer_abc")} abc using (customer_key)
        full join {table("customer_lifecycle")} lifecycle using (customer_key)
    )"""


def totals(rows: str) -> dict[str, object]:
    """customers, buyers, Σ monetary, counts per class and the order-independent hash of all rows."""
    with duckdb.connect() as connection:
        connection.execute(f"create temp table r as {rows}")
        customers, buyers, monetary, digest = connection.execute(
            # A sum of hashes sees repeated rows, which an exclusive-or would cancel.
            f"select count(*), count(recency), sum(monetary), "
            f"sum(hash({COLUMNS})::hugeint) % 2305843009213693951 from r"
        ).fetchone()
        found = {"customers": customers, "buyers": buyers, "monetary": str(monetary)}
        for column in COUNTED:
            counts = connection.execute(
                f"select {column}::varchar, count(*) from r group by 1 order by 1"
            ).fetchall()
            found |= {f"{column}={value}": n for value, n in counts}
        found["hash of all rows"] = str(digest)
        return found


def differences(name: str, theirs: str, ours: str, examples: int = 5) -> list[str]:
    """One line per total that differs, then example rows; empty when both are the same."""
    left, right = totals(theirs), totals(ours)
    lines = [
        f"{key}: {name} {left.get(key, 0)}, reference {right.get(key, 0)}"
        for key in [*left, *(k for k in right if k not in left)]
        if left.get(key) != right.get(key)
    ]
    if not lines:
        return []
    with duckdb.connect() as connection:
        for label, one, other in ((name, theirs, ours), ("reference", ours, theirs)):
            only = connection.execute(
                f"with d as (select {COLUMNS} from ({one}) except all select {COLUMNS} from ({other})) "
                "select *, count(*) over () from d order by all"
            ).fetchmany(examples)
            if only:
                lines.append(f"rows only in {label}: {only[0][-1]}, for example ({COLUMNS})")
                lines += [f"    {tuple(str(v) for v in row[:-1])}" for row in only]
    return lines


def warehouses(one: Path, other: Path) -> list[str]:
    """Tables of which two warehouses hold other rows, with how many; both have to hold the same tables. What tells of a
    run is not compared."""
    found: list[str] = []
    with duckdb.connect() as connection:
        connection.execute("set TimeZone = 'UTC'")
        for name, path in (("one", one), ("other", other)):
            connection.execute(f"attach {_quoted(path)} as {name} (read_only)")
        listed = [
            {
                (schema, table)
                for schema, table in connection.execute(
                    "select schema_name, table_name from duckdb_tables() where database_name = $1", [name]
                ).fetchall()
                if schema not in ("base", "operations") and not table.endswith(("_touched", "_restated"))
            }
            for name in ("one", "other")
        ]
        found += [
            f"{schema}.{table} is in one warehouse only" for schema, table in sorted(listed[0] ^ listed[1])
        ]
        for schema, table in sorted(listed[0] & listed[1]):
            count = connection.execute(
                f"select count(*) from ((from one.{schema}.{table} except all from other.{schema}.{table}) "
                f"union all (from other.{schema}.{table} except all from one.{schema}.{table}))"
            ).fetchone()[0]
            if count:
                found.append(f"{schema}.{table}: {count} rows differ")
    return found
