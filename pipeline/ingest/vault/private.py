"""Files that only their owner reads."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.errors import StrataError

COMPARED = "matching.duckdb"
"""What the second stage of matching compares of each record (pipeline/identity/compared.py), in clear."""


def close_folder(folder: Path) -> None:
    """Make a folder and all in it its owner's alone, whatever it was, and remove what a sweep has spilled into it.

    Raises StrataError where another user owns it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        folder.chmod(0o700)
        shutil.rmtree(folder / "spill", ignore_errors=True)
        for path in folder.rglob("*"):
            path.chmod(0o700 if path.is_dir() else 0o600)
    except PermissionError as error:
        raise StrataError(f"{folder} belongs to another user: run Strata as that one") from error


def forget_compared(folder: Path) -> None:
    """Remove what the second stage of matching keeps of each record in a vault: the next run makes it anew."""
    for name in (COMPARED, f"{COMPARED}.wal"):
        (folder / name).unlink(missing_ok=True)


@contextmanager
def private_files() -> Iterator[None]:
    """DuckDB makes its files (the write-ahead log too) with the process's mask; here only for the owner."""
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner reads, complete or not at all."""
    temporary = path.with_name(path.name + ".tmp")
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.chmod(0o600)
    temporary.replace(path)
    fsync_folder(path.parent)


def fsync_folder(folder: Path) -> None:
    """Make renames inside a folder survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
