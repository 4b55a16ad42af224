"""A copy of one release in PostgreSQL, for tools that read nothing else.

Built in a schema of its own (`<schema>_next`), then put in the place of the copy before in one transaction. What makes
a reader's transaction see one release and never parts of two:

* The swap drops the tables of the copy before, which takes a lock on each. A transaction that has read any of them
  lets the swap wait, so all that it reads until its end is that copy; one that comes later waits for the new copy.
* Rows are written frozen (`COPY … FREEZE`), so that a REPEATABLE READ transaction whose snapshot is older than the
  swap finds full tables, not empty ones.
* Each try for the locks ends well before PostgreSQL's deadlock_timeout: it is never a reader that is cut off.

A schema of that name that holds anything else is left alone.
"""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from pipeline import duck
from pipeline.errors import GateStopped, StrataError
from pipeline.privacy import consent
from pipeline.publish import dictionary, shelf, withheld
from pipeline.publish.rollback import refused_since
from pipeline.settings import Settings

if TYPE_CHECKING:
    import psycopg

_TYPES = {
    "VARCHAR": "text",
    "BIGINT": "bigint",
    "INTEGER": "integer",
    "SMALLINT": "smallint",
    "DOUBLE": "double precision",
    "BOOLEAN": "boolean",
    "DATE": "date",
    "TIMESTAMP": "timestamp",
    "TIMESTAMP WITH TIME ZONE": "timestamptz",
}
# Told by our comment on it, a schema is a copy of ours. It begins so.
_MARK = "Strata release "
_CATALOGUE = "release_tables"
_RELEASE = "release"
_TRY_SECONDS = 0.2
_ROWS = 100_000


@dataclass(frozen=True)
class Exported:
    """What a schema holds now: a release, its tables and all their rows."""

    release: str
    schema: str
    tables: int
    rows: int


def export(
    settings: Settings,
    address: str,
    *,
    release: str | None = None,
    schema: str = "strata",
    wait_seconds: float = 60,
    log: Callable[[str], None] = lambda _: None,
) -> Exported:
    """Copy a release (the current one where None) into a PostgreSQL schema, in the place of the copy before.

    Args:
        address: `postgresql://user@host/database` or `key=value` pairs. What it leaves out, the password above all,
            libpq takes from PGPASSWORD, PGPASSFILE and their like.
        wait_seconds: for readers of the copy before to end.

    Raises:
        StrataError: where the release is damaged, the schema is somebody else's, or readers do not end; the copy before
            is as it was then.
        GateStopped: where somebody in the release has refused since.
    """
    release, problems = shelf.verify(settings, release)
    if problems:
        raise StrataError(f"release {release} is damaged and was not copied: {problems[0]}")
    folder = settings.releases / release
    manifest = shelf.load_manifest(settings, release)
    _require_none_refused(settings, folder, manifest)
    if schema.startswith("pg_") or not schema or len(schema.encode()) > 58:
        raise StrataError(f"--schema {schema!r}: give a name of 1 to 58 bytes that does not begin with pg_")
    names = [key.split(".")[1] for key in manifest["tables"]]
    if len({*names, _RELEASE, _CATALOGUE}) < len(names) + 2:
        raise StrataError(f"release {release} has two tables of one name; one schema cannot hold both")
    words = _words(folder)
    with _connected(address) as con:
        # For as long as the connection lasts: of two exports at a time the second gives up.
        taken = con.execute("select pg_try_advisory_lock(hashtext(%s))", [f"strata {schema}"]).fetchone()
        if not (taken and taken[0]):
            raise StrataError(f"another export into schema {schema} is under way: wait for it")
        with con.transaction():
            _require_ours(con, schema)
            _drop(con, f"{schema}_next")
            rows = _build(con, f"{schema}_next", folder, manifest, words, log)
        _swap(con, schema, wait_seconds)
    return Exported(release, schema, len(names), rows)


def _require_none_refused(settings: Settings, folder: Path, manifest: Mapping[str, Any]) -> None:
    """A copy leaves the home's reach, so it is made only of what may leave today. Raises GateStopped."""
    now = shelf.current(settings) or {}
    if manifest["release"] == now.get("release"):
        known = manifest["inputs"]
        refused = consent.refusals(settings, known) | consent.delivered_since(settings, known)
    else:
        refused = refused_since(settings, folder, manifest["inputs"])
    con = duck.connect([folder])
    try:
        withheld.register(con, consent.as_held(settings, folder, refused))
        check = withheld.still_published(con, folder)
    finally:
        con.close()
    if not check.passed:
        raise GateStopped(
            f"release {manifest['release']} was not copied: {check.observed} persons in it have refused since (Q-17): "
            "make a release without them first, with `strata run`, or `strata releases rollback` to an older one"
        )


def _words(folder: Path) -> dict[str, Any]:
    path = folder / dictionary.JSON
    # Releases of earlier versions have no dictionary; their copy has no comments.
    return json.loads(path.read_text(encoding="utf-8"))["tables"] if path.exists() else {}


@contextmanager
def _connected(address: str) -> "Iterator[psycopg.Connection]":
    """A connection in autocommit mode. Errors are StrataErrors of one line, without the password."""
    import psycopg
    from psycopg.conninfo import conninfo_to_dict, make_conninfo

    try:
        given = conninfo_to_dict(address)
    except psycopg.Error:
        # The driver would quote the address, and with it the password.
        raise StrataError(
            "--url is no address such as postgresql://strata@host:5432/bi (the password belongs in PGPASSWORD)"
        ) from None
    secret = str(given.get("password") or "")

    def told(error: Exception) -> str:
        text = (str(error).strip() or type(error).__name__).splitlines()[0]
        return text.replace(secret, "•••") if secret else text

    settings = {"connect_timeout": "10", "application_name": "strata export", "client_encoding": "UTF8"}
    try:
        con = psycopg.connect(make_conninfo("", **{**settings, **given}), autocommit=True)
    except psycopg.Error as error:
        raise StrataError(f"no connection to PostgreSQL: {told(error)}") from None
    try:
        yield con
    except psycopg.Error as error:
        raise StrataError(f"PostgreSQL: {told(error)}; the copy that was there is as it was") from None
    finally:
        con.close()


def _comment(con: "psycopg.Connection", schema: str) -> tuple[bool, str]:
    """(whether the schema exists, its comment)."""
    row = con.execute(
        "select coalesce(obj_description(oid, 'pg_namespace'), '') from pg_namespace where nspname = %s",
        [schema],
    ).fetchone()
    return (row is not None, row[0] if row else "")


def _require_ours(con: "psycopg.Connection", schema: str) -> None:
    for name in (schema, f"{schema}_next"):
        exists, comment = _comment(con, name)
        if exists and not comment.startswith(_MARK):
            raise StrataError(
                f"schema {name} is not a copy that Strata made: give another --schema, or drop it"
            )


def _tables(con: "psycopg.Connection", schema: str) -> list[str]:
    """Our tables of a copy, in one order for all who lock them. Others' tables are not in its catalogue."""
    from psycopg import sql

    known = con.execute(
        "select 1 from pg_class c join pg_namespace n on n.oid = c.relnamespace where n.nspname = %s and c.relname = %s",
        [schema, _CATALOGUE],
    ).fetchone()
    if not known:
        return []
    query = sql.SQL("select table_name from {} order by 1").format(sql.Identifier(schema, _CATALOGUE))
    return [_RELEASE, *(row[0] for row in con.execute(query).fetchall()), _CATALOGUE]


def _drop(con: "psycopg.Connection", schema: str) -> None:
    """Drop a copy, and nothing that is not ours: without CASCADE, others' views and tables stop it."""
    import psycopg
    from psycopg import sql

    if not _comment(con, schema)[0]:
        return
    try:
        names = [sql.Identifier(schema, name) for name in _tables(con, schema)]
        if names:
            con.execute(sql.SQL("drop table {}").format(sql.SQL(", ").join(names)))
        con.execute(sql.SQL("drop schema {}").format(sql.Identifier(schema)))
    except psycopg.errors.DependentObjectsStillExist as error:
        detail = (error.diag.message_detail or "").splitlines()
        raise StrataError(
            f"something of yours hangs on schema {schema}: {detail[0] if detail else 'see the server'}; drop it, and "
            "keep views on the copy in your tool instead"
        ) from None


def _build(
    con: "psycopg.Connection",
    schema: str,
    folder: Path,
    manifest: Mapping[str, Any],
    words: Mapping[str, Any],
    log: Callable[[str], None],
) -> int:
    """Create and fill the schema; number of rows."""
    from psycopg import sql

    con.execute(sql.SQL("create schema {}").format(sql.Identifier(schema)))
    _say(
        con,
        "schema",
        sql.Identifier(schema),
        f"{_MARK}{manifest['release']}; `strata export postgres` replaces it",
    )
    rows = 0
    for key, stated in manifest["tables"].items():
        part, name = key.split(".")
        table = sql.Identifier(schema, name)
        described = words.get(key, {})
        columns = stated["columns"]
        grain = [c for c in stated.get("grain", ()) if c in columns]
        log(f"copying {key}, {stated['rows']:,} rows")
        _create(con, table, {c: _type(key, c, kind) for c, kind in columns.items()})
        path = folder / "tables" / part / f"{name}.parquet"
        with con.cursor().copy(sql.SQL("copy {} from stdin (format csv, freeze)").format(table)) as copy:
            for line in _lines(path, list(columns)):
                copy.write(line)
        if grain:
            listed = sql.SQL(", ").join(map(sql.Identifier, grain))
            con.execute(sql.SQL("alter table {} add primary key ({})").format(table, listed))
        _say(con, "table", table, _both(described))
        for column in columns:
            text = _both(described.get("columns", {}).get(column, {}))
            _say(con, "column", sql.Identifier(schema, name, column), text)
        rows += stated["rows"]
    _state(con, schema, manifest)
    return rows


def _create(con: "psycopg.Connection", table: Any, columns: Mapping[str, str]) -> None:
    from psycopg import sql

    # Types come from _type: a fixed list, and decimal's digits.
    listed = sql.SQL(", ").join(
        sql.SQL("{} {}").format(sql.Identifier(name), sql.SQL(kind)) for name, kind in columns.items()
    )
    con.execute(sql.SQL("create table {} ({})").format(table, listed))


def _type(table: str, column: str, kind: str) -> str:
    """PostgreSQL's name of a published type: DECIMAL(18,4) is numeric(18,4)."""
    if kind.startswith("DECIMAL("):
        digits, scale = (int(n) for n in kind.removeprefix("DECIMAL(").removesuffix(")").split(","))
        return f"numeric({digits}, {scale})"
    if kind not in _TYPES:
        raise StrataError(f"{table}.{column} has type {kind}, for which PostgreSQL has no place here")
    return _TYPES[kind]


def _lines(path: Path, columns: list[str]) -> Iterator[bytes]:
    """A table's rows as CSV: every value quoted and nulls not, which is how COPY tells them apart."""
    options = pyarrow.csv.WriteOptions(include_header=False, quoting_style="all_valid")
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(_ROWS, columns=columns):
            sink = pa.BufferOutputStream()
            pyarrow.csv.write_csv(batch, sink, options)
            yield sink.getvalue().to_pybytes()


def _both(described: Mapping[str, Any]) -> str:
    """A description in both languages; English alone where it has no Chinese."""
    return " · ".join(text for text in (described.get("zh"), described.get("en")) if text)


def _say(con: "psycopg.Connection", what: str, name: Any, text: str) -> None:
    from psycopg import sql

    if text:
        con.execute(sql.SQL("comment on {} {} is {}").format(sql.SQL(what), name, sql.Literal(text)))


def _state(con: "psycopg.Connection", schema: str, manifest: Mapping[str, Any]) -> None:
    """Two tables that tell which release this is: `release` with one row, `release_tables` with one per table."""
    from psycopg import sql

    one, catalogue = (sql.Identifier(schema, name) for name in (_RELEASE, _CATALOGUE))
    fields = {
        "release": "text primary key",
        "as_of_date": "date",
        "policy_version": "text",
        "contract_version": "integer",
        "currency": "text",
    }
    listed = {"table_name": "text primary key", "layer": "text", "row_count": "bigint", "status": "text"}
    tables = [
        (key.split(".")[1], key.split(".")[0], t["rows"], t["status"])
        for key, t in manifest["tables"].items()
    ]
    for table, columns, rows in (
        (one, fields, [tuple(manifest[name] for name in fields)]),
        (catalogue, listed, tables),
    ):
        _create(con, table, columns)
        with con.cursor().copy(sql.SQL("copy {} from stdin (freeze)").format(table)) as copy:
            for row in rows:
                copy.write_row(row)


def _swap(con: "psycopg.Connection", schema: str, wait_seconds: float) -> None:
    """Give the new copy the name of the one before, and drop that: one transaction, tried until readers let it."""
    import psycopg

    until = time.monotonic() + wait_seconds
    while True:
        try:
            with con.transaction():
                _replace(con, schema)
            return
        except psycopg.errors.LockNotAvailable:
            if time.monotonic() > until:
                raise StrataError(
                    f"readers have held tables of schema {schema} for {wait_seconds:g} s; it is as it was: end their "
                    "transactions, or give a longer --wait"
                ) from None
            # A moment in which those who queued behind the try come to their turn.
            time.sleep(_TRY_SECONDS)


def _replace(con: "psycopg.Connection", schema: str) -> None:
    from psycopg import sql

    now, after = (sql.Identifier(name) for name in (schema, f"{schema}_next"))
    if _comment(con, schema)[0]:
        con.execute("select set_config('lock_timeout', %s, true)", [f"{int(_TRY_SECONDS * 1000)}ms"])
        _grant_as_before(con, schema)
        # Before the new copy has the name: who asks for a table meanwhile waits for the lock.
        _drop(con, schema)
    con.execute(sql.SQL("alter schema {} rename to {}").format(after, now))


def _grant_as_before(con: "psycopg.Connection", schema: str) -> None:
    """Who could read the schema and a table of it still can. A table that is new is nobody's until it is granted."""
    from psycopg import sql

    schemas = con.execute(
        "select a.grantee, pg_get_userbyid(a.grantee) from pg_namespace n, aclexplode(n.nspacl) a "
        "where n.nspname = %s and a.privilege_type = 'USAGE' and a.grantee <> n.nspowner",
        [schema],
    ).fetchall()
    tables = con.execute(
        "select a.grantee, pg_get_userbyid(a.grantee), c.relname from pg_class c "
        "join pg_namespace n on n.oid = c.relnamespace, aclexplode(c.relacl) a "
        "where n.nspname = %s and a.privilege_type = 'SELECT' and a.grantee <> c.relowner",
        [schema],
    ).fetchall()
    new = {*_tables(con, f"{schema}_next")}

    def grantee(oid: int, name: str) -> Any:
        return sql.SQL("public") if oid == 0 else sql.Identifier(name)

    for oid, name in schemas:
        place = sql.Identifier(f"{schema}_next")
        con.execute(sql.SQL("grant usage on schema {} to {}").format(place, grantee(oid, name)))
    for oid, name, table in tables:
        if table in new:
            place = sql.Identifier(f"{schema}_next", table)
            con.execute(sql.SQL("grant select on {} to {}").format(place, grantee(oid, name)))
