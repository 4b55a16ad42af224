"""A failed dbt test shows what it found."""

import duckdb

from pipeline.quality.failing_rows import failing_rows
from pipeline.settings import Settings
from pipeline.transform.dbt import dbt_checks


def result(name: str, status: str, sql: str) -> dict[str, object]:
    return {"unique_id": f"test.strata.{name}", "status": status, "compiled_code": sql}


def warehouse(settings: Settings) -> None:
    settings.warehouse.parent.mkdir(parents=True)
    with duckdb.connect(str(settings.warehouse)) as con:
        con.execute(
            "create table orphans as select 'till' as source, i as orphans_n, null as note from range(9) r(i)"
        )


def test_a_failed_test_shows_its_first_rows(settings: Settings) -> None:
    warehouse(settings)
    sql = "-- a comment at its end\nselect * from orphans where orphans_n > 5 order by orphans_n -- like this"
    found = failing_rows(settings, {"results": [result("a", "fail", sql), result("b", "pass", sql)]})
    assert found == {
        "test.strata.a": ("source till, orphans_n 6", "source till, orphans_n 7", "source till, orphans_n 8")
    }


def test_rows_that_cannot_be_shown_hide_no_failure(settings: Settings) -> None:
    warehouse(settings)
    found = failing_rows(settings, {"results": [result("a", "warn", "select * from gone")]})
    assert found["test.strata.a"][0].startswith("the rows cannot be shown: Catalog Error")


def test_a_build_that_failed_before_any_test_shows_nothing(settings: Settings) -> None:
    assert failing_rows(settings, {"results": [result("a", "fail", "select 1")]}) == {}
    assert failing_rows(settings, {"results": []}) == {}


def test_what_a_broken_model_kept_from_running_is_no_failed_test() -> None:
    """A run that a model broke is an error that names the model, not a gate with a list of tests that nobody asked."""
    node = {
        "resource_type": "test",
        "name": "shops_are_sound",
        "config": {"severity": "error"},
        "depends_on": {"nodes": ["model.strata.shops"]},
    }
    shops = {"resource_type": "model", "schema": "core", "name": "shops"}
    manifest = {"nodes": {"test.strata.a": node, "model.strata.shops": shops}, "sources": {}}
    skipped = {"unique_id": "test.strata.a", "status": "skipped", "failures": None, "message": ""}
    for status in ("error", "runtime error"):
        broken = {"unique_id": "model.strata.shops", "status": status}
        assert dbt_checks(manifest, {"results": [broken, skipped]}, {}) == []
    (alone,) = dbt_checks(manifest, {"results": [skipped]}, {})
    assert alone.blocks and alone.observed == "skipped"
