"""One day after another, all at once, and the same day again: the ways to a release differ in nothing that is published."""

import json
import random
from datetime import date, timedelta
from pathlib import Path

import pytest

from tests.job.conftest import Line, failed, make_company


def _shuffle_rows(landing: Path) -> int:
    """Mix the rows of every file of lines under its header; how many files were mixed."""
    draw, mixed = random.Random(5), 0
    for path in sorted(landing.glob("[!_]*/*/*")):
        content = path.read_bytes()
        # A quoted value may hold a line break, and such a file cannot be cut by lines.
        if path.suffix not in (".csv", ".jsonl") or (path.suffix == ".csv" and b'"' in content):
            continue
        lines = [line + b"\n" for line in content.splitlines()]
        head = lines[:1] if path.suffix == ".csv" else []
        rows = lines[len(head) :]
        draw.shuffle(rows)
        path.write_bytes(b"".join([*head, *rows]))
        mixed += head + rows != lines
    return mixed


@pytest.fixture(scope="module")
def ways(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Line]:
    """The same deliveries through a backfill, day by day with the files arriving one day at a time, and in one go
    with the rows of every file in another order.

    Two days: on the second each line goes on from what its own first day left.
    """
    folder = tmp_path_factory.mktemp("ways")
    source = make_company(folder / "source", 60, 13)
    # Without its last day: the day after that begins a month, and what is built then is no increment.
    newest = max(p.stem for p in source.landing.glob("app/orders/*"))
    for path in source.landing.glob(f"[!_]*/*/{newest}*"):
        path.unlink()
    last = date.fromisoformat(max(p.stem for p in source.landing.glob("app/orders/*"))) + timedelta(days=1)
    first = last - timedelta(days=1)
    backfill = source.copy(folder / "backfill")
    # A Python of its own: what depends on the order of a set would differ from the days below.
    code, answer, errors = backfill.strata("backfill", "--from", str(first), "--to", str(last), fresh=True)
    assert code == 0, (answer, errors[-3000:])
    daily = source.copy(folder / "daily")
    held = folder / "held"
    for path in sorted(
        p for p in daily.landing.glob("*/*/*") if not str(p.relative_to(daily.landing)).startswith("_")
    ):
        if path.name[:10] >= first.isoformat():
            target = held / path.relative_to(daily.landing)
            target.parent.mkdir(parents=True, exist_ok=True)
            path.rename(target)
    for n in range(2):
        day = first + timedelta(days=n)
        for path in list(held.glob("*/*/*")):
            if path.name[:10] < day.isoformat():
                path.rename(daily.landing / path.relative_to(held))
        code, answer, errors = daily.run()
        assert (code, answer["as_of_date"]) == (0, day.isoformat()), (answer, errors[-3000:])
        assert answer["build"]["way"] == ("full build", "increment")[n], answer["build"]
    once = source.copy(folder / "once")
    assert _shuffle_rows(once.landing) > 50
    code, _, errors = once.run()
    assert code == 0, errors[-3000:]
    return {"backfill": backfill, "daily": daily, "once": once}


def test_backfill_and_day_by_day_give_the_same_releases(ways: dict[str, Line]) -> None:
    listed = {name: line.strata("releases", "list")[1] for name, line in ways.items()}
    ids = {name: [r["release"] for r in releases] for name, releases in listed.items()}
    assert ids["backfill"] == ids["daily"]
    assert len(ids["backfill"]) == 2
    assert ids["once"] == ids["backfill"][-1:]


# What tells of the days that were built, and what shows the class that has held (P-16).
OF_THE_DAYS = {
    "class_bounds",
    "class_history",
    "class_stability",
    "class_transition",
    "lifecycle_transition",
    "segment_delta",
    "segment_membership",
    "customer_360",
    "market_segment",
    "behaviour_segment",
    "custom_segment",
    "persona",
    "customer_lifecycle",
    # A cell that was hidden the day before stays hidden with its partners.
    "segment_summary",
    "segment_coverage",
    "retention_cohort",
}


def test_backfill_day_by_day_and_one_go_give_the_same_bytes(ways: dict[str, Line]) -> None:
    assert ways["backfill"].table_hashes() == ways["daily"].table_hashes()
    once, daily = (
        {path: h for path, h in ways[name].table_hashes().items() if Path(path).stem not in OF_THE_DAYS}
        for name in ("once", "daily")
    )
    assert once == daily and len(once) > 20
    # As computed, the classes are the same; only since when and why is known by who was there.
    for sql in (
        "select customer_key, scheme, class from segments.class_history where valid_to is null order by all",
        "select * exclude (days_in_stage, is_stage_since_known) from segments.customer_lifecycle order by all",
        "select customer_key, scheme, coalesce(pending_class, class), reason_zh, reason_en, consent_email "
        "from audiences.segment_membership order by all",
    ):
        assert ways["once"].query(sql) == ways["daily"].query(sql)
    shown = [
        {
            row[:2]: row[2:]
            for row in ways[name].query(
                "select scheme, class, customers, revenue from audiences.segment_summary where not is_suppressed"
            )
        }
        for name in ("once", "daily")
    ]
    both = shown[0].keys() & shown[1].keys()
    assert len(both) > 5
    assert all(shown[0][cell] == shown[1][cell] for cell in both)


def test_the_same_day_again_changes_nothing(ways: dict[str, Line]) -> None:
    line = ways["once"]
    before = line.pointer
    code, answer, _ = line.run()
    assert (code, answer["status"], answer["release"]) == (0, "unchanged", json.loads(before)["release"])
    assert line.pointer == before
    assert failed(answer) == []
