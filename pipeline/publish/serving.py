"""`serving/marts.duckdb`: one path for tools that cannot follow a pointer. One file is one snapshot.

It is replaced in one step after the pointer has moved, so such a tool sees one release or the next one, never parts of
both; a file that it has open stays what it was.
"""

import os
import shutil
from contextlib import suppress
from pathlib import Path

from pipeline.ingest.files import fsync
from pipeline.settings import Settings


def serve(settings: Settings, release: str) -> None:
    """Put the database of a release at the stable path; nothing happens where it is there already."""
    source, target = settings.releases / release / "marts.duckdb", settings.serving
    with suppress(FileNotFoundError):
        if _same(source, target):
            return
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.tmp")
    temporary.unlink(missing_ok=True)
    try:
        os.link(source, temporary)
    except OSError:
        # Some file systems have no second names.
        shutil.copyfile(source, temporary)
        temporary.chmod(0o444)
        fsync(temporary)
    temporary.replace(target)
    fsync(target.parent)


def _same(source: Path, target: Path) -> bool:
    ours, theirs = source.stat(), target.stat()
    return (ours.st_ino, ours.st_dev, ours.st_size, ours.st_mtime_ns) == (
        theirs.st_ino,
        theirs.st_dev,
        theirs.st_size,
        theirs.st_mtime_ns,
    )
