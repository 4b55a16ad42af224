"""Files as ingest handles them: what identifies one, and writing one durably in one rename."""

import hashlib
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

MAX_NAME_BYTES = 255
"""Bytes of a file's name on every file system in use."""


def temporary_of(name: str) -> str:
    """Name under which a file is written before it is renamed."""
    return f".{name}.tmp"


def file_stat(path: Path) -> str:
    """Size, times and inode of a file: an unchanged one need not be read again."""
    s = path.lstat()
    return f"{s.st_size}:{s.st_mtime_ns}:{s.st_ctime_ns}:{s.st_ino}"


def sha256(path: Path) -> str:
    """Hex SHA-256 of the file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_parquet(table: pa.Table, path: Path) -> None:
    """Write durably and in one rename, so that no reader meets half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(temporary_of(path.name))
    with temporary.open("wb") as file:
        pq.write_table(table, file, compression="zstd")
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def fsync(path: Path) -> None:
    """Wait until a file, or a folder's names, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
