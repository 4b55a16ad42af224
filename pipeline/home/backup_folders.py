"""Which folders hold backups of a home, and what lies beside them so that a restore loses no word of a person: the
tombstones of who was erased, the refusals that were written at the desk, and what destinations of audiences may hold."""

import json
import os
import shutil
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from pipeline.ingest.files import fsync
from pipeline.ingest.vault.private import write_private
from pipeline.settings import Settings

TOMBSTONES = "tombstones.json"
REGISTER = "backups.json"
DESK = "desk"
AUDIENCES = "audiences"
_REFUSALS = ("consents", "dsr")
"""Feeds of the desk that hold ids and no clear personal data."""


def leave_tombstones(settings: Settings) -> None:
    """Put the tombstones beside the backups that the home knows of, so that a restore erases again. Folders that are
    not there (a disk that is not mounted) are passed over; the next backup into them brings the tombstones up to date.

    What lies there stays: a home that was itself restored from an older copy may know less.
    """
    own = tombstones(settings.vault / TOMBSTONES)
    if not own:
        return
    for folder in registered(settings):
        if folder.is_dir():
            write_tombstones(folder / TOMBSTONES, tombstones(folder / TOMBSTONES) | own)


def tombstones(path: Path) -> dict[tuple[str, str], dict[str, Any]]:
    """The rows of a file of tombstones by kind and token; none where there is no file."""
    rows = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    return {(row["kind"], row["token"]): row for row in rows}


def write_tombstones(path: Path, rows: Mapping[tuple[str, str], Mapping[str, Any]]) -> None:
    """Write a file of tombstones as `Tombstones` reads it."""
    write_private(path, json.dumps([rows[key] for key in sorted(rows)], indent=0) + "\n")


def leave_words(settings: Settings) -> None:
    """Put what was refused at the desk beside the backups that the home knows of, as `leave_tombstones` does."""
    for folder in registered(settings):
        if folder.is_dir():
            bring_words(settings.vault / DESK, folder / DESK)


def bring_words(source: Path, target: Path) -> int:
    """Copy the refusals of one desk that another does not have; their number."""
    new = [path for path in _refusals(source) if not (target / path.relative_to(source)).exists()]
    for path in new:
        place = target / path.relative_to(source)
        for folder in reversed(place.relative_to(target).parents):
            (target / folder).mkdir(exist_ok=True, mode=0o700)
        write_private(place, path.read_text(encoding="utf-8"))
    return len(new)


def take_words_away(settings: Settings, names: Collection[str]) -> None:
    """Remove words of the desk, `<source>/<feed>/<file>`, beside the backups as well: who said them was erased."""
    for folder in registered(settings):
        for name in names:
            (folder / DESK / name).unlink(missing_ok=True)


def _refusals(desk: Path) -> Iterator[Path]:
    for feed in _REFUSALS:
        yield from sorted(desk.glob(f"*/{feed}/*.jsonl"))


def leave_audiences(settings: Settings, states: Collection[Path] | None = None) -> None:
    """Put what destinations may hold beside the backups that the home knows of: who was sent since a backup must be removed
    after a restore all the same.

    Args:
        states: folders of `vault/audiences` that have just been written; all where None.
    """
    for folder in registered(settings):
        if folder.is_dir():
            bring_audiences(settings.vault / AUDIENCES, folder / AUDIENCES, states)


def bring_audiences(source: Path, target: Path, states: Collection[Path] | None = None) -> None:
    """Make the states below `target` those of `source`; states that only `target` has stay. The tables come first and
    `state.json`, which names them, last: a copy that dies leaves the state of before."""
    for state in [p.parent for p in sorted(source.glob("*/*/state.json"))] if states is None else states:
        place = target / state.relative_to(source)
        for folder in reversed([place, *place.parents][: len(state.relative_to(source).parts) + 1]):
            folder.mkdir(exist_ok=True, mode=0o700)
        old = {path.name for path in place.glob("*.parquet")}
        new = {path.name for path in state.glob("*.parquet")}
        for name in new:
            temporary = place / f".{name}.tmp"
            shutil.copy2(state / name, temporary)
            fsync(temporary)
            temporary.replace(place / name)
        write_private(place / "state.json", (state / "state.json").read_text(encoding="utf-8"))
        for name in old - new:
            (place / name).unlink()


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
