"""The history of classes after somebody was left out of a release is the same, whether the next day goes on from the
warehouse, which has the person's rows still, or is built from raw."""

import json
import os
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest

from pipeline.transform import receipt
from tests.job.conftest import Line, make_company


@dataclass(frozen=True)
class Left:
    """A line on its first day, of which `withdrew` was left out since; the next day's deliveries are held back."""

    line: Line
    held: Path
    withdrew: str

    def next_day(self, folder: Path, *args: str) -> tuple[Line, dict[str, Any]]:
        """A copy of the line after the deliveries and the run of the next day: its answer."""
        line = self.line.copy(folder)
        for path in self.held.glob("*/*/*"):
            target = line.landing / path.relative_to(self.held)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
        code, answer, errors = line.run(*args)
        assert (code, answer["status"]) == (0, "published"), (answer, errors[-3000:])
        return line, answer


@pytest.fixture(scope="module")
def left(tmp_path_factory: pytest.TempPathFactory) -> Left:
    folder = tmp_path_factory.mktemp("left")
    line = make_company(folder, 60, 13)
    newest = max(p.stem for p in line.landing.glob("app/orders/*"))
    # Without its last day: the day after that begins a month, and what is built then is no increment.
    for path in line.landing.glob(f"[!_]*/*/{newest}*"):
        path.unlink()
    day = date.fromisoformat(newest) - timedelta(days=1)
    held = folder / "held"
    for path in line.landing.glob(f"[!_]*/*/{day}*"):
        target = held / path.relative_to(line.landing)
        target.parent.mkdir(parents=True, exist_ok=True)
        path.rename(target)
    code, answer, errors = line.run()
    assert (code, answer["as_of_date"]) == (0, str(day)), (answer, errors[-3000:])
    ((customer, withdrew),) = line.query(
        "select source_customer_id, customer_key from core.dim_identity_links semi join segments.class_history "
        "using (customer_key) where source = 'app' order by all limit 1"
    )
    code, answer, errors = line.strata(
        "consent", "withdraw", "--source", "app", "--customer", customer, "--urgent", "--by", "Wang"
    )
    assert code == 0 and answer["republished"]["persons"] == 1, (answer, errors[-3000:])
    return Left(line, held, withdrew)


def _rows_of(line: Line, person: str) -> int:
    ((n,),) = line.query(f"select count(*) from segments.class_history where customer_key = '{person}'")
    return n


def _plant(line: Line, person: str) -> int:
    """One row more of the person in the warehouse's history, under a scheme that no build touches, and proofs of the build
    that hold for the changed file; how many rows the warehouse now has of the person."""
    file = line.home / "warehouse" / "warehouse.duckdb"
    with duckdb.connect(file) as con:
        con.execute(
            "insert into segments.class_history select * replace ('planted' as scheme) from segments.class_history "
            "where customer_key = $1 order by scheme limit 1",
            [person],
        )
        ((n,),) = con.execute(
            "select count(*) from segments.class_history where customer_key = $1", [person]
        ).fetchall()
    for name in ("base.json", "receipt.json"):
        path = line.home / "build" / name
        path.write_text(json.dumps(json.loads(path.read_text()) | {"warehouse": receipt.identity(file)}))
    return n


@pytest.mark.soak
@pytest.mark.skipif(not os.environ.get("STRATA_SOAK"), reason="four whole runs: make soak")
def test_an_increment_tells_no_more_of_who_was_left_out_than_a_full_build(left: Left, tmp_path: Path) -> None:
    assert _rows_of(left.line, left.withdrew) == 0
    # The build would go on from a warehouse that still has all of it, and nothing that came since touches it.
    assert _plant(left.line, left.withdrew) > 1
    increment, answer = left.next_day(tmp_path / "increment")
    assert answer["build"]["way"] == "increment"
    full, answer = left.next_day(tmp_path / "full", "--full")
    assert answer["build"]["way"] == "full build"
    assert increment.table_hashes() == full.table_hashes()
    assert _rows_of(increment, left.withdrew) == _rows_of(full, left.withdrew) == 0
