"""Q-18: who was erased is in nothing that is published, and no delete request is overdue."""

from collections import Counter
from datetime import date
from pathlib import Path

import pyarrow.parquet as pq

from pipeline import duck
from pipeline.ingest.vault import Vault
from pipeline.ingest.vault.tombstones import Tombstones
from pipeline.privacy.requests import delete_requests
from pipeline.publish import audience_lists, customers
from pipeline.quality.checks import Check
from pipeline.settings import Settings

GATE = "Q-18"
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
    checks = []
    for path in sorted(folder.rglob("*.parquet")):
        names = pq.read_schema(path).names
        by_record = {"source", "source_customer_id"} <= set(names)
        if "customer_key" in names or by_record:
            n = _erased_rows(path, names, tombstones)
            target = ".".join(path.relative_to(folder).with_suffix("").parts[-2:])
            checks.append(Check("table", target, "erased_persons_absent", "block", n == 0, n, 0, _ABSENT, gate=GATE))  # fmt: skip
    for files in (customers, audience_lists):
        n = _erased_keys(folder, files.keys(folder), tombstones)
        if n is not None:
            checks.append(Check("table", files.FOLDER, "erased_persons_absent", "block", n == 0, n, 0, _ABSENT, gate=GATE))  # fmt: skip
    return checks


def _erased_keys(folder: Path, shown: str | None, tombstones: Tombstones) -> int | None:
    """Erased persons among the keys that `shown` selects; None where it is None."""
    if not shown or not tombstones:
        return None if not shown else 0
    with duck.connect([folder]) as con:
        return sum(bool(tombstones.erased_on("key", key)) for (key,) in con.execute(shown).fetchall())


def _erased_rows(path: Path, names: list[str], tombstones: Tombstones) -> int:
    """Rows of a table that name an erased person."""
    if not tombstones:
        return 0
    wanted = [n for n in ("customer_key", "source", "source_customer_id") if n in names]
    found = 0
    for batch in pq.ParquetFile(path).iter_batches(100_000, columns=wanted):
        columns = batch.to_pydict()
        nobody = [None] * batch.num_rows
        keys = columns.get("customer_key", nobody)
        sources, ids = columns.get("source", nobody), columns.get("source_customer_id", nobody)
        found += sum(
            bool(key and tombstones.erased_on("key", key))
            or bool(source and id_ and tombstones.has_customer(source, id_))
            for key, source, id_ in zip(keys, sources, ids, strict=True)
        )
    return found
