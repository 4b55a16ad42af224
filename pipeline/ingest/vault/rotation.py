"""A new token key for a home: every token in it is made again, and no `customer_key` changes.

What carries tokens is written again beside the old (`rotation/` in the home and in the vault), while the home stays
under its old key. Replacing `keys.json` is the commit. From then on the home has its new key, and the new files take
the old ones' places, one rename each; a process that dies in between leaves that to the next one that asks for the
keys, which needs no key for it. Whoever dies before the commit has changed nothing.
"""

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline import duck
from pipeline.duck import literal
from pipeline.errors import StrataError
from pipeline.identity.tables import forget_state
from pipeline.ingest.files import fsync
from pipeline.ingest.vault import keys
from pipeline.ingest.vault.private import (
    close_folder,
    forget_compared,
    fsync_folder,
    private_files,
    write_private,
)
from pipeline.lock import run_lock
from pipeline.settings import Settings

_BATCH_ROWS = 100_000


@dataclass(frozen=True)
class Rotation:
    """What a rotation came to. `files` were written again: none where only the end of an earlier one was left."""

    old_key_id: str
    key_id: str
    values: int
    files: int
    key_file_replaced: bool


def new_key(path: Path | None) -> bytes:
    """The key to come, from a file or STRATA_TOKEN_KEY_NEW. Raises StrataError where there is none."""
    given = os.environ.get("STRATA_TOKEN_KEY_NEW")
    if path:
        try:
            return keys.parse_key(path.read_text(encoding="utf-8"), str(path))
        except (OSError, UnicodeDecodeError) as error:
            raise StrataError(f"{path} cannot be read: give a file with 64 hex characters") from error
    if given:
        return keys.parse_key(given, "STRATA_TOKEN_KEY_NEW")
    raise StrataError(
        "no new key: `openssl rand -hex 32 > new.key`, then --new-key-file new.key, or set STRATA_TOKEN_KEY_NEW"
    )


def told(done: Rotation) -> str:
    """The outcome as lines for the terminal, with what is left to do."""
    if done.files or done.values:
        first = f"token key {done.old_key_id} is replaced by {done.key_id}: {done.values:,} values, {done.files:,} files"
    else:
        first = f"the token key is {done.key_id}; nothing was left to do"
    given = os.environ.get("STRATA_TOKEN_KEY")
    if given and keys.id_of(keys.parse_key(given, "STRATA_TOKEN_KEY")) != done.key_id:
        return f"{first}\n  set STRATA_TOKEN_KEY to the new key now, also for a running `strata ui`"
    return f"{first}\n  keep a copy of the new key; the next `strata run` builds the warehouse anew"


def rotate(settings: Settings, key: bytes, log: Callable[[str], None] = lambda _: None) -> Rotation:
    """Replace the token key of the home. Done again after a crash, it finishes what was begun.

    Raises StrataError where the present key is missing or another one, or where raw holds a token that the vault does not know.
    """
    with run_lock(settings, log=log):
        if any((settings.vault / "erasures").glob("*.json")):
            raise StrataError(
                f"an erasure in {settings.home} is not finished, and its tokens are of the present key: "
                "`strata run` finishes it, then replace the key"
            )
        settle(settings)
        record = keys.read_record(settings)
        new_id = keys.id_of(key)
        if record and record["key_id"] == new_id:
            return Rotation(record.get("previous_key_id", new_id), new_id, 0, 0, False)
        if record is None:
            raise StrataError(
                f"{settings.home} has no token key yet: the first `strata run` makes or takes one"
            )
        old = keys.open_keys(settings)
        keys.note_opening(settings, "rotation")
        close_folder(settings.vault)
        try:
            values, files = _prepare(settings, old, key, log)
        except BaseException:
            settle(settings)
            raise
        replaced = _prepare_key_file(settings, old.token_key, key)
        keys.write_record(
            settings,
            record
            | {"key_id": new_id, "key_since": keys.now(), "previous_key_id": old.key_id, "moving": True},
        )
        settle(settings)
        return Rotation(old.key_id, new_id, values, files, replaced)


def settle(settings: Settings) -> None:
    """Finish a rotation that was committed, or clear away one that was not. Under the run lock."""
    staged, private = _staged(settings), _private(settings)
    record = keys.read_record(settings)
    if not (record and record.get("moving")):
        for folder in (staged, private):
            shutil.rmtree(folder, ignore_errors=True)
        return
    touched = set()
    for path in sorted(staged.rglob("*.parquet")):
        target = settings.home / path.relative_to(staged)
        path.replace(target)
        touched.add(target.parent)
    if (private / "vault.duckdb").exists():
        # A log of the old file must not be replayed into the new one.
        (settings.vault / "vault.duckdb.wal").unlink(missing_ok=True)
        (private / "vault.duckdb").replace(settings.vault / "vault.duckdb")
    if (private / "token.key").exists():
        (private / "token.key").replace(settings.token_key)
    for folder in (*touched, settings.vault, settings.home):
        fsync_folder(folder)
    # Built from raw, with tokens of the old key in it; the next run builds it anew.
    for path in settings.warehouse.parent.glob(f"{settings.warehouse.name}*"):
        path.unlink()
    forget_state(settings.identity)
    forget_compared(settings.vault)
    for folder in (staged, private):
        shutil.rmtree(folder, ignore_errors=True)
    del record["moving"]
    keys.write_record(settings, record)


def _staged(settings: Settings) -> Path:
    return settings.home / "rotation"


def _private(settings: Settings) -> Path:
    return settings.vault / "rotation"


def _prepare(
    settings: Settings, old: keys.Keys, new_key: bytes, log: Callable[[str], None]
) -> tuple[int, int]:
    """Write vault and raw under the new key beside the old; (values, files)."""
    private = _private(settings)
    private.mkdir(mode=0o700)
    made = duck.connect(
        [settings.vault, settings.raw], database=private / "vault.duckdb", spill=private / "spill"
    )
    with made as con:
        with private_files():
            values = _retokenise_vault(con, settings, old, new_key)
        log(f"{values:,} values have tokens of the new key")
        paths = list(_token_files(settings))
        for path in paths:
            _retokenise_file(con, path, _staged(settings) / path.relative_to(settings.home), new_key)
        log(f"{len(paths):,} files are written again")
        con.execute("checkpoint")
    close_folder(private)
    fsync(private / "vault.duckdb")
    for folder in (private, *(p for p in _staged(settings).rglob("*") if p.is_dir())):
        fsync_folder(folder)
    return values, len(paths)


def _prepare_key_file(settings: Settings, old_key: bytes, new_key: bytes) -> bool:
    """Lay the home's own key file beside its old one, where that is what the home lives by."""
    try:
        mine = settings.token_key.read_text(encoding="utf-8").strip().lower()
    except FileNotFoundError:
        return False
    if mine != old_key.hex():
        return False
    write_private(_private(settings) / "token.key", new_key.hex() + "\n")
    return True


def _retokenise_vault(
    con: duckdb.DuckDBPyConnection, settings: Settings, old: keys.Keys, new_key: bytes
) -> int:
    """Fill the new vault and the temporary table `renamed` (old token, new token); number of values."""
    database = settings.vault / "vault.duckdb"
    con.execute(
        "create table clear_values (kind varchar, token varchar, value varchar, key_id varchar, "
        "primary key (kind, token))"
    )
    con.execute("create temp table renamed (old varchar, new varchar)")
    if not database.exists():
        return 0
    # Opened for writing, so that a log that a killed run left is brought in first.
    with duck.connect([settings.vault], database=database, spill=_private(settings) / "spill") as source:
        source.execute("checkpoint")
    con.execute(f"attach {literal(str(database))} as before (read_only)")
    reader = con.cursor()
    reader.execute("select kind, token, value from before.clear_values")
    values = 0
    while rows := reader.fetchmany(_BATCH_ROWS):
        made = []
        for kind, now_token, value in rows:
            if keys.token(old.token_key, kind, value) != now_token:
                raise StrataError(
                    f"{database} holds a token that key {old.key_id} does not make: restore it from a backup"
                )
            made.append(keys.token(new_key, kind, value))
        kinds, befores, clear = ([row[i] for row in rows] for i in range(3))
        con.register("batch", pa.table({"kind": kinds, "old": befores, "value": clear, "new": made}))
        con.execute("insert into clear_values select kind, new, value, $1 from batch", [keys.id_of(new_key)])
        con.execute("insert into renamed select old, new from batch")
        values += len(rows)
    reader.close()
    con.execute("detach before")
    return values


def _token_files(settings: Settings) -> Iterator[Path]:
    """Every Parquet file of raw and quarantine that has a column of tokens."""
    for folder in (settings.raw, settings.quarantine):
        for path in sorted(folder.rglob("*.parquet")):
            if "_schema" not in path.parts and _token_columns(pq.read_schema(path)):
                yield path


def _token_columns(schema: pa.Schema) -> list[str]:
    return [name for name in schema.names if name.endswith("_token")]


def _retokenise_file(con: duckdb.DuckDBPyConnection, path: Path, target: Path, new_key: bytes) -> None:
    """Write the file under the new tokens: same rows, same order, same columns."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with pq.ParquetFile(path) as file:
        schema = file.schema_arrow
        schema = schema.with_metadata((schema.metadata or {}) | {keys.KEY_ID.encode(): keys.id_of(new_key)})
        with pq.ParquetWriter(target, schema, compression="zstd") as writer:
            for batch in file.iter_batches(batch_size=_BATCH_ROWS):
                table = pa.Table.from_batches([batch])
                for name in _token_columns(schema):
                    table = table.set_column(
                        schema.get_field_index(name), name, _renamed(con, table[name], path)
                    )
                writer.write_table(table.cast(schema))
    fsync(target)


def _renamed(con: duckdb.DuckDBPyConnection, tokens: pa.ChunkedArray, path: Path) -> pa.Array:
    """The new tokens of a column, in its order. Raises StrataError for a token that the vault does not know."""
    con.register("asked", pa.table({"n": pa.array(range(len(tokens)), pa.int64()), "old": tokens}))
    found = con.execute("select new from asked left join renamed using (old) order by n").to_arrow_table()[
        "new"
    ]
    if found.null_count != tokens.null_count:
        raise StrataError(
            f"{path} holds tokens that the vault does not know: restore the vault that belongs to this raw"
        )
    return found
