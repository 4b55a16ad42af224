"""Quarantine: every rejected record with its position and the rule that it broke, never a clear personal value.

`quarantine/<source>/<feed>/<stem>/rev=N.parquet`, one file a delivery that has rejected records.
"""

from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa

from pipeline.ingest.files import write_parquet
from pipeline.settings import Settings

SCHEMA = pa.schema(
    [
        ("delivery", pa.string()),
        ("record_no", pa.int64()),
        ("code", pa.string()),
        ("column", pa.string()),
        ("value", pa.string()),
        ("byte_start", pa.int64()),
        ("byte_end", pa.int64()),
    ]
)


def path_of(settings: Settings, delivery: str) -> Path:
    """Where the rejected records of one delivery lie."""
    return settings.quarantine / f"{delivery}.parquet"


def write(settings: Settings, delivery: str, rows: Iterable[tuple[object, ...]]) -> None:
    """Write the rejected records of one delivery, each (record_no, code, column, value, byte_start, byte_end).

    A sweep done again after a crash replaces what it left.
    """
    full = [(delivery, *row) for row in rows]
    if full:
        columns = [pa.array(v, f.type) for v, f in zip(zip(*full, strict=True), SCHEMA, strict=True)]
        write_parquet(pa.table(columns, schema=SCHEMA), path_of(settings, delivery))
