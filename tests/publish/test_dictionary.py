"""The dictionary in a release says what dbt says, in both languages."""

import copy
import hashlib
import json
from html.parser import HTMLParser

from pipeline.lock import run_lock
from pipeline.privacy.consent import Refusals
from pipeline.publish.dictionary import HTML, JSON, chinese, describe
from pipeline.publish.republish import again
from pipeline.publish.shelf import current, verify
from pipeline.publish.tables import published_tables
from pipeline.transform.dbt import ensure_manifest
from tests.publish.test_release import MANIFEST, Home, built, home  # noqa: F401

PROJECT = json.loads(ensure_manifest().read_text())
DESCRIBED = describe(published_tables(PROJECT), PROJECT)


def texts(described: dict) -> dict[str, dict]:
    """`<table>` and `<table>.<column>` → its texts."""
    columns = {f"{t}.{c}": words for t, entry in described.items() for c, words in entry["columns"].items()}
    return described | columns


def test_every_table_and_every_column_is_told_in_both_languages() -> None:
    assert not [name for name, words in texts(DESCRIBED).items() if not words["en"] or not words["zh"]]


def test_no_translation_outlives_its_text() -> None:
    assert not chinese().keys() - {words["en"] for words in texts(DESCRIBED).values()}


def test_a_changed_description_has_no_old_translation() -> None:
    changed = copy.deepcopy(PROJECT)
    changed["nodes"]["model.strata.segment_summary"]["columns"]["customers"]["description"] = "Households."
    described = describe(published_tables(changed), changed)["audiences.segment_summary"]["columns"][
        "customers"
    ]
    assert described == {"type": "bigint", "en": "Households.", "zh": None}


def test_it_travels_with_the_release_also_when_that_is_made_again(home: Home) -> None:  # noqa: F811
    manifest = copy.deepcopy(MANIFEST)
    manifest["nodes"]["b"]["description"] = "Size & <worth>."
    manifest["nodes"]["b"]["columns"]["customers"]["description"] = "People; null when suppressed."
    folder = home.publish(manifest=manifest).path
    stated = json.loads((folder / JSON).read_text())["tables"]
    assert stated["audiences.segment_summary"]["columns"]["customers"]["zh"] == "人数；隐藏时为空。"
    assert "last_seen" not in stated["segments.customer_small"]["columns"], (
        "what does not leave is not told of"
    )
    page = (folder / HTML).read_text()
    HTMLParser().feed(page)
    assert "Size &amp; &lt;worth&gt;." in page and "人数；隐藏时为空。" in page and "http" not in page
    now = current(home.settings) or {}
    assert {JSON, HTML} <= now["files"].keys()
    somebody = Refusals(frozenset(), frozenset({hashlib.md5(b"1").hexdigest()}), {})
    with run_lock(home.settings):
        again(home.settings, now, now["release"], somebody)
    after = current(home.settings) or {}
    assert after["release"] != now["release"] and verify(home.settings)[1] == []
    assert after["files"][JSON] == now["files"][JSON]
