"""What a build goes on from: the history of the current release, as it stood before D."""

import json
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.identity import tables
from pipeline.publish.shelf import sha256
from pipeline.settings import Settings
from pipeline.transform import history
from pipeline.transform.dbt import ensure_manifest
from pipeline.transform.receipt import identity


@pytest.fixture(scope="module")
def nodes() -> dict[str, Any]:
    return json.loads(ensure_manifest().read_text())["nodes"]


def day(n: int) -> date:
    return date(2026, 3, n)


def row(
    key: str, class_: str, start: int, end: int | None = None, shown: int | None = None, **more: Any
) -> dict:
    return {
        "customer_key": key,
        "scheme": "abc",
        "class": class_,
        "valid_from": day(start),
        "valid_to": day(end) if end else None,
        "published_from": day(shown) if shown else None,
        "left_cause": None,
        **more,
    }


@pytest.fixture
def home(settings: Settings) -> Settings:
    """Identity knows a, b and the key `old` that b took over; nobody else."""
    known = [
        {"customer_key": "a", "valid_from": day(1)},
        {"customer_key": "old", "valid_from": day(1), "valid_to": day(5), "merged_into": "b"},
    ]
    tables.replace(settings, pa.Table.from_pylist(known, tables.ROWS), day(9))
    return settings


def publish(
    settings: Settings, name: str, rows: list[dict], members: list[dict] = (), current: bool = True
) -> Path:
    """A release as far as the history is concerned, upon the one that is current."""
    as_of = name.partition("-r")[0]
    tables = {
        "segments.class_history": pa.Table.from_pylist(rows),
        "segments.class_bounds": pa.table({"as_of_date": [date.fromisoformat(as_of)], "abc_cut_a": [7]}),
        "audiences.segment_membership": pa.Table.from_pylist(
            [m | {"as_of_date": date.fromisoformat(as_of)} for m in members]
            or [{"customer_key": None, "scheme": None, "class": None, "as_of_date": None}]
        ),
    }
    described = {}
    for key, table in tables.items():
        file = settings.releases / name / "tables" / Path(*key.split(".")).with_suffix(".parquet")
        file.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, file)
        described[key] = {"sha256": sha256(file)}
    before = json.loads(settings.pointer.read_text())["release"] if settings.pointer.exists() else None
    manifest = {"release": name, "as_of_date": as_of, "previous_release": before, "tables": described}
    (settings.releases / name / "manifest.json").write_text(json.dumps(manifest))
    if current:
        settings.pointer.write_text(json.dumps({"release": name}))
    return settings.releases / name / "tables" / "segments" / "class_history.parquet"


def read(settings: Settings, table: str, *columns: str) -> list[tuple]:
    rows = pq.read_table(settings.build / "history" / f"{table}.parquet").to_pylist()
    return sorted((tuple(r[c] for c in columns) for r in rows), key=str)


def state(settings: Settings) -> list[tuple]:
    return read(
        settings, "class_history", "customer_key", "class", "valid_from", "valid_to", "published_from"
    )


def test_before_the_first_release_there_are_empty_tables_of_the_right_types(
    home: Settings, nodes: dict
) -> None:
    assert history.prepare(home, day(10), nodes) is None
    for table in ("class_history", "class_bounds", "class_group_bounds", "segment_membership"):
        found = pq.read_table(home.build / "history" / f"{table}.parquet")
        assert found.num_rows == 0 and "NULL" not in {str(t).upper() for t in found.schema.types}
    assert (
        pq.read_schema(home.build / "history" / "class_history.parquet").field("valid_from").type
        == pa.date32()
    )


def test_what_the_day_or_a_later_one_added_is_taken_back(home: Settings, nodes: dict) -> None:
    """So the same day again, or an older one after a rollback, begins where its first run began."""
    publish(
        home,
        "2026-03-12",
        [
            row("a", "A", 1, 10, 1),
            row("a", "B", 10, None, 12),
            row("b", "C", 8, None, 11),
            row("old", "A", 1, 12, 1, left_cause="merge_split"),
        ],
    )
    history.prepare(home, day(12), nodes)
    assert state(home) == [
        ("a", "A", day(1), day(10), day(1)),
        ("a", "B", day(10), None, None),
        ("b", "C", day(8), None, day(11)),
        ("old", "A", day(1), None, day(1)),
    ]
    assert read(home, "class_history", "left_cause") == [(None,)] * 4
    history.prepare(home, day(10), nodes)
    assert state(home) == [
        ("a", "A", day(1), None, day(1)),
        ("b", "C", day(8), None, None),
        ("old", "A", day(1), None, day(1)),
    ]
    assert read(home, "class_bounds", "as_of_date") == []
    history.prepare(home, day(13), nodes)
    assert read(home, "class_bounds", "as_of_date", "abc_cut_a", "common_gap_days") == [(day(12), 7, None)]
    assert ("a", "B", day(10), None, day(12)) in state(home)


def test_whom_identity_does_not_know_is_not_carried_on(home: Settings, nodes: dict) -> None:
    """An erased person stands in the release before until that one is redacted."""
    publish(
        home,
        "2026-03-12",
        [row("a", "A", 1, None, 1), row("erased", "A", 1, None, 1), row("old", "A", 1, 5, 1)],
        [{"customer_key": k, "scheme": "abc", "class": "A"} for k in ("a", "erased")],
    )
    history.prepare(home, day(13), nodes)
    assert {r[0] for r in state(home)} == {"a", "old"}
    assert read(home, "segment_membership", "customer_key", "class") == [("a", "A")]


def test_a_history_of_which_every_word_stands_is_the_file_of_the_release(home: Settings, nodes: dict) -> None:
    """Where a day has to be taken back, or somebody left out, it is written anew, and the release keeps its file."""
    kinds = nodes["model.strata.class_history"]["columns"]
    types = {"varchar": pa.string(), "date": pa.date32(), "boolean": pa.bool_()}
    schema = pa.schema([(name, types[c["data_type"]]) for name, c in kinds.items()])
    file = publish(home, "2026-03-12", [])
    linked = home.build / "history" / "class_history.parquet"

    def keep(*rows: dict) -> None:
        file.unlink()
        pq.write_table(pa.Table.from_pylist(list(rows), schema), file)
        path = home.releases / "2026-03-12" / "manifest.json"
        manifest = json.loads(path.read_text())
        manifest["tables"]["segments.class_history"] = {"sha256": sha256(file)}
        path.write_text(json.dumps(manifest))

    keep(row("a", "A", 12, None, 12))
    history.prepare(home, day(13), nodes)
    assert linked.samefile(file) and state(home) == [("a", "A", day(12), None, day(12))]
    before = sha256(file)
    history.prepare(home, day(12), nodes)
    assert state(home) == [] and sha256(file) == before
    keep(row("a", "A", 12, None, 12), row("erased", "A", 12, None, 12))
    history.prepare(home, day(13), nodes)
    assert not linked.samefile(file) and state(home) == [("a", "A", day(12), None, day(12))]


def test_the_warehouse_holds_the_history_only_as_the_release_was_written_from_it(
    home: Settings, nodes: dict
) -> None:
    """An increment of the history leaves the rows that the warehouse has of it."""
    columns = nodes["model.strata.class_history"]["columns"]
    kinds = {"varchar": pa.string(), "date": pa.date32(), "boolean": pa.bool_()}
    schema = pa.schema([(name, kinds[c["data_type"]]) for name, c in columns.items()])
    file = publish(home, "2026-03-12", [row("a", "A", 12, None, 12)])
    pq.write_table(pa.Table.from_pylist([row("a", "A", 12, None, 12)], schema), file)
    path = home.releases / "2026-03-12" / "manifest.json"
    home.warehouse.parent.mkdir(parents=True)
    home.warehouse.write_text("built")

    def state_of(written_from: str | None) -> None:
        manifest = json.loads(path.read_text()) | {"warehouse": written_from}
        manifest["tables"]["segments.class_history"] = {"sha256": sha256(file)}
        path.write_text(json.dumps(manifest))

    def asked(on: date) -> bool:
        return history.is_in_warehouse(home, history.prepare(home, on, nodes))

    state_of(identity(home.warehouse))
    assert asked(day(13))
    assert not asked(day(12)), "the same day again takes back what the release has of it"
    state_of(None)
    assert not asked(day(13)), "a release of an earlier version, or a redacted one"
    state_of(identity(home.warehouse))
    home.warehouse.write_text("built again")
    assert not asked(day(13)), "the release was written from another build"
    home.pointer.unlink()
    assert not asked(day(13))


def test_a_damaged_history_is_passed_over(home: Settings, nodes: dict) -> None:
    publish(home, "2026-03-11", [row("a", "A", 11, None, 11)])
    file = publish(home, "2026-03-12", [row("a", "B", 12, None, 12)])
    assert history.prepare(home, day(13), nodes) == "2026-03-12"
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    assert history.prepare(home, day(13), nodes) == "2026-03-11"
    assert state(home) == [("a", "A", day(11), None, day(11))]


def test_a_release_of_a_version_without_history_begins_it(home: Settings, nodes: dict) -> None:
    publish(home, "2026-03-12", [row("a", "A", 12, None, 12)])
    path = home.releases / "2026-03-12" / "manifest.json"
    manifest = json.loads(path.read_text())
    del manifest["tables"]["segments.class_history"]
    path.write_text(json.dumps(manifest))
    assert history.prepare(home, day(13), nodes) is None
    assert state(home) == []


def test_memberships_are_compared_with_the_last_release_of_an_earlier_day(
    home: Settings, nodes: dict
) -> None:
    """Of the chain that is shown: a release that was rolled back is none of it."""
    member = {"customer_key": "a", "scheme": "abc"}
    publish(home, "2026-03-10", [row("a", "A", 10)], [member | {"class": "A"}])
    publish(home, "2026-03-11", [row("a", "A", 10)], [member | {"class": "B"}])
    home.pointer.write_text(json.dumps({"release": "2026-03-10"}))
    publish(home, "2026-03-12", [row("a", "A", 10)], [member | {"class": "C"}])
    columns = ("class", "as_of_date")
    history.prepare(home, day(13), nodes)
    assert read(home, "segment_membership", *columns) == [("C", day(12))]
    history.prepare(home, day(12), nodes)
    assert read(home, "segment_membership", *columns) == [("A", day(10))]
    history.prepare(home, day(10), nodes)
    assert read(home, "segment_membership", *columns) == []
