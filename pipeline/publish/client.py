"""For Python that reads releases: `open_current()`.

    from pipeline.publish.client import open_current

    with open_current("/data/strata") as con:
        con.sql("select scheme, class_label_en, customers from audiences.segment_summary").show()

Needs nothing but DuckDB, so the file may be copied into a program that has no Strata beside it.
"""

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb


class ReleaseError(Exception):
    """There is no release, or what lies on the disk is not what was published."""


@dataclass(frozen=True)
class Release:
    """One release, as the pointer named it when it was asked. It stays as it is while others are published.

    Attributes:
        id: `<as-of date>[-rN]`.
        path: its folder.
        manifest: manifest.json, whose SHA-256 has been checked.
    """

    id: str
    path: Path
    manifest: dict[str, Any]

    def parquet(self, table: str) -> Path:
        """The file of a table such as `segments.customer_rfm`, checked. Raises ReleaseError."""
        schema, _, name = table.partition(".")
        return self.file(f"tables/{schema}/{name}.parquet")

    def file(self, name: str) -> Path:
        """A file of the release whose bytes are those that were published. Raises ReleaseError."""
        stated = self.manifest["files"].get(name)
        path = self.path / name
        if stated is None:
            raise ReleaseError(f"release {self.id} has no {name}")
        try:
            is_it = path.stat().st_size == stated["bytes"] and _sha256(path) == stated["sha256"]
        except OSError as error:
            raise ReleaseError(f"{path} cannot be read ({error.strerror})") from error
        if not is_it:
            raise ReleaseError(f"{path} is not the file that was published")
        return path


def current(home: str | os.PathLike[str] | None = None) -> Release:
    """The current release. Raises ReleaseError.

    The pointer is read once, or again where it has moved while the release that it named was taken away: an erasure
    puts another in its place and waits for nobody.

    Args:
        home: Strata's home; $STRATA_HOME where None.
    """
    folder = Path(home or os.environ.get("STRATA_HOME") or "var")
    named = _named(folder)
    while True:
        try:
            return _release(folder, named)
        except ReleaseError:
            now = _named(folder)
            if now == named:
                raise
            named = now


def _named(folder: Path) -> str:
    """The release that the pointer names."""
    path = folder / "CURRENT.json"
    try:
        return str(json.loads(path.read_text(encoding="utf-8"))["release"])
    except FileNotFoundError:
        raise ReleaseError(f"no release has been published in {folder}") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ReleaseError(f"{path} cannot be read") from error


def _release(folder: Path, name: str) -> Release:
    path = folder / "releases" / name
    try:
        data, stated = (path / "manifest.json").read_bytes(), (path / "manifest.sha256").read_text().strip()
    except OSError as error:
        raise ReleaseError(f"release {name} is not in {folder} ({error.strerror})") from error
    if hashlib.sha256(data).hexdigest() != stated:
        raise ReleaseError(f"{path / 'manifest.json'} is not the file that was published")
    return Release(name, path, json.loads(data))


def open_current(home: str | os.PathLike[str] | None = None) -> duckdb.DuckDBPyConnection:
    """A connection in which the current release's tables stand under their schemas, read-only.

    Opening reads every byte of the database once to compare it with the manifest: Parquet and DuckDB files do not
    notice each damaged bit themselves. Raises ReleaseError.
    """
    release = current(home)
    while True:
        try:
            return _opened(release.file("marts.duckdb"))
        except (ReleaseError, duckdb.IOException):
            # As in `current`: taken away between the look and the opening.
            now = current(home)
            if now.id == release.id:
                raise
            release = now


def _opened(database: Path) -> duckdb.DuckDBPyConnection:
    con = duckdb.connect(":memory:")
    # Attached under a name of its own: the database has a schema `marts`, which its file name would hide.
    con.execute(f"attach '{str(database).replace(chr(39), chr(39) * 2)}' as strata (read_only)")
    con.execute("use strata")
    return con


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
