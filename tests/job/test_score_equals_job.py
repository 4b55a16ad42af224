"""`strata score` and the daily job are one computation: over the job's own orders it gives what the job published."""

from decimal import Decimal
from pathlib import Path

import duckdb
import pyarrow.parquet as pq

from pipeline.score import presets, run
from pipeline.score.orders import Columns
from tests.job.conftest import Line


def scored_differently(warehouse: Path) -> list[tuple]:
    """Customers to whom the macros as `strata score` renders them give another row than the job's models did."""
    preset = presets.find("rf25")
    con = duckdb.connect()
    con.execute(f"attach '{warehouse}' as warehouse (read_only)")
    con.execute("create temp table policy as from warehouse.intermediate.int_run_policy")
    con.execute(
        "create temp table facts as select *, null as reason, customer_key as customer_id from warehouse.intermediate.int_customer_facts"
    )
    con.execute(
        "create temp table at_refresh as select recency_days, frequency_days as frequency_rfm, monetary as monetary_rfm "
        "from warehouse.intermediate.int_buyers_at_refresh"
    )
    run.make_scores(con, preset)
    compared = "customer_key, recency_days, frequency_days, monetary, r_score, f_score, m_score, rfm_segment"
    return con.execute(
        f"select * from (from scored select customer_id, recency_days, frequency, monetary, r_score, f_score, m_score, segment "
        f"except all from warehouse.segments.customer_rfm select {compared}) union all select * from ("
        f"from warehouse.segments.customer_rfm select {compared} except all "
        "from scored select customer_id, recency_days, frequency, monetary, r_score, f_score, m_score, segment)"
    ).fetchall()


def facts_of_the_file(warehouse: Path, folder: Path) -> tuple[dict, dict]:
    """(ours, the job's) recency, frequency and money of every customer whose orders a plain file can hold.

    An order of postage alone, or one that came back by its lines, is no purchase, which a column of amounts cannot say.
    """
    con = duckdb.connect()
    con.execute(f"attach '{warehouse}' as warehouse (read_only)")
    (as_of,) = con.execute("select as_of_date from warehouse.intermediate.int_run_policy").fetchone() or (
        None,
    )
    con.execute(
        f"""
        copy (
            select customer_key as customer, paid_date as day, net_revenue as amount from warehouse.core.fct_orders where is_valid
            union all
            -- A return of goods without a refund is no purchase of amount 0.
            select customer_key, day, -refund_net from warehouse.intermediate.int_customer_returns where refund_net <> 0
        ) to '{folder / "orders.csv"}'
        """
    )
    run.score(
        folder / "orders.csv",
        Columns("customer", "day", "amount"),
        as_of,
        presets.find("rf25"),
        folder / "out.parquet",
    )
    ours = {
        row["customer_id"]: (row["recency_days"], row["frequency"], row["monetary"])
        for row in pq.read_table(folder / "out.parquet").to_pylist()
    }
    theirs = {
        key: (recency, frequency, Decimal(money))
        for key, recency, frequency, money in con.execute(
            """
            select customer_key, recency_days, frequency_days, monetary from warehouse.segments.customer_rfm
            semi join warehouse.core.fct_orders using (customer_key)
            anti join (select customer_key from warehouse.core.fct_orders where is_valid and not makes_purchase_day) as odd
                using (customer_key)
            where customer_key in (select customer_key from warehouse.core.fct_orders where is_valid)
            """
        ).fetchall()
    }
    return {key: ours[key] for key in theirs}, theirs


def test_the_same_facts_get_the_same_scores_and_segments(company: Line) -> None:
    assert scored_differently(company.home / "warehouse" / "warehouse.duckdb") == []


def test_the_same_orders_give_the_same_facts(company: Line, tmp_path: Path) -> None:
    ours, theirs = facts_of_the_file(company.home / "warehouse" / "warehouse.duckdb", tmp_path)
    assert len(theirs) > 100
    assert ours == theirs
