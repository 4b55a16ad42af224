"""The files that reading a table leaves: deliveries, and the digests by which a later reading knows their rows again."""

import hashlib
import os
from collections.abc import Iterable, Sequence
from datetime import date
from pathlib import Path
from typing import Any, Self

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline import duck
from pipeline.errors import StrataError
from pipeline.ingest.vault.private import fsync_folder

_GROUP_BYTES = 32 * 1024 * 1024

Row = tuple[str | None, ...]


class DurableFile:
    """A Parquet file that only its owner reads, written batch by batch; it stands in its place once it is whole."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self.path, self.rows = path, 0
        self.temporary = path.with_name(f".{path.name}.tmp")
        self._schema = schema
        self._batches: list[pa.RecordBatch] = []
        self._buffered = 0
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
            self._stream = os.fdopen(os.open(self.temporary, flags, 0o600), "wb")
        except OSError as error:
            raise StrataError(
                f"{path.parent} cannot be written ({error.strerror}): what is read from a database is delivered there"
            ) from None
        self._writer = pq.ParquetWriter(self._stream, schema, compression="zstd")

    def add(self, columns: Sequence[Sequence[Any]], n: int) -> None:
        """Add `n` rows; columns beyond those given are null."""
        arrays = [pa.array(values, f.type) for values, f in zip(columns, self._schema, strict=False)]
        arrays += [pa.nulls(n, f.type) for f in list(self._schema)[len(arrays) :]]
        batch = pa.RecordBatch.from_arrays(arrays, schema=self._schema)
        self._batches.append(batch)
        self._buffered += batch.nbytes
        self.rows += n
        if self._buffered >= _GROUP_BYTES:
            self._write()

    def _write(self) -> None:
        if self._batches:
            self._writer.write_table(pa.Table.from_batches(self._batches))
            self._batches, self._buffered = [], 0

    def close(self) -> None:
        """Make the bytes durable under the temporary name."""
        self._write()
        self._writer.close()
        self._stream.flush()
        os.fsync(self._stream.fileno())
        self._stream.close()

    def stand(self) -> None:
        """Take the file's place in one rename."""
        self.temporary.replace(self.path)
        fsync_folder(self.path.parent)

    def discard(self) -> None:
        """Leave nothing of a file that does not stand."""
        if not self._stream.closed:
            self._writer.close()
            self._stream.close()
        self.temporary.unlink(missing_ok=True)


class KnownRows:
    """Rows that were delivered before, each as often as it was."""

    def __init__(self, folder: Path, files: Iterable[Path]) -> None:
        """`files` of `folder`, oldest first, hold the digests; more of them than memory holds go on on disk there."""
        folder.mkdir(parents=True, exist_ok=True)
        self._con = duck.connect([folder])
        self._con.execute("set memory_limit = '512MB'")
        self._con.execute("create table known (digest blob, n bigint)")
        paths = [str(path) for path in files]
        if paths:
            # Rows without a day are passed on from file to file: the last one has them all, and each once.
            self._con.execute(
                "insert into known select digest, count(*) from read_parquet($1, filename = true, hive_partitioning = false) "
                "where not undated or filename = $2 group by digest",
                [paths, paths[-1]],
            )

    def new(self, digests: Sequence[bytes]) -> list[int]:
        """Positions of the digests that are not known; a known row that comes twice counts twice."""
        self._con.register("batch", pa.table({"digest": digests, "i": range(len(digests))}))
        found = self._con.execute(
            "select i from (select i, digest, row_number() over (partition by digest order by i) as nth from batch) "
            "left join known using (digest) where nth > coalesce(n, 0) order by i"
        ).fetchall()
        self._con.execute(
            "update known set n = n - met from (select digest, count(*) as met from batch group by digest) as b "
            "where known.digest = b.digest"
        )
        return [i for (i,) in found]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._con.close()


class DayFiles:
    """The delivery of one day while it is written, with the digests of the rows that a later reading may meet again."""

    def __init__(self, folder: Path, seen: Path, day: date, schema: pa.Schema, width: int, kept: int) -> None:
        """`width` columns are delivered; `kept`: see `seen_schema`."""
        self.day, self.kept, self._width = day, kept, width
        self.delivery = DurableFile(folder / f"{day}.parquet", schema)
        self.seen = DurableFile(seen / f"{day}.parquet", seen_schema(kept))

    def add(self, rows: Sequence[tuple[Any, ...]]) -> None:
        """Add rows as fetched; what follows the delivered columns in them is left out."""
        if rows:
            self.delivery.add(list(zip(*rows, strict=True))[: self._width], len(rows))

    def note(self, digests: Sequence[bytes], *, undated: bool = False) -> None:
        """Keep digests of rows that were delivered, with this day or before."""
        if digests:
            self.seen.add([digests, [undated] * len(digests)], len(digests))

    def commit(self) -> None:
        """The digests stand first: without the day's file they count for nothing."""
        self.delivery.close()
        self.seen.close()
        self.seen.stand()
        self.delivery.stand()

    def discard(self) -> None:
        self.delivery.discard()
        self.seen.discard()


def digest(key: bytes, row: Row) -> bytes:
    """16 bytes that stand for the content of a row and, without the key, say nothing about it."""
    return hashlib.blake2b(repr(row).encode("utf-8", "surrogatepass"), digest_size=16, key=key).digest()


def seen_schema(kept_minutes: int) -> pa.Schema:
    """Digests of rows; `undated` ones are asked for at every reading. Those of the last `kept_minutes` are complete."""
    schema = pa.schema([("digest", pa.binary(16)), ("undated", pa.bool_())])
    return schema.with_metadata({"kept_minutes": str(kept_minutes)})
