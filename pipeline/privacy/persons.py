"""Who a source id belongs to, as the last run knew it."""

import json
from dataclasses import dataclass
from datetime import date

import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.errors import StrataError
from pipeline.settings import Settings


@dataclass(frozen=True)
class Person:
    """One person: the permanent key, and the (source, source_customer_id) that are linked to it."""

    customer_key: str
    records: tuple[tuple[str, str], ...]


def as_of(settings: Settings) -> date:
    """The as-of date of the current release; before the first, of the last run. Raises StrataError before that."""
    if settings.pointer.exists():
        return date.fromisoformat(json.loads(settings.pointer.read_text())["release"][:10])
    path = settings.identity / "links.parquet"
    known_at = (
        pc.max(pq.read_table(path, columns=["known_at"])["known_at"]).as_py() if path.exists() else None
    )
    if known_at is None:
        raise StrataError(f"{settings.home} knows nobody yet: run `strata run` first")
    return known_at


def links(settings: Settings) -> dict[tuple[str, str], str]:
    """(source, source_customer_id) → customer_key, of the newest day that links are known for."""
    path = settings.identity / "links.parquet"
    if not path.exists():
        return {}
    table = pq.read_table(path, columns=["known_at", "source", "source_customer_id", "customer_key"])
    if not table.num_rows:
        return {}
    table = table.filter(pc.equal(table["known_at"], pc.max(table["known_at"])))
    return {(r["source"], r["source_customer_id"]): r["customer_key"] for r in table.to_pylist()}


def find(settings: Settings, source: str, customer_id: str) -> Person:
    """The person with this id. Raises StrataError where no run has met it."""
    known = links(settings)
    if not known:
        raise StrataError(f"{settings.home} knows nobody yet: run `strata run` first")
    key = known.get((source, customer_id))
    if key is None:
        sources = sorted({s for s, _ in known})
        hint = "" if source in sources else f"; the sources with customers are {', '.join(sources)}"
        raise StrataError(f"source {source} has no customer {customer_id} in this home{hint}")
    return Person(key, tuple(sorted(record for record, owner in known.items() if owner == key)))
