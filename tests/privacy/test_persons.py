"""Who is meant in a release that was made before a merge gave the person another key."""

from collections.abc import Callable
from datetime import date
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.identity import tables
from pipeline.identity.links import write_links
from pipeline.ingest.load import sweep
from pipeline.privacy import erasure, persons
from pipeline.settings import Settings

AS_OF = date(2024, 5, 7)
Land = Callable[[str, bytes | str], Path]


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
    held = [("app", "a", "OLDER"), ("crm", "b", "OLDER"), ("app", "c", "C")]
    rows = [{"source": s, "id": id_, "customer_key": key} for s, id_, key in held]
    tables.replace(settings, pa.Table.from_pylist(rows, tables.ROWS), date(2026, 1, 2))
    release = tmp_path / "release"
    held = release / "tables" / "core" / "dim_identity_links.parquet"
    write(held, [("app", "a", "A"), ("crm", "b", "OLDER"), ("app", "c", "C")])
    assert persons.every_key(settings, release, {"OLDER"}, {"C"}, set()) == [{"OLDER", "A"}, {"C"}, set()]
    assert persons.every_key(settings, tmp_path / "none", {"OLDER"}) == [{"OLDER"}]


def test_a_merged_person_counts_once_and_with_every_key(settings: Settings, land: Land) -> None:
    """The certificate's `persons` are people of today; a key of before the merge is one identifier more, not a person."""
    head = "source_customer_id,name,phone\n"
    land("shop/customers/2024-05-06.csv", head + "A1,王芳,13812345678\nA2,李静,13912345678\n")
    land("club/customers/2024-05-06.csv", head + "C1,王芳,13812345678\n")
    sweep(settings, AS_OF, run_id="test", released=None)
    write_links(settings, [AS_OF])
    rows = tables.links(settings).to_pylist()
    now = {(r["source"], r["source_customer_id"]): r["customer_key"] for r in rows}
    assert now["shop", "A1"] == now["club", "C1"]
    held = settings.releases / "2024-05-06" / "tables" / "core" / "dim_identity_links.parquet"
    write(held, [("shop", "A1", now["shop", "A1"]), ("club", "C1", "b" * 32), ("shop", "A2", "c" * 32)])
    for asked, persons_n, keys_n in (([("shop", "A1")], 1, 2), ([("shop", "A1"), ("shop", "A2")], 2, 4)):
        planned = erasure.plan(settings, asked, ())
        assert (planned.persons, planned.identifiers["customer_key"]) == (persons_n, keys_n)
        assert f"erase {persons_n} person" in erasure.planned(planned)
