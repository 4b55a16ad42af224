"""Q-18: who was erased is in nothing that is published, and no delete request is overdue."""

from collections import Counter
from datetime import date
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline import duck
from pipeline.duck import parquet
from pipeline.ingest.vault import Vault
from pipeline.ingest.vault.tombstones import Tombstones
from pipeline.privacy.requests import delete_requests
from pipeline.publish import audience_lists, customers
from pipeline.quality.checks import Check
from pipeline.settings import Settings

GATE = "Q-18"
_KEY = "customer_key"
_RECORD = ("source", "source_customer_id")
_ABSENT = (
    "A person who was erased stands in a table that is about to leave.\n\nDo not publish: raw or the warehouse was "
    "restored from before the erasure. Run `strata erase` for the person again; its certificate must say complete."
)
_OVERDUE = (
    "A delete request is past its date and the person is still here.\n\nRun `strata run`, which meets every delete "
    "request of the feed dsr; if it says why it cannot, mend that."
)


def erasure_checks(settings: Settings, folder: Path, as_of: date) -> list[Check]:
    """The gate on the very files that are about to leave (see `absent`), and on the delete requests of the home."""
    overdue = [r for r in delete_requests(settings, as_of) if r.due_on < as_of]
    by_source = Counter(r.source for r in overdue)
    examples = tuple(f"{n} of source {source}" for source, n in sorted(by_source.items()))
    n = len(overdue)
    met = Check("feed", "dsr", "delete_requests_met", "block", n == 0, n, 0, _OVERDUE, examples, GATE)
    return [*absent(settings, folder), met]


def absent(settings: Settings, folder: Path) -> list[Check]:
    """`erased_persons_absent` of each file that names people.

    Args:
        folder: a release or its candidate: every Parquet file below it with a `customer_key`, or with a source and its
            customer id, is compared with the tombstones, and so are the customers that its page can show.
    """
    tombstones = Vault(settings, "gate Q-18").tombstones
    named = {path: pq.read_schema(path).names for path in sorted(folder.rglob("*.parquet"))}
    keyed = [path for path, names in named.items() if _KEY in names]
    recorded = [path for path, names in named.items() if set(_RECORD) <= set(names)]
    checks = []
    with duck.connect([folder]) as con:
        if tombstones:
            _know_erased(con, tombstones, keyed, recorded)
        for path in sorted({*keyed, *recorded}):
            n = _erased_rows(con, path, path in keyed, path in recorded) if tombstones else 0
            target = ".".join(path.relative_to(folder).with_suffix("").parts[-2:])
            checks.append(Check("table", target, "erased_persons_absent", "block", n == 0, n, 0, _ABSENT, gate=GATE))  # fmt: skip
    for files in (customers, audience_lists):
        shown = _erased_keys(folder, files.keys(folder), tombstones)
        if shown is not None:
            checks.append(Check("table", files.FOLDER, "erased_persons_absent", "block", shown == 0, shown, 0, _ABSENT, gate=GATE))  # fmt: skip
    return checks


def _erased_keys(folder: Path, shown: str | None, tombstones: Tombstones) -> int | None:
    """Erased persons among the keys that `shown` selects; None where it is None."""
    if not shown or not tombstones:
        return None if not shown else 0
    with duck.connect([folder]) as con:
        return sum(bool(tombstones.erased_on("key", key)) for (key,) in con.execute(shown).fetchall())


def _know_erased(
    con: duckdb.DuckDBPyConnection, tombstones: Tombstones, keyed: list[Path], recorded: list[Path]
) -> None:
    """The tables `erased_keys` and `erased_records`: each key and id of the files is asked once, however often it stands."""
    keys: list[str] = []
    if keyed:
        rows = " union ".join(f"select {_KEY} from {parquet(path)}" for path in keyed)
        keys = [key for (key,) in con.execute(rows).fetchall() if key and tombstones.erased_on("key", key)]
    records: list[tuple[str, str]] = []
    if recorded:
        rows = " union ".join(f"select {', '.join(_RECORD)} from {parquet(path)}" for path in recorded)
        found = con.execute(rows).fetchall()
        records = [(s, i) for s, i in found if s and i and tombstones.has_customer(s, i)]
    con.register("erased_keys", pa.table({_KEY: pa.array(keys, pa.string())}))
    columns = {name: pa.array([r[n] for r in records], pa.string()) for n, name in enumerate(_RECORD)}
    con.register("erased_records", pa.table(columns))


def _erased_rows(con: duckdb.DuckDBPyConnection, path: Path, keyed: bool, recorded: bool) -> int:
    """Rows of a table that name an erased person by one or the other."""
    hit = [f"{_KEY} in (from erased_keys)"] if keyed else []
    hit += (
        [f"({', '.join(_RECORD)}) in (select ({', '.join(_RECORD)}) from erased_records)"] if recorded else []
    )
    found = con.execute(f"select count(*) from {parquet(path)} where {' or '.join(hit)}").fetchone()
    return found[0] if found else 0
