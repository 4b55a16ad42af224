"""One day after another, all at once, and the same day again: the ways to a release differ in nothing that is published."""

import json
import random
import re
from datetime import date, timedelta
from pathlib import Path

import duckdb
import pytest

from pipeline import duck
from pipeline.transform.replay import _INCREMENT
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
    "class_group_bounds",
    "class_history",
    "class_stability",
    "class_transition",
    "lifecycle_transition",
    "segment_delta",
    "segment_membership",
    "customer_360",
    "care_plan",
    "market_segment",
    "behaviour_segment",
    "custom_segment",
    "persona",
    "customer_lifecycle",
    # A cell that was hidden the day before stays hidden with its partners.
    "segment_summary",
    "segment_coverage",
    "retention_cohort",
    "nps",
    "csat",
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


def test_a_history_that_goes_on_is_the_whole_one(ways: dict[str, Line]) -> None:
    """The increment wrote the rows of few people anew; its SQL over everybody gives every row of the table."""
    line = ways["daily"]
    models = line.home / "dbt" / "target" / "compiled" / "strata" / "models"
    narrow = (models / "segments" / "class_history.sql").read_text()
    whole = _INCREMENT.sub(r"\1", narrow)
    assert whole != narrow, "the history did not go on from the warehouse"
    touched = (models / "intermediate" / "int_classes_touched.sql").read_text()
    with duck.connect(
        [line.home], database=line.home / "warehouse" / "warehouse.duckdb", read_only=True
    ) as con:
        assert _differing(con, "segments.class_history", f"({whole})") == 0
        n, rows = con.execute(
            "select count(*), (select count(*) from segments.class_history) from intermediate.int_classes_touched"
        ).fetchone() or (0, 0)
        assert 0 < n < rows / 2
        # The same with people who wait until a class has held, and with one who may no longer be profiled.
        file = duck.parquet(line.home / "build" / "history" / "class_history.parquet")
        con.execute(
            "create temp table laid_out as select * replace ("
            "case when waits then null else published_from end as published_from, "
            "case when waits then 'other' else previous_class end as previous_class, "
            "case when waits then valid_from - 400 else valid_from end as valid_from) "
            f"from (select *, customer_key like '%a' and valid_to is null as waits from {file}) as rows_of_file"
        )
        con.execute("create temp table barred as select max(customer_key) as customer_key from laid_out")
        texts = []
        for sql in (touched, narrow, whole):
            moved = re.sub(r"read_parquet\('[^']*/class_history.parquet'[^)]*\)", "laid_out", sql)
            moved = moved.replace('"warehouse"."intermediate"."int_persons_excluded"', "barred")
            texts.append(moved.replace('"warehouse"."intermediate"."int_classes_touched"', "touched"))
        con.execute(f"create temp table touched as {texts[0]}")
        con.execute("create temp table history as from laid_out")
        con.execute("delete from history using touched where history.customer_key = touched.customer_key "
                    "and history.scheme = touched.scheme")  # fmt: skip
        con.execute(f"insert into history by name {texts[1]}")
        shown = con.execute(
            "select count(*) from laid_out join history using (customer_key, scheme, valid_from) "
            "where laid_out.published_from is null and history.published_from is not null"
        ).fetchone()
        assert shown and shown[0] > 0
        assert _differing(con, "history", f"({texts[2]})") == 0


def _differing(con: duckdb.DuckDBPyConnection, one: str, other: str) -> int:
    row = con.execute(
        f"select count(*) from ((select {_HISTORY} from {one} except all select {_HISTORY} from {other}) union all "
        f"(select {_HISTORY} from {other} except all select {_HISTORY} from {one}))"
    ).fetchone()
    return row[0] if row else -1


_HISTORY = (
    "customer_key, scheme, class, valid_from, valid_to, from_class, cause, factors, is_rescored, published_from, "
    "previous_class, previous_since, left_cause"
)


def test_the_same_day_again_changes_nothing(ways: dict[str, Line]) -> None:
    line = ways["once"]
    before = line.pointer
    code, answer, _ = line.run()
    assert (code, answer["status"], answer["release"]) == (0, "unchanged", json.loads(before)["release"])
    assert line.pointer == before
    assert failed(answer) == []
