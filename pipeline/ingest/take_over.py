"""A large Parquet delivery whose values are already what raw holds: its column chunks become raw's file as they are.

Reading every value is all that is left to do then: what makes a row good is asked as of any other delivery, and that
no text would be written otherwise. Columns that the delivery does not have, `_delivery` and `_row` come from small
files beside it, so that raw stays one kind of file for whoever reads it.

None of this waits for the rest: the rules are asked while the texts are looked at and the chunks are copied to where
nobody reads them yet.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.duck import quote
from pipeline.ingest import parquet_copy
from pipeline.ingest.contracts import Contract
from pipeline.ingest.parquet_copy import Taken
from pipeline.ingest.profile import Known, parts_of
from pipeline.ingest.reading.csv_chunks import MAX_FIELD_BYTES, Facts
from pipeline.ingest.reading.key_order import KeyOrder
from pipeline.ingest.reading.reader import resolve_header
from pipeline.ingest.reading.texts import are_clean, texts_of

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
BROKEN_MAX = 100_000
"""Rows that break a rule, above which a file is typed once for all questions."""


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
    if not any(contract.columns[name].required for name in given):
        # A row of nothing but nulls would break no other rule.
        return None
    rows = [metadata.row_group(g).num_rows for g in range(metadata.num_row_groups)]
    if not rows or not rows[-1] or max(rows) > _MOST_ROWS or min([*rows[:-1], _FEWEST_ROWS]) < _FEWEST_ROWS:
        return None
    for name, i in given.items():
        leaf = metadata.schema.column(i)
        if leaf.max_repetition_level or leaf.physical_type not in _PHYSICAL[schema[name].split("(")[0]]:
            return None
        for group in range(metadata.num_row_groups):
            if metadata.row_group(group).column(i).compression not in _CODECS:
                return None
    return {name: metadata.schema.column(i).path for name, i in given.items()}


def columns_to_type(path: Path, contract: Contract, types: Mapping[str, str]) -> dict[str, str] | None:
    """The same for a file whose values are raw's own but for numbers, times and truth values, which cost little to type.

    None where a text is to be parsed or tokenised, or where a row of nulls would break no rule.
    """
    schema = contract.raw_schema()
    for name, column in contract.stored.items():
        is_text = types.get(name) == "VARCHAR"
        if column.pii or (name in types and is_text != (column.type == "s")):
            return None
    metadata = pq.read_metadata(path)
    resolved, _ = resolve_header(metadata.schema.to_arrow_schema().names, contract)
    given = {name: i for i, name in enumerate(resolved) if name in contract.stored}
    if len(resolved) != metadata.num_columns or not any(contract.columns[name].required for name in given):
        return None
    leaves = {name: metadata.schema.column(i) for name, i in given.items()}
    if any(schema[name] == "VARCHAR" and leaf.physical_type != "BYTE_ARRAY" for name, leaf in leaves.items()):
        return None
    return {name: leaf.path for name, leaf in leaves.items()}


class Looked(NamedTuple):
    """What a look at the texts and the key of each row found."""

    rows: int
    has_each_key_once: bool


def facts_of(contract: Contract) -> Facts:
    """What texts_as_they_are proves. Nulls may be there: as a row of them alone breaks a rule, none goes unnoticed."""
    return Facts(is_clean=True, is_short=True, filled=frozenset(contract.columns))


def texts_as_they_are(
    path: Path, contract: Contract, columns: Mapping[str, str], go_on: Callable[[], None]
) -> Looked | None:
    """Rows whose texts were looked at, and whether their order proves that no key stands twice.

    None where a text would be stored otherwise than it was delivered, or where telling that takes more than a look at
    the bytes: one that is not composed, with blanks around it, too long, or a spelling of null.
    """
    names = {given: name for name, given in columns.items()}
    texts = {name for name in columns if contract.raw_schema()[name] == "VARCHAR"}
    order, rows = KeyOrder(contract.key), 0
    wanted = [given for given, name in names.items() if name in texts or name in contract.key]
    packed = [columns[name] for name in texts if name not in contract.key]
    with pq.ParquetFile(path, read_dictionary=packed, pre_buffer=False) as file:
        # One after the other, so that a batch has the dictionaries of its own row group only.
        for group in range(file.num_row_groups):
            for batch in file.iter_batches(_BATCH_ROWS, [group], wanted, use_threads=False):
                go_on()
                given = {names[n]: batch.column(n) for n in batch.schema.names}
                if not all(_is_raw(given[name], contract.nulls_of(name)) for name in texts):
                    return None
                rows += len(batch)
                if order.ascends:
                    order.see(
                        pa.table({name: _unpacked(given[name]) for name in contract.key if name in given})
                    )
    return Looked(rows, order.ascends)


def _unpacked(column: pa.Array) -> pa.Array:
    return column.dictionary_decode() if pa.types.is_dictionary(column.type) else column


def _is_raw(column: pa.Array, spellings: Sequence[str]) -> bool:
    """Whether each text is stored as it is; False as texts_as_they_are says."""
    # Of a packed column only the few different texts are looked at.
    values = column.dictionary if pa.types.is_dictionary(column.type) else column
    values = values.cast(pa.string())
    text, ends = texts_of(values)
    sizes = np.diff(ends)
    if sizes.max(initial=0) > MAX_FIELD_BYTES or not are_clean(values, text, ends):
        return False
    if sizes.min(initial=MAX_FIELD_BYTES) > max((len(s.encode()) for s in spellings), default=-1):
        return True
    return not pc.any(pc.is_in(values, pa.array(spellings, pa.string()), skip_nulls=True)).as_py()


class Asked(NamedTuple):
    """What the rules say of the rows of a file.

    Attributes:
        known: profile of all rows; empty where none was asked for.
        broken_n: rows that break a rule.
        broken: `_row` and `_rule` of these, of at most BROKEN_MAX.
    """

    rows_n: int
    known: Known
    broken_n: int
    broken: list[dict[str, int]]


def ask_rules(
    con: duckdb.DuckDBPyConnection, contract: Contract, sql: str, *, profiled: bool
) -> Asked | None:
    """Ask the rules of every row of `sql`, which classified_sql gives, in one pass; None where there is no row."""
    parts = parts_of(contract, mapped=False) if profiled else {}
    asked = {name: f"{part} as {quote(name)}" for name, part in parts.items()}
    asked["_rows"] = "count(*) as _rows"
    asked["_broken_n"] = "count(_rule) as _broken_n"
    asked["_broken"] = (
        f"min(struct_pack(_row, _rule), {BROKEN_MAX}) filter (where _rule is not null) as _broken"
    )
    found = con.execute(f"select {', '.join(asked.values())} from ({sql})")
    types = {name: str(kind) for name, kind, *_ in found.description or ()}
    (row,) = found.to_arrow_table().to_pylist()
    rows_n, broken_n, broken = (row.pop(name) for name in ("_rows", "_broken_n", "_broken"))
    if not rows_n:
        return None
    return Asked(rows_n, {name: (value, types[name]) for name, value in row.items()}, broken_n, broken or [])


def write(
    path: Path,
    delivered: Path,
    schema: pa.Schema,
    columns: Mapping[str, str],
    delivery: str,
    spill: Path,
    go_on: Callable[[], None] = lambda: None,
) -> int:
    """Write the raw file of a delivery; its rows.

    Args:
        path: which nobody reads yet.
        schema: of raw.
        columns: as columns_to_copy gives them.
        spill: folder for the columns that the delivery does not have.
        go_on: raises where the file is not wanted any more.
    """
    footer = parquet_copy.read_footer(delivered)
    spill.mkdir(parents=True, exist_ok=True, mode=0o700)
    numbers, alike = (spill / f"{uuid4().hex}.parquet" for _ in range(2))
    try:
        _write_numbers(numbers, footer.rows, go_on)
        # What is the same in every row is the same in row groups of one length.
        lengths = sorted(set(footer.rows))
        _write_alike(alike, lengths, schema, columns, delivery)
        every = range(len(footer.rows))
        taken = {name: Taken(footer, given, every) for name, given in columns.items()}
        taken["_row"] = Taken(parquet_copy.read_footer(numbers), "_row", every)
        made = parquet_copy.read_footer(alike)
        groups = [lengths.index(n) for n in footer.rows]
        wanted = {name: taken.get(name) or Taken(made, name, groups) for name in schema.names}
        parquet_copy.write_from(path, wanted, {}, go_on)
    finally:
        numbers.unlink(missing_ok=True)
        alike.unlink(missing_ok=True)
    return sum(footer.rows)


def _write_numbers(path: Path, lengths: Sequence[int], go_on: Callable[[], None]) -> None:
    """`_row` in row groups of these lengths."""
    with pq.ParquetWriter(
        path,
        pa.schema([("_row", pa.int64())]),
        compression="snappy",
        use_dictionary=False,
        column_encoding={"_row": "DELTA_BINARY_PACKED"},
        write_statistics=False,
    ) as writer:
        first = 1
        for n in lengths:
            go_on()
            writer.write_table(pa.table({"_row": np.arange(first, first + n)}), row_group_size=n)
            first += n


def _write_alike(
    path: Path, lengths: Sequence[int], schema: pa.Schema, columns: Mapping[str, str], delivery: str
) -> None:
    """`_delivery` and the nulls of the columns of raw that are not delivered, in row groups of these lengths."""
    kinds = {name: schema.field(name).type for name in schema.names if name not in columns and name != "_row"}
    kinds["_delivery"] = pa.dictionary(pa.int32(), pa.string())
    with pq.ParquetWriter(
        path, pa.schema(kinds.items()), compression="snappy", write_statistics=False
    ) as writer:
        for n in lengths:
            made = {name: pa.nulls(n, kind) for name, kind in kinds.items()}
            zeros = pa.array(np.zeros(n, np.int32))
            made["_delivery"] = pa.DictionaryArray.from_arrays(zeros, [delivery])
            writer.write_table(pa.table(made, pa.schema(kinds.items())), row_group_size=n)
