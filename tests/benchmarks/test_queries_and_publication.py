"""What the queries of a build and its publication cost alone."""

import json
from pathlib import Path
from typing import Any

import duckdb
import pytest

from benchmarks import publication, replay

ROWS = 1_000


def model(name: str, *on: str, **columns: bool) -> dict[str, Any]:
    return {
        "resource_type": "model",
        "schema": "segments",
        "name": name,
        "columns": {c: {"meta": {"publish": publish}} for c, publish in columns.items()},
        "config": {"meta": {"grain": ["customer_key"]}},
        "depends_on": {"nodes": [f"model.strata.{one}" for one in on]},
    }


MODELS = {
    "int_facts": model("int_facts", customer_key=False, n=False),
    "customer_rfm": model("customer_rfm", "int_facts", customer_key=True, n=True),
    "nps": model("nps", "int_facts", customer_key=True, n=False),
}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home with a build of three models, of which two are published, and a test of one."""
    (tmp_path / "warehouse").mkdir()
    (tmp_path / "dbt" / "target").mkdir(parents=True)
    made = {
        "int_facts": f"select cast(range as varchar) as customer_key, range as n from range({ROWS})",
        "customer_rfm": "select * from segments.int_facts",
        "nps": "select * from segments.int_facts where n < 10",
    }
    results = []
    with duckdb.connect(str(tmp_path / "warehouse" / "warehouse.duckdb")) as con:
        con.execute("create schema segments")
        for name, sql in made.items():
            con.execute(f"create table segments.{name} as {sql}")
            results.append(
                {
                    "unique_id": f"model.strata.{name}",
                    "relation_name": f"segments.{name}",
                    "compiled_code": sql,
                }
            )
    results.append(
        {
            "unique_id": "test.strata.is_sound.1",
            "relation_name": None,
            "compiled_code": "select 1 from segments.customer_rfm where n < 0",
        }
    )
    nodes = {f"model.strata.{name}": node for name, node in MODELS.items()}
    (tmp_path / "dbt" / "built.json").write_text(json.dumps({"nodes": nodes}))
    ran = {"results": [{"status": "success", **result} for result in results]}
    (tmp_path / "dbt" / "target" / "run_results.json").write_text(json.dumps(ran))
    return tmp_path


def test_queries_for_the_peers_result_are_told_apart(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A clock that ticks once a look: each node takes one second."""
    ticks = iter(range(1_000))
    monkeypatch.setattr(replay, "cpu_s", lambda: float(next(ticks)))
    (work := tmp_path / "work").mkdir()
    found = replay.replay(home, work)
    assert (found["nodes_n"], found["cpu_s"]) == (4, 4.0)
    assert (found["same_cpu_s"], found["models_cpu_s"], found["tests_cpu_s"]) == (2.0, 3.0, 1.0)
    assert 0 < found["same_wall_s"] < found["wall_s"]
    assert not list(work.iterdir())


def test_what_is_published_is_written_in_both_forms_and_nothing_stays(home: Path, tmp_path: Path) -> None:
    (work := tmp_path / "work").mkdir()
    found = publication.bare(home / "warehouse" / "warehouse.duckdb", home / "dbt" / "built.json", work)
    assert (found["tables_n"], found["rows_n"]) == (2, ROWS + 10)
    assert found["parquet_cpu_s"] >= 0 and found["database_cpu_s"] >= 0 and found["wall_s"] > 0
    assert not list(work.iterdir())
