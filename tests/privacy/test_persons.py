"""Who is meant in a release that was made before a merge gave the person another key."""

from datetime import date
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.privacy import persons
from pipeline.settings import Settings


def write(path: Path, rows: list[tuple[str, str, str]], **more: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    names = ("source", "source_customer_id", "customer_key")
    table = pa.table({name: [row[i] for row in rows] for i, name in enumerate(names)})
    for name, value in more.items():
        table = table.append_column(name, pa.array([value] * len(rows)))
    pq.write_table(table, path)


def test_a_merged_person_is_found_under_the_keys_that_a_release_knows(
    settings: Settings, tmp_path: Path
) -> None:
    """app/a and crm/b were two people when the release was made, and are one now, under the older record's key."""
    links = settings.identity / "links.parquet"
    write(links, [("app", "a", "OLDER"), ("crm", "b", "OLDER"), ("app", "c", "C")], known_at=date(2026, 1, 2))
    release = tmp_path / "release"
    held = release / "tables" / "core" / "dim_identity_links.parquet"
    write(held, [("app", "a", "A"), ("crm", "b", "OLDER"), ("app", "c", "C")])
    assert persons.every_key(settings, release, {"OLDER"}) == {"OLDER", "A"}
    assert persons.every_key(settings, release, {"C"}) == {"C"}
    assert persons.every_key(settings, tmp_path / "none", {"OLDER"}) == {"OLDER"}
    assert persons.every_key(settings, release, set()) == set()
