"""A large Parquet delivery whose values are already what raw holds: its column chunks become raw's file as they are.

Reading every value is all that is left to do then: what makes a row good is asked as of any other delivery, and that
no text would be written otherwise. Columns that the delivery does not have, `_delivery` and `_row` come from a small
file beside it, so that raw stays one kind of file for whoever reads it.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from uuid import uuid4

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.duck import quote
from pipeline.ingest import parquet_copy
from pipeline.ingest.contracts import Contract
from pipeline.ingest.parquet_copy import Footer
from pipeline.ingest.profile import Known, parts_of
from pipeline.ingest.reading.csv_chunks import MAX_FIELD_BYTES, Facts, texts_of
from pipeline.ingest.reading.key_order import KeyOrder
from pipeline.ingest.reading.reader import resolve_header

# What DuckDB and Arrow read at about the same speed; another codec is paid for by every reader of raw.
_CODECS = ("SNAPPY", "ZSTD", "UNCOMPRESSED")
_FEWEST_ROWS, _MOST_ROWS = 20_000, 1_100_000
_PHYSICAL = {
    "VARCHAR": ("BYTE_ARRAY",),
    "BIGINT": ("INT64",),
    "DATE": ("INT32",),
    "BOOLEAN": ("BOOLEAN",),
    "DECIMAL": ("INT32", "INT64", "FIXED_LEN_BYTE_ARRAY"),
}
_BATCH_ROWS = 131_072


def columns_to_copy(path: Path, contract: Contract, types: Mapping[str, str]) -> dict[str, str] | None:
    """Column of raw → column of the delivered file that can stand in for it; None where the file must be written anew.

    Args:
        types: contract column → DuckDB type as delivered.
    """
    schema = contract.raw_schema()
    for name, column in contract.stored.items():
        is_made = bool(column.pii or column.otherwise or column.type == "ts")
        if is_made or (name in types and types[name] != schema[name]):
            # Tokens, local times and enumerations are made here, of whatever was delivered.
            return None
    metadata = pq.read_metadata(path)
    resolved, _ = resolve_header(metadata.schema.to_arrow_schema().names, contract)
    if len(resolved) != metadata.num_columns:
        return None
    given = {name: i for i, name in enumerate(resolved) if name in contract.stored}
    rows = [metadata.row_group(g).num_rows for g in range(metadata.num_row_groups)]
    if not rows or max(rows) > _MOST_ROWS or min(rows[:-1], default=_FEWEST_ROWS) < _FEWEST_ROWS:
        return None
    for name, i in given.items():
        leaf = metadata.schema.column(i)
        if leaf.max_repetition_level or leaf.physical_type not in _PHYSICAL[schema[name].split("(")[0]]:
            return None
        for group in range(metadata.num_row_groups):
            if metadata.row_group(group).column(i).compression not in _CODECS:
                return None
    return {name: metadata.schema.column(i).path for name, i in given.items()}


def texts_as_they_are(
    path: Path, contract: Contract, columns: Mapping[str, str]
) -> tuple[Facts, bool] | None:
    """What is known of the delivered texts, and whether the order of the rows proves that no key stands twice.

    None where a text would be stored otherwise than it was delivered, or where telling that takes more than a look at
    the bytes: one outside ASCII, with blanks around it, too long, or a spelling of null.
    """
    names = {given: name for name, given in columns.items()}
    texts = {name for name in columns if contract.raw_schema()[name] == "VARCHAR"}
    filled, order = set(texts), KeyOrder(contract.key)
    wanted = [given for given, name in names.items() if name in texts or name in contract.key]
    packed = [columns[name] for name in texts if name not in contract.key]
    with pq.ParquetFile(path, read_dictionary=packed) as file:
        for batch in file.iter_batches(_BATCH_ROWS, columns=wanted, use_threads=False):
            given = {names[n]: batch.column(n) for n in batch.schema.names}
            for name in texts:
                found = _is_filled(given[name], contract.nulls_of(name))
                if found is None:
                    return None
                if not found:
                    filled.discard(name)
            if order.ascends:
                order.see(pa.table({name: _unpacked(given[name]) for name in contract.key if name in given}))
    return Facts(is_clean=True, is_short=True, filled=frozenset(filled)), order.ascends


def _unpacked(column: pa.Array) -> pa.Array:
    return column.dictionary_decode() if pa.types.is_dictionary(column.type) else column


def _is_filled(column: pa.Array, spellings: Sequence[str]) -> bool | None:
    """Whether no text is null or short enough to be a spelling of null; None as texts_as_they_are says."""
    # Of a packed column only the few different texts are looked at.
    values = column.dictionary if pa.types.is_dictionary(column.type) else column
    values = values.cast(pa.string())
    text, ends = texts_of(values)
    sizes = np.diff(ends)
    if not text.isascii() or sizes.max(initial=0) > MAX_FIELD_BYTES:
        return None
    if b" " in text and pc.any(pc.or_(pc.starts_with(values, " "), pc.ends_with(values, " "))).as_py():
        return None
    if sizes.min(initial=MAX_FIELD_BYTES) > max((len(s.encode()) for s in spellings), default=-1):
        return not column.null_count
    if pc.any(pc.is_in(values, pa.array(spellings, pa.string()), skip_nulls=True)).as_py():
        return None
    return False


def known_of_good(con: duckdb.DuckDBPyConnection, contract: Contract, sql: str) -> Known | None:
    """The profile of the rows of `sql`, which classified_sql gives, or None where one of them breaks a rule."""
    parts = parts_of(contract, mapped=False)
    asked = ", ".join(f"{part} as {quote(name)}" for name, part in parts.items())
    found = con.execute(f"select {asked}, count(_rule) as _bad from ({sql})")
    types = {name: str(kind) for name, kind, *_ in found.description or ()}
    (row,) = found.to_arrow_table().to_pylist()
    if row.pop("_bad") or not row.pop("rows_n"):
        return None
    return {name: (value, types[name]) for name, value in row.items()}


def write(
    path: Path, delivered: Path, schema: pa.Schema, columns: Mapping[str, str], delivery: str, spill: Path
) -> None:
    """Write the raw file of a delivery, in one rename.

    Args:
        path: of the file in raw.
        schema: of raw.
        columns: as columns_to_copy gives them.
        spill: folder for the columns that the delivery does not have.
    """
    footer = parquet_copy.read_footer(delivered)
    spill.mkdir(parents=True, exist_ok=True, mode=0o700)
    beside = spill / f"{uuid4().hex}.parquet"
    try:
        _write_beside(beside, footer, schema, columns, delivery)
        made = parquet_copy.read_footer(beside)
        taken = {name: (footer, columns[name]) if name in columns else (made, name) for name in schema.names}
        parquet_copy.write_from(path, taken, {})
    finally:
        beside.unlink(missing_ok=True)


def _write_beside(
    path: Path, footer: Footer, schema: pa.Schema, columns: Mapping[str, str], delivery: str
) -> None:
    """The columns of raw that are not delivered, in row groups as long as the delivered ones."""
    names = [name for name in schema.names if name not in columns]
    kinds = {
        n: pa.dictionary(pa.int32(), pa.string()) if n == "_delivery" else schema.field(n).type for n in names
    }
    with pq.ParquetWriter(
        path,
        pa.schema(kinds.items()),
        compression="snappy",
        use_dictionary=[n for n in names if n != "_row"],
        column_encoding={"_row": "DELTA_BINARY_PACKED"},
        write_statistics=False,
    ) as writer:
        first = 1
        for n in footer.rows:
            made = {
                "_delivery": pa.DictionaryArray.from_arrays(
                    pa.repeat(pa.scalar(0, pa.int32()), n), [delivery]
                ),
                "_row": pa.array(np.arange(first, first + n)),
            }
            arrays = [made[name] if name in made else pa.nulls(n, kinds[name]) for name in names]
            writer.write_table(pa.table(arrays, pa.schema(kinds.items())), row_group_size=n)
            first += n
