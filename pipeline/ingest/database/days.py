"""Tables of a PostgreSQL database → ordinary deliveries below landing, one file a business day.

    <landing>/<source>/<feed>/<YYYY-MM-DD>.parquet

A day's file holds the rows whose cursor (the time of their last change) lies in that day, every value as the text that
the server writes, so that numbers stay exact and what no contract can hold is rejected by the loader like any other
value. What has been read is what has been written: the days whose file lies in landing or is known to the ledger. There
is no other state to be out of step with, and a reading that died is simply done again.

A transaction that commits late leaves rows in a day that has been read. So each reading looks once more at the last
`overlap_minutes` before it and delivers, with its first day, what was not there. It knows rows again by keyed digests
of what was delivered, `$STRATA_HOME/seen/<source>/<feed>/<day>.parquet`, which stand before the day's file does.
"""

import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from pipeline.errors import StrataError
from pipeline.ingest import ledger
from pipeline.ingest.contracts import Source, load_sources
from pipeline.ingest.database.table_reader import Log, Reading, TableReader, zone_of
from pipeline.ingest.mapping import targets
from pipeline.settings import Settings

if TYPE_CHECKING:
    import psycopg


def active(settings: Settings) -> list[Source]:
    """Sources with a database whose folder stands in this landing.

    The folder says for which landing a database is read: a sample or a test beside it must not draw from a shop.
    """
    return [s for s in load_sources().values() if s.database and (settings.landing / s.source).is_dir()]


def newest_as_of(settings: Settings) -> date | None:
    """The newest as-of date, not after today, for which every active table has a complete day; None without one."""
    days = [
        (datetime.now(zone_of(settings, source)) - timedelta(minutes=table.lag_minutes)).date()
        for source in active(settings)
        for table in source.database.tables.values()  # type: ignore[union-attr]
    ]
    return min(*days, datetime.now(ZoneInfo(settings.timezone)).date()) if days else None


def read_tables(
    settings: Settings, as_of: date, *, feeds: Collection[str] | None = None, log: Log = lambda _: None
) -> list[Reading]:
    """Deliver what the active databases hold for the days before `as_of` and nobody has delivered yet.

    Args:
        feeds: contract feeds to read for; all where None.

    Raises:
        StrataError: in one line, without the password. Days that were complete before it stay delivered.
    """
    sources = active(settings)
    entries = ledger.read(settings) if sources else []
    readings: list[Reading] = []
    for source in sources:
        readers = [
            TableReader(settings, source, feed, table, entries, as_of, log)
            for feed, table in source.database.tables.items()  # type: ignore[union-attr]
            if feeds is None or set(feeds) & set(targets(source.source, feed))
        ]
        due = [reader for reader in readers if reader.is_due()]
        if due:
            # One snapshot for all tables of a source: an order comes with its lines.
            with _connected(settings, source) as con:
                readings += [reader.read(con) for reader in due]
    return readings


def read_again(settings: Settings, name: str, feed: str, day: date, *, log: Log = lambda _: None) -> Reading:
    """Deliver one day anew, as a correction of its delivery that the next run takes in.

    For a day whose rows were changed, or put in, behind the cursor's back. Raises StrataError.
    """
    source = next((s for s in active(settings) if s.source == name), None)
    table = source.database.tables.get(feed) if source and source.database else None
    if source is None or table is None or table.full:
        raise StrataError(
            f"no table is read by a cursor for {name}/{feed} in {settings.landing}: see `strata tables list`"
        )
    reader = TableReader(settings, source, feed, table, ledger.read(settings), day + timedelta(1), log)
    with _connected(settings, source) as con:
        return reader.read_again(con, day)


def tables(settings: Settings) -> list[dict[str, Any]]:
    """Every declared table: what it fills, how it is read, whether this landing asks for it and how far it was read."""
    entries = ledger.read(settings)
    here = {source.source for source in active(settings)}
    found = []
    for source in load_sources().values():
        for feed, table in source.database.tables.items() if source.database else ():
            reader = TableReader(settings, source, feed, table, entries, date.max, lambda _: None)
            found.append(
                {
                    "feed": reader.name,
                    "table": reader.shown,
                    "cursor": table.cursor,
                    "read_here": source.source in here,
                    "read_to_the_end_of": max(reader.covered, default=None),
                }
            )
    return found


def told(found: list[dict[str, Any]]) -> str:
    """One line a table."""
    lines = [
        f"{t['feed']:<28} {t['table']:<28} {t['cursor'] or 'whole':<16} "
        + (f"read to the end of {t['read_to_the_end_of']}" if t["read_to_the_end_of"] else "")
        + ("" if t["read_here"] else f"not for this landing: it has no folder {t['feed'].split('/')[0]}")
        for t in found
    ]
    return "\n".join(line.rstrip() for line in lines) or "no source.yml declares a database"


@contextmanager
def _connected(settings: Settings, source: Source) -> "Iterator[psycopg.Connection]":
    """A read-only transaction whose text is in the source's zone. Errors are StrataErrors of one line."""
    import psycopg
    from psycopg.conninfo import conninfo_to_dict, make_conninfo

    database = source.database
    assert database is not None
    where = f"source {source.source}: "
    address = os.environ.get(database.url_env)
    if not address:
        raise StrataError(
            f"{where}{database.url_env} is not set: give it the address of the database, such as "
            "postgresql://reader@host:5432/shop"
        )
    try:
        given = conninfo_to_dict(address)
    except psycopg.Error:
        # The driver would quote the address, and with it the password.
        raise StrataError(
            f"{where}{database.url_env} holds no address such as postgresql://reader@host:5432/shop"
        ) from None
    secrets = [str(given["password"])] if given.get("password") else []

    def told(error: Exception) -> str:
        text = (str(error).strip() or type(error).__name__).splitlines()[0]
        for secret in secrets:
            text = text.replace(secret, "•••")
        return text

    defaults = {"connect_timeout": "10", "application_name": "strata", "client_encoding": "UTF8"}
    try:
        con = psycopg.connect(make_conninfo("", **{**defaults, **given}), prepare_threshold=None)
    except psycopg.Error as error:
        raise StrataError(
            f"{where}no connection to its database ({database.url_env}): {told(error)}"
        ) from None
    try:
        con.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        con.read_only = True
        for name, value in {
            "timezone": zone_of(settings, source).key,
            "datestyle": "ISO, YMD",
            "extra_float_digits": "1",
            "statement_timeout": f"{database.timeout_seconds}s",
            "idle_in_transaction_session_timeout": "0",
            "lock_timeout": "30s",
        }.items():
            con.execute("select set_config(%s, %s, true)", [name, value])
        yield con
    except psycopg.errors.QueryCanceled:
        raise StrataError(
            f"{where}the database did not answer within {database.timeout_seconds} s: give the table an index "
            "on its cursor, or raise timeout_seconds of the database in source.yml"
        ) from None
    except (psycopg.Error, UnicodeDecodeError) as error:
        raise StrataError(f"{where}reading its database failed: {told(error)}") from None
    finally:
        con.close()
