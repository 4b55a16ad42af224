"""How long a contact left with a guest order is kept: where it tells nobody, no longer than a person would be (P-24).

The time begins with the delivery that first brought it. A contact whose buyer agreed and which a record of the feed
`customers` has is kept with that customer. All others leave in the month in which their time ends, on its first run: a
month's contacts go at once, because every erasure ends with a scan of the whole home.
"""

from datetime import date, timedelta
from pathlib import Path

from pipeline import duck
from pipeline.duck import literal
from pipeline.privacy.erasure_subject import GUEST_CONTACTS
from pipeline.settings import Settings

_CONTACTS = ("phone", "email")


def _first_kept(limit: date) -> date:
    """The first day of the month after the limit's: whose month has ended is due in the whole of it."""
    return (limit.replace(day=1) + timedelta(days=32)).replace(day=1)


def due(settings: Settings, limit: date) -> list[tuple[str, str]]:
    """(source, order_id) of the contacts that tell nobody and first came before the month of `limit` has ended."""
    first_kept = _first_kept(limit)
    folders = [f for f in sorted(settings.raw.glob(f"[!_]*/{GUEST_CONTACTS}")) if _oldest(f) < first_kept]
    if not folders:
        return []
    with duck.connect([settings.raw], spill=settings.build / ".spill") as con:
        held = [
            f"select '{kind}' as kind, {kind}_token as token from {_files(folder)} where {kind}_token is not null"
            for folder in sorted(settings.raw.glob("[!_]*/customers"))
            for kind in _CONTACTS
            if any(folder.glob("*/*/*.parquet"))
        ]
        con.execute(
            "create temp table held as select distinct kind, token from ("
            + (" union all ".join(held) or "select null::varchar as kind, null::varchar as token where false")
            + ")"
        )
        rows = [
            f"select {literal(folder.parent.name)} as source, order_id, is_consented, updated_at, phone_token, "
            f"email_token, _delivery, _row, cast(dt as date) as dt from {_files(folder)}"
            for folder in folders
        ]
        return con.execute(
            f"""
            with contacts as ({" union all ".join(rows)}),
            orders as (
                select source, order_id, min(dt) as first_dt,
                    max_by(coalesce(is_consented, false), (coalesce(updated_at, dt), dt, _delivery, _row)) as agreed
                from contacts group by source, order_id
            ),
            known as (
                select source, order_id from contacts semi join held on kind = 'phone' and token = phone_token
                union
                select source, order_id from contacts semi join held on kind = 'email' and token = email_token
            )
            select source, order_id from orders left join known using (source, order_id)
            where first_dt < $1 and not (agreed and known.order_id is not null)
            order by source, order_id
            """,
            [first_kept],
        ).fetchall()


def _oldest(folder: Path) -> date:
    """The first day of which the folder has a file, from the names dt=YYYY-MM-DD; the last possible day for none."""
    days = [date.fromisoformat(p.name.removeprefix("dt=")) for p in folder.glob("dt=*")]
    return min(days, default=date.max)


def _files(folder: Path) -> str:
    return f"read_parquet({literal(str(folder / '*' / '*' / '*.parquet'))}, union_by_name = true, hive_partitioning = true)"
