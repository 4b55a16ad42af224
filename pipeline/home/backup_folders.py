"""Which folders hold backups of a home, and the tombstones that lie beside them."""

import json
import os
from pathlib import Path
from typing import Any

from pipeline.ingest.files import fsync
from pipeline.settings import Settings

TOMBSTONES = "tombstones.json"
REGISTER = "backups.json"


def leave_tombstones(settings: Settings) -> None:
    """Put the tombstones beside the backups that the home knows of, so that a restore erases again. Folders that are
    not there (a disk that is not mounted) are passed over; the next backup into them brings the tombstones up to date."""
    source = settings.vault / TOMBSTONES
    if not source.exists():
        return
    for folder in registered(settings):
        if folder.is_dir():
            temporary = folder / f".{TOMBSTONES}.tmp"
            with temporary.open("wb") as file:
                os.fchmod(file.fileno(), 0o600)
                file.write(source.read_bytes())
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(folder / TOMBSTONES)
            fsync(folder)


def register(settings: Settings, folder: Path) -> None:
    """Remember a folder that backups are made into."""
    known = registered(settings)
    if folder not in known:
        write_durably(settings.home / REGISTER, [str(path) for path in [*known, folder]])


def registered(settings: Settings) -> list[Path]:
    """Folders that backups of this home were made into."""
    path = settings.home / REGISTER
    return [Path(text) for text in json.loads(path.read_text())] if path.exists() else []


def write_durably(path: Path, data: Any) -> None:
    """Write JSON in one rename, on disk when it returns."""
    temporary = path.with_name(f".{path.name}.tmp")
    with temporary.open("w", encoding="utf-8") as file:
        json.dump(data, file, ensure_ascii=False, default=str)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    fsync(path.parent)
