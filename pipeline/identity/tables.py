"""Who is who, as others read it: the tables `links` and `history` of `identity/`.

Both are read from one table of parts.py: `history.base.N.parquet`, and beside it parts with all rows of the records that
changed since. `current.parquet`, one row, says which files count and for which day, and carries what the next run goes on
from; it is written last, in one rename, so whoever reads meets the tables of before or those of now.

| table | rows |
|---|---|
| links | one per source and source id, as known on the as-of date (`known_at`), and on other days that were asked for |
| history | one per source, source id and interval of days, with lineage |

dbt has the same SQL in `models/staging/_sources.yml`, with globs in place of names.
"""

import json
from collections.abc import Collection, Sequence
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline import duck
from pipeline.duck import literal, texts
from pipeline.errors import StrataError
from pipeline.identity import parts
from pipeline.ingest.files import fsync, write_parquet
from pipeline.settings import Settings

CURRENT = "current.parquet"
_CURRENT = pa.schema([("known_at", pa.date32()), ("files", pa.list_(pa.string())), ("state", pa.string())])
_LINK = "source, id as source_customer_id, customer_key, rule, confidence, observed_at"
ROWS = pa.schema(
    [
        ("source", pa.string()),
        ("id", pa.string()),
        ("customer_key", pa.string()),
        ("rule", pa.string()),
        ("confidence", pa.float64()),
        ("observed_at", pa.date32()),
        ("valid_from", pa.date32()),
        ("valid_to", pa.date32()),
        ("merged_into", pa.string()),
        ("split_from", pa.string()),
        ("first_seen", pa.date32()),
        ("last_seen", pa.date32()),
    ]
)
"""Every interval of a source id, open or ended; first_seen and last_seen where it is open."""
_ROWS = ", ".join(ROWS.names)
_SINCE = "with latest as (select * from {since} qualify part = max(part) over (partition by source, id))"
_SQL = {
    "history": f"{_SINCE} "
    f"select {_LINK}, valid_from, valid_to, merged_into, split_from from {{base}} anti join latest using (source, id) "
    f"union all select {_LINK}, valid_from, valid_to, merged_into, split_from from latest where not is_gone",
    "links": f"{_SINCE} "
    f"select current.known_at, {_LINK}, first_seen, last_seen from {{base}} anti join latest using (source, id) "
    "cross join {current} as current where valid_to is null "
    f"union all select current.known_at, {_LINK}, first_seen, last_seen from latest cross join {{current}} as current "
    "where not is_gone and valid_to is null "
    f"union all select known_at, {_LINK}, first_seen, last_seen from {{since}} where known_at is not null",
    "rows": f"{_SINCE} select {_ROWS} from {{base}} anti join latest using (source, id) "
    f"union all select {_ROWS} from latest where not is_gone",
}
"""SQL of each table; `since` are the parts and rows of past days, which have a `known_at` and are of no part."""


class Current(NamedTuple):
    """What counts: the day, the files of the tables, and what the next run goes on from; None where it begins anew."""

    known_at: date
    files: list[str]
    state: dict[str, Any] | None


def read_current(folder: Path) -> Current | None:
    """None where nobody is known yet. Raises StrataError where the file is damaged."""
    path = folder / CURRENT
    if not path.exists():
        return None
    try:
        with pq.ParquetFile(path) as file:
            row = file.read().to_pylist()[0]
        return Current(row["known_at"], row["files"], json.loads(row["state"]) if row["state"] else None)
    except (OSError, ValueError, KeyError, IndexError) as error:
        raise StrataError(
            f"{path} is damaged: restore it from a backup, or delete the folder, which `strata run` makes anew"
        ) from error


def write_current(folder: Path, current: Current) -> None:
    """Publish in one rename, and take away every file that no longer counts."""
    row = current._asdict() | {
        "state": json.dumps(current.state, ensure_ascii=False, default=str) if current.state else None
    }
    fsync(folder)
    write_parquet(pa.Table.from_pylist([row], _CURRENT), folder / CURRENT)
    fsync(folder)
    named = set(current.files)
    for files in (current.state or {}).get("files", {}).values():
        named |= {files["base"], *files["since"]}
    # The last of them is what a run that died was writing.
    for pattern in ("state.*", f"{parts.HISTORY}.*.parquet", ".*.tmp"):
        for path in folder.glob(pattern):
            if path.name not in named:
                path.unlink()


def forget_state(folder: Path) -> None:
    """The next run begins anew; the tables stay as they are."""
    current = read_current(folder)
    if current:
        write_current(folder, current._replace(state=None))


def next_number(folder: Path) -> int:
    """A number that no file of the folder has."""
    taken = [path.name.split(".")[-2] for path in folder.glob("*.*.*.*")]
    return max((int(number) for number in taken if number.isdecimal()), default=0) + 1


def write(con: duckdb.DuckDBPyConnection, folder: Path, known_at: date, rows: str) -> None:
    """Replace the tables, for who has all their rows at hand; the next run begins anew.

    Args:
        rows: relation with the columns of HISTORY in parts.py (no `h`: it follows), `id` for the source id; first_seen
            and last_seen where the interval is open.
    """
    folder.mkdir(parents=True, exist_ok=True)
    number, empty = next_number(folder), f"{parts.HISTORY}_columns"
    con.execute(
        f"create or replace temp table {empty} ({parts.columns_of(parts.HISTORY)}, is_gone boolean, part bigint)"
    )
    names = [f"{parts.HISTORY}.{kind}.{number}.parquet" for kind in ("base", "since")]
    whole = f"select * exclude (is_gone, part) from {empty} union all by name select *, hash(source, id) as h from {rows}"
    parts.copy(con, whole, folder / names[0])
    parts.copy(con, f"from {empty}", folder / names[1])
    write_current(folder, Current(known_at, names, None))


def holds(path: Path) -> bool:
    """Whether a file of the folder is one of these tables or of what the next run goes on from."""
    return path.name == CURRENT or path.name.startswith((f"{parts.HISTORY}.", "state."))


def sql(settings: Settings, table: str) -> str:
    """SQL of `links` or `history`, for a connection that may read the folder. Raises StrataError where nobody is known."""
    current = read_current(settings.identity)
    if current is None:
        raise StrataError(f"{settings.home} knows nobody yet: run `strata run` first")
    return _sql(settings.identity, table, current)


def _sql(folder: Path, table: str, current: Current) -> str:
    base = [name for name in current.files if name.split(".")[1] == "base"]
    since = [name for name in current.files if name.split(".")[1] != "base"]
    day = f"(select date {literal(current.known_at.isoformat())} as known_at)"
    return (
        f"({_SQL[table].format(base=parts.read(folder, base), since=parts.read(folder, since), current=day)})"
    )


def of_globs(folder: str, table: str) -> str:
    """The same for dbt, which keeps the text from day to day; `folder` as text."""

    def counted(pattern: str) -> str:
        return (
            f"(select * from read_parquet('{folder}/{parts.HISTORY}.{pattern}.*.parquet', filename=true, "
            f"union_by_name=true, hive_partitioning=false) where parse_filename(filename) in "
            f"(select unnest(files) from read_parquet('{folder}/{CURRENT}')))"
        )

    current = f"read_parquet('{folder}/{CURRENT}')"
    return f"({_SQL[table].format(base=counted('base'), since=counted('since'), current=current)})"


def links(
    settings: Settings,
    columns: Sequence[str] = ("*",),
    *,
    newest: bool = False,
    of: Collection[str] | None = None,
) -> pa.Table | None:
    """Rows of `links`, those of the newest day alone or of all; None where nobody is known yet.

    Args:
        of: customer_keys whose rows are wanted; everybody's where None.
    """
    current = read_current(settings.identity)
    rows = [f"known_at = date {literal(current.known_at.isoformat())}"] if newest and current else []
    rows += [f"customer_key in (select unnest({texts(sorted(of))}))"] if of is not None else []
    # Into a text that is formatted once more.
    where = " and ".join(rows).replace("{", "{{").replace("}", "}}")
    return _table(settings, "links", f"select {', '.join(columns)} from {{}}{where and ' where ' + where}")


def history(settings: Settings, columns: Sequence[str] = ("*",)) -> pa.Table | None:
    """Rows of `history`; None where nobody is known yet."""
    return _table(settings, "history", f"select {', '.join(columns)} from {{}}")


def rows(settings: Settings) -> pa.Table | None:
    """Every interval, open or ended, as `replace` takes it; None where nobody is known yet."""
    return _table(settings, "rows", "from {}")


def replace(settings: Settings, given: pa.Table, known_at: date | None = None) -> None:
    """Write the tables anew, for who has all their rows at hand; the next run begins anew.

    Args:
        given: rows as `rows` has them.
        known_at: their day; that of the tables of before where None.
    """
    current = read_current(settings.identity)
    settings.identity.mkdir(parents=True, exist_ok=True)
    with duck.connect([settings.identity]) as con:
        con.register("given", given)
        day = known_at or (current.known_at if current else None)
        if day is None:
            raise ValueError("rows of no day")
        write(con, settings.identity, day, "given")


def _table(settings: Settings, table: str, query: str) -> pa.Table | None:
    # A run beside this takes files away that it has replaced: then others count by now.
    while True:
        current = read_current(settings.identity)
        if current is None:
            return None
        with duck.connect([settings.identity]) as con:
            try:
                return con.execute(query.format(_sql(settings.identity, table, current))).to_arrow_table()
            except duckdb.IOException:
                if read_current(settings.identity) == current:
                    raise


def migrate(settings: Settings) -> None:
    """Bring links.parquet and history.parquet of layout 2, each a table, into parts; may be done again after a crash."""
    folder = settings.identity
    old = [folder / f"{name}.parquet" for name in ("history", "links")]
    if all(path.exists() for path in old) and not (folder / CURRENT).exists():
        with duck.connect([folder], spill=settings.build / ".spill") as con:
            known_at = con.execute(f"select max(known_at) from {duck.parquet(old[1])}").fetchone()
            if known_at and known_at[0]:
                con.execute(
                    f"""
                    create temp view brought as
                    select h.* exclude source_customer_id, h.source_customer_id as id, l.first_seen, l.last_seen
                    from {duck.parquet(old[0])} as h
                    left join {duck.parquet(old[1])} as l on h.source = l.source
                        and h.source_customer_id = l.source_customer_id and h.valid_to is null
                        and l.known_at = {literal(str(known_at[0]))}::date
                    """
                )
                write(con, folder, known_at[0], "brought")
    for path in (*old, folder / "state.json"):
        path.unlink(missing_ok=True)
    # Takes away what a migration that died has left.
    if current := read_current(folder):
        write_current(folder, current)
