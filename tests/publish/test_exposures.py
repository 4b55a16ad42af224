"""Every consumer is an exposure of the dbt project, and what they read is under an enforced contract."""

import json
from pathlib import Path

from pipeline.publish.exposures import FILE, text
from pipeline.publish.tables import published_tables
from pipeline.transform.dbt import ensure_manifest

MANIFEST = json.loads(ensure_manifest().read_text())


def test_the_exposures_are_those_of_today() -> None:
    assert FILE.read_text(encoding="utf-8") == text(MANIFEST), "run `python -m pipeline.publish.exposures`"


def test_a_new_destination_is_a_new_exposure(tmp_path: Path) -> None:
    seed = tmp_path / "destinations.csv"
    seed.write_text("destination,name_zh,name_en\nnew,新,New one\n", encoding="utf-8")
    assert "- name: destination_new" in text(MANIFEST, seed)
    assert "- name: destination_new" not in text(MANIFEST)


def test_dbt_knows_who_reads_what() -> None:
    exposures = {
        e["name"]: {n.split(".")[-1] for n in e["depends_on"]["nodes"]}
        for e in MANIFEST["exposures"].values()
    }
    assert exposures["bi_database"] == {t.name for t in published_tables(MANIFEST)}
    assert {"release_page", "bi_postgres", "destination_wecom"} <= exposures.keys()


def test_contracts_are_enforced_on_what_leaves() -> None:
    models = [n for n in MANIFEST["nodes"].values() if n["resource_type"] == "model"]
    layers = {n["name"]: n["schema"].removeprefix("main_") for n in models}
    free = {n["name"] for n in models if not n["config"]["contract"]["enforced"]}
    leaving = {t.name for t in published_tables(MANIFEST)}
    assert not free & (
        leaving | {name for name, layer in layers.items() if layer in ("audiences", "segments")}
    )
