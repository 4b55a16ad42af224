"""The class models on CDNOW, of which others have counted cohorts and concentration: the SQL of the job as dbt writes it."""

import json
from pathlib import Path

import duckdb
import pandas as pd
import pytest

from pipeline.transform.invoke import invoke

MODELS = ("int_customer_days", "int_customer_rhythms", "customer_abc", "pareto_check", "retention_cohort")


@pytest.fixture(scope="module")
def sql(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """SQL by model."""
    folder = tmp_path_factory.mktemp("compiled")
    home = folder / "home"
    (home / "warehouse").mkdir(parents=True)
    invoke(["compile", "--select", *MODELS], home, folder / "target")
    found = {path.stem: path.read_text() for path in (folder / "target" / "compiled").rglob("*.sql")}
    before = home / "build" / "history" / "retention_cohort.parquet"
    before.parent.mkdir(parents=True, exist_ok=True)
    duckdb.sql(
        f"copy (select null::date as cohort_month, null as customers, true as is_suppressed limit 0) to '{before}'"
    )
    return {name: found[name] for name in MODELS}


@pytest.fixture(scope="module")
def warehouse(real_data: Path, sql: dict[str, str]) -> duckdb.DuckDBPyConnection:
    """All 69,659 purchases of the 23,570 customers as the days and facts that the class models read: days up
    to 1997-10-01 for the cohorts, sums up to 1998-05-31 as the known figures have them."""
    rows = pd.read_csv(
        real_data / "cdnow" / "CDNOW_master.txt", sep=r"\s+", header=0, names=["customer", "day", "cds", "amount"], dtype=str
    )  # fmt: skip
    con = duckdb.connect()
    con.register("rows", rows)
    con.execute("attach ':memory:' as warehouse")
    for schema in ("core", "intermediate", "segments"):
        con.execute(f"create schema warehouse.{schema}")
    con.execute(
        """
        create table bought as
        select customer as customer_key, strptime(day, '%Y%m%d')::date as day, amount::decimal(18, 4) as amount from rows
        """
    )
    con.execute(
        "create table warehouse.core.fct_orders as select customer_key, day as paid_date, amount as net_revenue, "
        "amount as profit, true as makes_purchase_day, false as profit_is_estimated, false as profit_uses_default_margin, "
        "true as is_valid from bought"
    )
    for model in ("int_customer_days", "int_customer_rhythms"):
        con.execute(f"create table warehouse.intermediate.{model} as {sql[model]}")
    con.execute(
        "create table warehouse.intermediate.int_customer_returns as "
        "select '' as customer_key, null::date as day, null::decimal(18, 4) as refund_net limit 0"
    )
    con.execute(
        """
        create table warehouse.intermediate.int_customer_facts as
        select customer_key, date '1998-05-31' as as_of_date, '1' as policy_version, min(day) as first_purchase_date,
            count(distinct day) as purchase_days_n, count(distinct day) as frequency_abc, sum(amount) as profit_abc,
            sum(amount) as revenue_abc, false as profit_is_estimated, true as has_better_than_default
        from bought where day < date '1998-05-31' group by all
        """
    )
    con.execute(
        "create table warehouse.core.dim_dates as select day::date as date_day, date_trunc('month', day)::date as month_start "
        "from range(date '1996-01-01', date '1999-01-01', interval 1 day) as t(day)"
    )
    con.execute(
        """
        create table warehouse.intermediate.int_run_policy as
        select date '1997-10-01' as as_of_date, '1' as policy_version, 0.20::decimal(9, 6) as abc_a_share,
            0.50::decimal(9, 6) as abc_b_share, 0.80::decimal(9, 6) as abc_cumulative_a_share,
            0.95::decimal(9, 6) as abc_cumulative_b_share, 12 as cohort_months, 10 as k_anon_min, 30 as low_n,
            30 as lifecycle_default_gap_days, 3::double as lifecycle_churn_factor, 90 as lifecycle_churn_min_days,
            365 as lifecycle_churn_max_days, 3 as lifecycle_shrink_weight
        """
    )
    return con


@pytest.mark.real_data
def test_cohorts_and_concentration_of_cdnow_are_the_known_ones(
    sql: dict[str, str], warehouse: duckdb.DuckDBPyConnection, golden: Path
) -> None:
    known = json.loads((golden / "segmentation_and_clv.json").read_text())["cdnow_master"]
    assert warehouse.execute(
        "select count(distinct customer_key), count(*), sum(amount)::double from bought"
    ).fetchall() == [(known["customers"], known["rows"], known["amount"])]
    assert warehouse.execute(
        "select count(*) from (select 1 from bought group by customer_key having count(distinct day) > 1)"
    ).fetchall() == [(known["repeaters"],)]
    warehouse.execute(f"create or replace table warehouse.segments.customer_abc as {sql['customer_abc']}")
    # The known figures go row by row; of customers with one amount ours gives each the class of the last of them (G-06).
    warehouse.execute(
        """
        create or replace temp table by_row as
        select *,
            case when before < 0.8 * total then 'A' when before < 0.95 * total then 'B' else 'C' end as cumulative,
            case when place <= ceil(0.2 * n) then 'A' when place <= ceil(0.5 * n) then 'B' else 'C' end as ranked
        from (
            select *, sum(profit_365) over () as total, count(*) over () as n, row_number() over in_order as place,
                sum(profit_365) over in_order - profit_365 as before
            from warehouse.segments.customer_abc
            window in_order as (order by profit_365 desc, customer_key rows unbounded preceding)
        )
        """
    )
    counts = warehouse.execute("select cumulative, count(*) from by_row group by 1 order by 1").fetchall()
    assert [n for _, n in counts] == known["abc_80_95_prevcum"]
    top = "select round((sum(profit_365) filter (where ranked = 'A') / any_value(total))::double, 4) from by_row"
    assert warehouse.execute(top).fetchall() == [(known["top20_share"],)]
    wrong = (
        "select profit_365 from by_row where profit_365 > 0 group by 1 having count(distinct (abc_class, abc_cum_class)) > 1 "
        "or any_value(abc_cum_class) <> max(cumulative) or any_value(abc_class) <> max(ranked)"
    )
    assert warehouse.execute(wrong).fetchall() == []
    made = f"select round(positive_profit_share, 3) from ({sql['pareto_check']}) where abc_class = 'A'"
    assert warehouse.execute(made).fetchall() == [(round(known["top20_share"], 3),)]
    cohorts = warehouse.execute(
        f"select strftime(cohort_month, '%Y-%m'), months_since, customers, buyers from ({sql['retention_cohort']}) "
        "where months_since <= 6 order by all"
    ).fetchall()
    found = {month: [next(c for m, _, c, _ in cohorts if m == month)] for month in known["cohorts"]}
    for month, _, _, buyers in cohorts:
        if month in found:
            found[month].append(buyers)
    assert found == known["cohorts"]
