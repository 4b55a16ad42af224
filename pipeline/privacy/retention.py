"""How long a person is kept (P-24): so many months after their last activity, and no longer than the home has known them.

Activity is what the person did or said: the event times of every feed that names a customer, but not the days on which
a source merely repeats its master data. What was before the home's first file of a person nobody knows, so the time
begins with that file at the earliest. Who is due leaves like an erased person, without a tombstone: whoever comes back
is a customer again.
"""

from dataclasses import dataclass
from datetime import date, timedelta

import pyarrow.compute as pc

from pipeline import duck
from pipeline.duck import literal, quote
from pipeline.errors import StrataError
from pipeline.identity import tables
from pipeline.ingest.contracts import Contract, load_contracts
from pipeline.privacy import guest_contacts
from pipeline.quality.checks import Check
from pipeline.quality.policy import thresholds
from pipeline.settings import Settings

# When a row was last touched by its source, and when a request of ours is due, is nobody's activity.
_NO_ACTIVITY = ("updated_at", "due_at", "done_at", "lifted_at")


@dataclass(frozen=True)
class Due:
    """One person who is kept too long, with the last day on which they did something."""

    customer_key: str
    records: tuple[tuple[str, str], ...]
    last_activity: date


def limit(as_of: date) -> date:
    """The first day that still counts on `as_of`: the policy's months before it, the last day of a shorter month."""
    months = int(thresholds(as_of)["retention_months"])
    year, month = divmod(as_of.year * 12 + as_of.month - 1 - months, 12)
    for day in range(as_of.day, 27, -1):
        try:
            return date(year, month + 1, day)
        except ValueError:
            continue
    return date(year, month + 1, min(as_of.day, 28))


def _check_contracts(as_of: date, first: date) -> None:
    """A feed that promises to forget sooner than the policy does would be a promise that nothing keeps."""
    for contract in load_contracts().values():
        days = contract.retention_days
        if days and as_of - timedelta(days=days) > first:
            raise StrataError(
                f"contract {contract.feed}: retention_days {days} is shorter than retention_months of thresholds.csv "
                f"({(as_of - first).days} days before {as_of}): a person leaves as a whole, so lower retention_months to it"
            )


def due(settings: Settings, as_of: date) -> list[Due]:
    """Persons of the newest links whose last activity lies before the limit, by key.

    Raises StrataError where a contract wants its rows gone sooner than that.
    """
    first = limit(as_of)
    _check_contracts(as_of, first)
    columns = ("source", "source_customer_id", "customer_key", "first_seen")
    table = tables.links(settings, columns, newest=True)
    # Most homes are younger than the limit: then nothing is read.
    if table is None or not table.num_rows or pc.min(table["first_seen"]).as_py() >= first:
        return []
    with duck.connect([settings.raw], spill=settings.build / ".spill") as con:
        con.register("links", table)
        acts = [sql for contract in load_contracts().values() for sql in _activity(settings, contract)]
        con.execute(
            "create temp table acts as select source, source_customer_id, max(day) as day from ("
            + " union all ".join(["select source, source_customer_id, first_seen as day from links", *acts])
            + ") group by all"
        )
        rows = con.execute(
            "select customer_key, source, source_customer_id, last_day from ("
            "select *, max(day) over (partition by customer_key) as last_day from links "
            "join acts using (source, source_customer_id)) where last_day < $1 "
            "order by customer_key, source, source_customer_id",
            [first],
        ).fetchall()
    found: dict[str, Due] = {}
    for key, source, record, day in rows:
        before = found.get(key, Due(key, (), day))
        found[key] = Due(key, (*before.records, (source, record)), day)
    return list(found.values())


def _activity(settings: Settings, contract: Contract) -> list[str]:
    """SELECTs of source, source_customer_id and day of what customers did, one a source that has files of the feed."""
    stored = contract.stored
    events = [n for n, c in stored.items() if c.event and n not in _NO_ACTIVITY]
    if not events or "source_customer_id" not in stored:
        return []
    days = ", ".join(f"cast({quote(n)} as date)" for n in events)
    return [
        f"select {literal(folder.parent.name)} as source, source_customer_id, greatest({days}) as day from read_parquet("
        f"{literal(str(folder / '*' / '*' / '*.parquet'))}, union_by_name = true, hive_partitioning = false) "
        "where source_customer_id is not null"
        for folder in sorted(settings.raw.glob(f"[!_]*/{contract.feed}"))
        if any(folder.glob("*/*/*.parquet"))
    ]


def check(settings: Settings, as_of: date) -> Check:
    """Q-23: nobody is kept beyond the limit, and no contact of a guest that tells nobody."""
    found = due(settings, as_of)
    contacts = guest_contacts.due(settings, limit(as_of))
    examples = [f"{p.customer_key} last active {p.last_activity}" for p in found]
    examples += [f"guest contact of {source}/{order_id}" for source, order_id in contacts]
    return Check(
        "table",
        "core.dim_customers",
        "retention_limit",
        "block",
        not examples,
        len(examples),
        0,
        "People are kept longer than the policy allows after their last activity (Q-23), or contacts of guests that tell "
        "nobody are.\n\nThe daily run takes them out: run the whole line, not one asset of it.",
        tuple(examples[:5]),
        "Q-23",
    )
