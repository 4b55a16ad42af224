"""What every published table must hold: each rule passes on a clean candidate and names the table that breaks it."""

from pathlib import Path
from typing import Any

import duckdb
import pytest

from pipeline.errors import GateStopped
from pipeline.publish.shelf import current
from pipeline.quality.leaving import _listed_values
from tests.publish.test_release import MANIFEST, Home, built, home, model  # noqa: F401

RULES = {
    "grain_stated",
    "grain_unique",
    "of_the_day",
    "no_small_cells",
    "no_personal_data",
    "columns_allowed",
    "keys_are_tokens",
}
STORES = {"store": "VARCHAR", "note": "VARCHAR", "customers": "BIGINT", "as_of_date": "DATE"}


@pytest.fixture
def stores(home: Home) -> tuple[Home, dict[str, Any]]:  # noqa: F811
    """A further published table, of stores."""
    home.sql(
        "create table audiences.stores as select 'S' || i as store, 'open' as note, 10 + i as customers, "
        "date '2024-05-10' as as_of_date from range(12) t(i)"
    )
    home.build()
    nodes = {**MANIFEST["nodes"], "s": model("audiences", "stores", STORES, ["store"])}
    return home, {"nodes": nodes}


def test_a_clean_candidate_passes_every_rule(stores: tuple[Home, dict[str, Any]]) -> None:
    made, manifest = stores
    made.publish(manifest=manifest)
    found = current(made.settings)
    assert found is not None
    passed = {c["check"] for c in found["checks"] if c.get("table") == "releases.every_table" and c["passed"]}
    assert passed == RULES


@pytest.mark.parametrize(
    ("planted", "said"),
    [
        (
            "update audiences.stores set store = null where store = 'S3'",
            r"grain_stated \(Q-13\) · observed 1",
        ),
        (
            "update audiences.stores set store = 'S3' where store = 'S4'",
            r"grain_unique \(Q-13\) · observed 1",
        ),
        (
            "update audiences.stores set as_of_date = date '2024-05-09' where store in ('S3', 'S5')",
            r"of_the_day \(Q-12\) · observed 2",
        ),
        (
            "update audiences.stores set customers = 9 where store = 'S3'",
            r"no_small_cells \(Q-21\) · observed 1",
        ),
        (
            "update audiences.stores set note = 'call 138-1234-5678' where store = 'S3'",
            r"no_personal_data \(Q-24\) · observed 1, limit 0 · e.g. column note",
        ),
        (
            "update audiences.stores set note = 'to ann.lee@mail.example.com' where store = 'S3'",
            r"no_personal_data \(Q-24\) · observed 1",
        ),
        (
            "update audiences.stores set note = 'card 6222021001122334458' where store = 'S3'",
            r"no_personal_data \(Q-24\) · observed 1",
        ),
        (
            "update audiences.stores set note = '11010519491231002X' where store = 'S3'",
            r"no_personal_data \(Q-24\) · observed 1",
        ),
    ],
)
def test_a_table_that_breaks_a_rule_is_named(
    stores: tuple[Home, dict[str, Any]], planted: str, said: str
) -> None:
    made, manifest = stores
    made.sql(planted)
    made.build()
    with pytest.raises(GateStopped, match=f"table audiences.stores: {said}") as stopped:
        made.publish(manifest=manifest)
    assert "5678" not in str(stopped.value) and "ann.lee" not in str(stopped.value), "values are never told"
    assert not made.settings.pointer.exists()


def test_a_table_of_days_keeps_those_before_and_has_none_after(home: Home) -> None:  # noqa: F811
    manifest = {
        "nodes": {**MANIFEST["nodes"], "s": model("audiences", "stores", STORES, ["as_of_date", "store"])}
    }
    home.sql(
        "create table audiences.stores as select 'S' || i as store, 'open' as note, 10 + i as customers, "
        "date '2024-05-10' - i::integer as as_of_date from range(3) t(i)"
    )
    home.build()
    assert home.publish(manifest=manifest).changed
    home.sql("update audiences.stores set as_of_date = date '2024-05-11' where store = 'S1'")
    home.build()
    with pytest.raises(GateStopped, match=r"table audiences.stores: of_the_day \(Q-12\) · observed 1"):
        home.publish(manifest=manifest)


MOVES = {"class": "VARCHAR", "customers": "BIGINT"}


@pytest.mark.parametrize(
    ("schema", "counted_from", "passes"),
    [
        ("segments", "segments.customer_small", True),
        ("segments", "segments.not_published", False),
        ("segments", "audiences.segment_summary", False),
        ("segments", "", False),
        ("audiences", "segments.customer_small", False),
    ],
)
def test_a_few_people_are_told_only_beside_the_list_that_has_them(
    home: Home,  # noqa: F811
    schema: str,
    counted_from: str,
    passes: bool,
) -> None:
    home.sql(f"create table {schema}.moves as select 'A' as class, 3 as customers")
    home.build()
    moves = model(schema, "moves", MOVES, ["class"])
    moves["config"]["meta"]["counted_from"] = counted_from
    manifest = {"nodes": {**MANIFEST["nodes"], "m": moves}}
    if passes:
        assert home.publish(manifest=manifest).changed
        stated = current(home.settings)["tables"]["segments.moves"]  # type: ignore[index]
        assert stated["counted_from"] == counted_from, "a release that is made again must know it too"
        return
    with pytest.raises(GateStopped, match=rf"table {schema}.moves: no_small_cells \(Q-21\) · observed 1"):
        home.publish(manifest=manifest)


def test_a_source_id_is_no_key(home: Home) -> None:  # noqa: F811
    home.sql("update segments.customer_small set customer_key = 'C-1001' where monetary = 0")
    home.build()
    with pytest.raises(GateStopped, match=r"segments.customer_small: keys_are_tokens \(Q-26\) · observed"):
        home.publish()


@pytest.mark.parametrize(
    "text",
    [
        "2026-06-30.1 138 rows of 12345",
        "order 20260630123456",
        "a13812345678f",
        "0f8e13812345678a5b6c7d8e9f0a1b2c",
        "6222021001122334459",
        "user@host",
        "贡献利润1380000000.50，排名12/345",
    ],
)
def test_what_only_looks_like_it_passes(stores: tuple[Home, dict[str, Any]], text: str) -> None:
    made, manifest = stores
    made.sql(f"update audiences.stores set note = '{text}' where store = 'S3'")
    made.build()
    assert made.publish(manifest=manifest).changed


def test_a_part_of_the_grain_may_be_empty_where_the_model_says_so(
    stores: tuple[Home, dict[str, Any]],
) -> None:
    """A row about all of it, such as a total over the days."""
    made, manifest = stores
    node = model("audiences", "stores", STORES, ["store", "note"])
    node["config"]["meta"]["optional_grain"] = ["note"]
    manifest["nodes"]["s"] = node
    made.sql("update audiences.stores set note = null where store = 'S3'")
    made.build()
    assert made.publish(manifest=manifest).changed
    made.sql("update audiences.stores set store = null where store = 'S3'")
    made.build()
    with pytest.raises(GateStopped, match=r"grain_stated \(Q-13\) · observed 1"):
        made.publish(manifest=manifest, run="two")


@pytest.mark.parametrize(
    ("phones", "ids", "passes"), [(3, 10, True), (9, 10, False), (20, 100, True), (40, 100, False)]
)
def test_an_id_that_looks_like_a_phone_is_none_and_a_column_of_them_is(
    home: Home,  # noqa: F811
    phones: int,
    ids: int,
    passes: bool,
) -> None:
    home.sql(
        "create table segments.links as select i as n, "
        f"if(i < {phones}, 'JD_177098001', 'JD_277098001') || lpad(i::varchar, 2, '0') as source_customer_id "
        f"from range({ids}) t(i)"
    )
    home.build()
    links = model("segments", "links", {"n": "BIGINT", "source_customer_id": "VARCHAR"}, ["n"])
    manifest = {"nodes": {**MANIFEST["nodes"], "l": links}}
    if passes:
        assert home.publish(manifest=manifest).changed
        return
    with pytest.raises(
        GateStopped, match=r"segments.links: no_personal_data .* e.g. column source_customer_id"
    ):
        home.publish(manifest=manifest)


def test_values_come_from_the_list_of_a_column_and_row_by_row_where_it_has_none(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    with duckdb.connect() as con:
        con.execute(
            "copy (select case when i % 3 > 0 then 'a' || i % 3 end as few, md5(i::varchar) as many, "
            f"null::varchar as empty from range(300000) t(i)) to '{path}' (format parquet)"
        )
    assert _listed_values(path, ["few", "many", "empty"]) == ({"few", "empty"}, ["a1", "a2"])
