"""The graph that people see in the UI: keys, groups, the order of the line, checks with words, schedule and alert."""

import json
import threading
from datetime import datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from dagster import (
    AssetKey,
    DagsterInstance,
    DefaultScheduleStatus,
    build_run_status_sensor_context,
    build_schedule_context,
    job,
    op,
)

from pipeline.definitions import defs
from pipeline.ingest.contracts import load_contracts
from pipeline.schedules import every_morning, failed_run_alert

_graph = defs.resolve_asset_graph()


def _groups() -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for key in _graph.materializable_asset_keys:
        found.setdefault(_graph.get(key).group_name, set()).add(key.to_user_string())
    return found


def test_every_asset_group_is_one_layer_of_the_line() -> None:
    assert set(_groups()) == {
        "raw",
        "identity",
        "policy",
        "staging",
        "intermediate",
        "core",
        "segments",
        "marts",
        "audiences",
        "operations",
        "releases",
    }


def test_the_key_of_an_asset_begins_with_its_layer() -> None:
    for group, keys in _groups().items():
        assert {key.split("/")[0] for key in keys} == {group}


def test_every_contract_feed_is_a_raw_asset_with_its_columns() -> None:
    for feed, contract in load_contracts().items():
        node = _graph.get(AssetKey(["raw", feed]))
        columns = [c.name for c in node.metadata["dagster/column_schema"].columns]
        assert columns == list(contract.raw_schema())
        assert node.owners and node.kinds and node.partitions_def


def test_a_release_stands_downstream_of_everything() -> None:
    upstream = set()
    todo = [AssetKey(["releases", "current"])]
    while todo:
        for parent in _graph.get(todo.pop()).parent_keys:
            if parent not in upstream:
                upstream.add(parent)
                todo.append(parent)
    for key in (
        ["raw", "orders"],
        ["identity", "links"],
        ["staging", "stg_sales__orders"],
        ["core", "fct_orders"],
        ["segments", "customer_rfm"],
        ["marts", "nps"],
        ["audiences", "segment_membership"],
    ):
        assert AssetKey(key) in upstream, key


def test_audience_files_are_written_after_the_release() -> None:
    assert _graph.get(AssetKey(["releases", "audience_files"])).parent_keys == {
        AssetKey(["releases", "current"])
    }


def test_every_asset_of_the_line_has_owner_and_description() -> None:
    for key in _graph.materializable_asset_keys:
        node = _graph.get(key)
        assert node.owners, key
        assert node.group_name == "policy" or node.description, key


def test_every_check_says_what_its_failure_means() -> None:
    silent = [
        f"{spec.asset_key.to_user_string()}:{spec.name}"
        for definition in defs.get_repository_def().asset_checks_defs_by_key.values()
        for spec in definition.check_specs
        if not (spec.description or "").strip() or "No description" in (spec.description or "")
    ]
    assert silent == []


def test_at_least_three_raw_feeds_and_both_audiences_have_suites() -> None:
    from pipeline.quality.suites import load_suites

    assert len(load_suites("expectations.sources")) >= 3
    assert set(load_suites("expectations.audiences")) == {
        "audiences.segment_membership",
        "audiences.segment_summary",
    }


def test_the_schedule_runs_every_morning_for_yesterday_in_the_homes_zone() -> None:
    assert every_morning.default_status is DefaultScheduleStatus.RUNNING
    assert every_morning.execution_timezone == "Asia/Shanghai"
    tick = datetime(2026, 7, 1, 5, 0, tzinfo=ZoneInfo("Asia/Shanghai"))
    request = every_morning(build_schedule_context(scheduled_execution_time=tick))
    assert (request.partition_key, request.run_key) == ("2026-06-30", "2026-06-30")


@pytest.fixture
def webhook() -> Any:
    """A local receiver of alerts and what it received."""
    received: list[dict[str, Any]] = []

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Receiver)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/", received
    server.shutdown()


def test_a_failed_run_writes_a_clear_alert_and_posts_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, webhook: Any
) -> None:
    address, received = webhook
    monkeypatch.setenv("STRATA_HOME", str(tmp_path))
    monkeypatch.setenv("STRATA_ALERT_WEBHOOK", address)

    @op
    def breaks() -> None:
        raise ValueError("orders of 2026-06-30 are missing")

    @job
    def daily() -> None:
        breaks()

    with DagsterInstance.ephemeral() as instance:
        result = daily.execute_in_process(
            instance=instance, raise_on_error=False, tags={"dagster/partition": "2026-06-30"}
        )
        context = build_run_status_sensor_context(
            sensor_name="failed_run_alert",
            dagster_event=result.get_run_failure_event(),
            dagster_instance=instance,
            dagster_run=result.dagster_run,
        ).for_run_failure()
        failed_run_alert(context)
    line = (tmp_path / "alerts.log").read_text()
    for part in ("daily", "2026-06-30", "orders of 2026-06-30 are missing", "unchanged"):
        assert part in line
    assert received[0]["partition"] == "2026-06-30"
    assert "orders of 2026-06-30 are missing" in received[0]["text"]
