"""The PostgreSQL section of docs/add-a-source.md, done as it is written: from an empty landing to fct_orders."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from datetime import date
from pathlib import Path

import duckdb
import pytest

from pipeline.ingest.database.days import read_tables
from pipeline.ingest.load import sweep
from pipeline.settings import Settings
from tests import postgres
from tests.job.conftest import Line
from tests.postgres import MARK, Database

server_fixture, database_fixture = postgres.server_fixture, postgres.database_fixture
declare_fixture = postgres.declare_fixture

GUIDE = Path(__file__).parents[2] / "docs" / "add-a-source.md"
BLOCK = re.compile(
    r"(?:`pipeline/ingest/mappings/(?P<file>[^`]+)`\n\n)?```(?P<kind>\w+)\n(?P<text>.*?)```", re.S
)
URL = "STRATA_TEAWEB_DATABASE_URL"


def test_the_guide_leads_from_a_table_to_the_facts(
    settings: Settings,
    database: Database,
    declare: Callable[[dict[str, str]], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    blocks = [m.groupdict() for m in BLOCK.finditer(GUIDE.read_text(encoding="utf-8").split("## 7. ")[1])]
    declare({b["file"]: b["text"] for b in blocks if b["file"]})
    begin, change = (b["text"] for b in blocks if b["kind"] == "sql" and not b["file"])
    database.run(begin.split("create role")[0])
    monkeypatch.setenv(URL, database.url())
    (settings.landing / "teaweb").mkdir()
    read_tables(settings, date(2026, 3, 4))
    sweep(settings, date(2026, 3, 4), run_id="test", released=None)

    database.run(change)
    answer = strata(settings, "run", "--as-of", "2026-03-05")
    assert (answer["status"], answer["exit_code"]) == ("published", 0), [
        (c["check"], c["examples"]) for c in answer["checks"] if not c["passed"]
    ]
    with duckdb.connect(str(settings.warehouse), read_only=True) as con:
        facts = con.sql(
            "select order_id, status, sale_amount from core.fct_orders order by order_id"
        ).fetchall()
    assert facts == [("7001", "cancelled", 221), ("7002", "paid", 208)], "the newest state counts"
    line = Line(settings.landing, settings.home)
    assert line.query("select kind, rows_n, amount from operations.row_balance") == [("sale", 4, 429)]
    assert line.query(
        "select count(*), sum(rows_read), sum(rows_loaded), sum(rows_rejected) from operations.ingest_ledger"
    ) == [(6, 8, 7, 1)]
    assert not [file for file in settings.home.rglob("*") if file.is_file() and MARK in file.read_bytes()]
    assert [t["read_to_the_end_of"] for t in strata(settings, "tables", "list")] == ["2026-03-04"] * 2


def strata(settings: Settings, *args: str) -> dict:
    """JSON answer of the command with the test's own mappings."""
    code = "import sys; from pathlib import Path; from pipeline import settings as s; s.MAPPINGS_DIR = Path(sys.argv.pop(1)); from pipeline.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, str(settings.home.parent / "mappings"), *args, "--json"],
        env=dict(os.environ),
        capture_output=True,
        text=True,
        check=False,
    )
    return json.loads(done.stdout)
