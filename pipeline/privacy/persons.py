"""Who a source id belongs to, as the last run knew it."""

import json
from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from pipeline import duck
from pipeline.duck import parquet, texts
from pipeline.errors import StrataError
from pipeline.identity import tables
from pipeline.settings import Settings

_LINK = ("source", "source_customer_id", "customer_key")


@dataclass(frozen=True)
class Person:
    """One person: the permanent key, and the (source, source_customer_id) that are linked to it."""

    customer_key: str
    records: tuple[tuple[str, str], ...]


def as_of(settings: Settings) -> date:
    """The as-of date of the current release; before the first, of the last run. Raises StrataError before that."""
    if settings.pointer.exists():
        return date.fromisoformat(json.loads(settings.pointer.read_text())["release"][:10])
    current = tables.read_current(settings.identity)
    if current is None:
        raise StrataError(f"{settings.home} knows nobody yet: run `strata run` first")
    return current.known_at


def owners(settings: Settings, customer_ids: Collection[str]) -> dict[tuple[str, str], str]:
    """(source, source_customer_id) → customer_key for these ids of any source, on the newest day that links are known for."""
    table = _newest(settings)
    if table is None:
        return {}
    asked = pc.is_in(table["source_customer_id"], pa.array(sorted(set(customer_ids)), pa.string()))
    return {
        (r["source"], r["source_customer_id"]): r["customer_key"] for r in table.filter(asked).to_pylist()
    }


def _newest(settings: Settings, of: Collection[str] | None = None) -> pa.Table | None:
    return tables.links(settings, _LINK, newest=True, of=of)


def every_key(settings: Settings, release: Path, *groups: Collection[str]) -> list[frozenset[str]]:
    """Each group of keys, and those under which a release holds the same people: a merge since gives a person another
    one."""
    then = release / "tables" / "core" / "dim_identity_links.parquet"
    asked = set().union(*groups)
    now = _newest(settings, asked) if asked and then.exists() else None
    if now is None:
        return [frozenset(keys) for keys in groups]
    listed = ", ".join(f"unnest({texts(now[name].to_pylist())}) as {name}" for name in _LINK)
    with duck.connect([release]) as con:
        con.execute(f"create temp table theirs as select {listed}")
        pairs = con.execute(
            f"select theirs.customer_key, held.customer_key from {parquet(then)} as held "
            "inner join theirs using (source, source_customer_id) where held.customer_key <> theirs.customer_key"
        ).fetchall()
    under: dict[str, set[str]] = defaultdict(set)
    for key, other in pairs:
        under[key].add(other)
    return [frozenset(keys).union(*(under[key] for key in keys if key in under)) for keys in groups]


def find(settings: Settings, source: str, customer_id: str) -> Person:
    """The person with this id. Raises StrataError where no run has met it."""
    table = _newest(settings)
    if table is None:
        raise StrataError(f"{settings.home} knows nobody yet: run `strata run` first")
    key = owners(settings, [customer_id]).get((source, customer_id))
    if key is None:
        sources = sorted(pc.unique(table["source"]).to_pylist())
        hint = "" if source in sources else f"; the sources with customers are {', '.join(sources)}"
        raise StrataError(f"source {source} has no customer {customer_id} in this home{hint}")
    own = table.filter(pc.equal(table["customer_key"], key)).to_pylist()
    return Person(key, tuple(sorted((r["source"], r["source_customer_id"]) for r in own)))
