"""The way of the sample company's rows, from its files to its facts, against the truth of the generator."""

import json
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pytest

from pipeline import settings as settings_module
from pipeline.settings import Settings
from pipeline.trace import told, trace_order, trace_record
from pipeline.transform.invoke import DbtFailed, invoke
from tests.job.conftest import Line


@pytest.fixture
def home(company: Line, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings of the built company; a trace only reads."""
    monkeypatch.setenv("STRATA_HOME", str(company.home))
    monkeypatch.setenv("STRATA_LANDING", str(company.landing))
    return settings_module.load()


def totals(company: Line) -> dict[str, Any]:
    return json.loads((company.landing / "_truth" / "totals.json").read_text())


def truth(company: Line, name: str) -> pd.DataFrame:
    return pd.read_parquet(company.landing / "_truth" / f"{name}.parquet")


def chain(company: Line, stage: str) -> dict[tuple[str, str], dict[str, int]]:
    """Rows by state of each source and feed."""
    found: dict[tuple[str, str], dict[str, int]] = {}
    for source, feed, state, rows in company.query(
        f"select source, feed, state, sum(rows_n) from operations.row_chain where stage = '{stage}' group by all"
    ):
        found.setdefault((source, feed), {})[state] = int(rows)
    return found


def test_what_was_delivered_ends_as_the_generator_planned(company: Line) -> None:
    found = chain(company, "ingest")
    for scope, expected in totals(company)["files"].items():
        counts = found[tuple(scope.split("/"))]
        repeated = counts.get("duplicate", 0) - expected["duplicates"]
        assert counts.get("read", 0) == expected["records"], scope
        assert counts.get("rejected", 0) == expected["rejected"], scope
        # A file that came again under another name: all of its records are duplicates.
        assert 0 <= repeated <= expected["records_repeated"], scope
        assert counts.get("loaded", 0) == expected["loaded"] - repeated, scope


def test_every_loaded_row_ends_in_the_facts_that_the_truth_has(company: Line) -> None:
    found = chain(company, "model")
    orphans = truth(company, "bad_rows").query("reason == 'orphan_line'")["path"].str.split("/").str[0]
    for source, expected in totals(company)["sales"].items():
        counts = {feed: found.get((source, feed), {}) for feed in ("orders", "order_lines", "returns")}
        assert counts["orders"].get("in_fact", 0) == expected["orders"], source
        lines = expected["lines"] + int((orphans == source).sum())
        assert counts["order_lines"].get("in_fact", 0) == lines, source
        assert counts["returns"].get("in_fact", 0) == expected["returns"], source
    for (source, feed), states in found.items():
        assert states["written"] == sum(n for state, n in states.items() if state != "written"), (
            source,
            feed,
        )
    (valid,) = company.query(
        "select sum(rows_n) from operations.row_chain where source = 'app' and feed = 'orders' and reason = 'valid'"
    )
    assert int(valid[0]) == totals(company)["sales"]["app"]["valid_orders"]


def test_a_lost_row_stops_the_build(company_copy: Line, tmp_path: Path) -> None:
    """An order that fell out of the chain and a line that no fact table has: the check names both feeds."""
    with duckdb.connect(str(company_copy.home / "warehouse" / "warehouse.duckdb")) as con:
        con.execute(
            "update operations.row_chain set rows_n = rows_n - 1 where source = 'app' and feed = 'orders' and reason = 'valid'"
        )
        con.execute(
            "update intermediate.int_fact_rows set rows_n = rows_n + 1 where source = 'app' and reason = 'order_valid'"
        )
    target = tmp_path / "target"
    # The views of a copied warehouse still read the raw files of the home that it was copied from.
    views = ["deliveries_in_force", "stg_sales__order_lines", "int_order_lines", "fct_order_lines"]
    selected = ["--select", *views, "every_row_has_one_final_state"]
    with pytest.raises(DbtFailed):
        invoke(["build", "--indirect-selection", "empty", *selected], company_copy.home, target)
    results = json.loads((target / "run_results.json").read_text())["results"]
    assert [(r["status"], r["failures"]) for r in results if r["unique_id"].startswith("test.")] == [
        ("fail", 2)
    ]


def test_every_planted_record_is_told_as_what_it_became(company: Line, home: Settings) -> None:
    planted = truth(company, "bad_rows")
    picked = planted.groupby(["reason", "expected"]).head(1)
    states = {"reject": "rejected", "duplicate": "duplicate", "load": "loaded"}
    assert set(picked["expected"]) == set(states)
    for row in picked.itertuples():
        found = trace_record(home, row.path, str(row.record_no))["record"]
        assert found["state"] == states[row.expected], row
        if row.expected == "reject":
            assert found["means"] and found["to_do"], row


def test_a_trace_says_what_the_truth_says_of_an_order(company: Line, home: Settings) -> None:
    orders = truth(company, "orders")
    known = orders[~orders["internal_known_by"].isin(["identity", "nothing"])]
    for row in known.groupby(["source", "is_valid"]).head(1).itertuples():
        (source,) = trace_order(home, row.order_id, row.source)["sources"]
        assert source["facts"]["counts"]["counts"] == row.is_valid, row
        assert bool(source["facts"]["counts"]["why_not"]) != row.is_valid, row
        stands = [i for i in source["delivered"] if i["feed"] == "orders" and i["state"] == "in_fact"]
        assert len(stands) == 1
        lines = [i for i in source["delivered"] if i["feed"] == "order_lines" and i["state"] == "in_fact"]
        assert len(lines) == len(source["facts"]["lines"])
        if row.is_valid:
            key = source["customer"]["customer_key"]
            expected = company.query(
                f"select rfm_segment from segments.customer_rfm where customer_key = '{key}'"
            )
            assert [(source["customer"]["classes"]["rfm"]["class"],)] == expected


def test_an_order_that_changed_its_state_shows_each_state_that_came(company: Line, home: Settings) -> None:
    with duckdb.connect(str(home.warehouse), read_only=True) as con:
        source, order_id, versions = con.execute(
            "select source, order_id, versions_n from core.fct_orders where versions_n > 1 order by all limit 1"
        ).fetchone()
    found = trace_order(home, order_id, source)
    headers = [i for i in found["sources"][0]["delivered"] if i["feed"] == "orders"]
    assert [i["state"] for i in headers].count("merged") == versions - 1
    assert len({i["by"]["delivery"] for i in headers if i["by"]}) == 1
    text = told(found)
    assert len(text.splitlines()) <= 45, "one screen"
    for part in (order_id, "fct_orders", "customer ", str(found["release"]), headers[0]["sha256"][:12]):
        assert part in text
