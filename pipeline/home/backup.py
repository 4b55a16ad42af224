"""Backups of a home: everything that cannot be built again, and proof that it can be read back.

`strata backup` writes `<folder>/<time>/files/…` and, last, `backup.json` with the size and SHA-256 of each file. A file
that has not changed since the backup before is the same file there, under a second name. What is built from the rest
(warehouse, dbt, Dagster's own storage) and what is delivered onward (outbox) is left out.

A backup holds the vault: keep it like the vault. Who is erased later is still in it, so backups are removed after
`backup_keep_days`, and every backup and erasure leaves the tombstones of the day in the folder: `restore` takes out again
whoever they name. Refusals that are written at the desk are left there too, and what destinations of audiences may hold:
nobody else has them.
"""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from pipeline.errors import StrataError
from pipeline.home import layout
from pipeline.home.backup_folders import (
    AUDIENCES,
    DESK,
    REGISTER,
    TOMBSTONES,
    bring_audiences,
    bring_words,
    leave_audiences,
    leave_tombstones,
    leave_words,
    register,
    tombstones,
    write_durably,
    write_tombstones,
)
from pipeline.identity import tables
from pipeline.ingest import ledger
from pipeline.ingest.files import fsync
from pipeline.ingest.vault import Vault
from pipeline.ingest.vault.private import COMPARED
from pipeline.lock import publish_lock, run_lock
from pipeline.privacy import erasure
from pipeline.publish import commit, shelf
from pipeline.publish.serving import serve
from pipeline.quality.checks import Check
from pipeline.quality.policy import thresholds
from pipeline.settings import Settings
from pipeline.words import counted

GATE = "Q-27"
_STATED = "backup.json"
_TRIAL = "strata-restore-"
# Built again by the next run, or of this machine only.
_LEFT_OUT = frozenset({"warehouse", "build", "dbt", "dagster", "serving", REGISTER})
_BLOCK = 1 << 20
Log = Callable[[str], None]


def _silent(_: str) -> None:
    pass


@dataclass(frozen=True)
class Backup:
    """One backup. `copied` of its `files` were new or changed; `rows` are those of raw."""

    path: Path
    made_at: str
    layout: int
    release: str | None
    files: int
    bytes: int
    copied: int
    rows: int
    key_included: bool

    def as_dict(self) -> dict[str, Any]:
        return asdict(self) | {"path": str(self.path)}


def make(settings: Settings, folder: Path, log: Log = _silent, now: datetime | None = None) -> Backup:
    """Back the home up below `folder`, and remove backups that are too old.

    Args:
        folder: outside the home; made with mode 0700.

    Raises:
        StrataError: where there is no home, the folder lies in it, or a file changes while it is read.
    """
    folder = folder.expanduser().resolve()
    if folder == settings.home or settings.home in folder.parents:
        raise StrataError(f"{folder} lies in the home: a backup must outlive it. Name a folder elsewhere")
    if layout.read(settings) is None:
        raise StrataError(f"{settings.home} holds nothing to back up yet: run `strata run` first")
    at = now or datetime.now(UTC)
    with run_lock(settings, log=log), publish_lock(settings, log=log):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        before = backups(folder)
        name = at.strftime("%Y-%m-%dT%H%M%SZ")
        final, candidate = folder / name, folder / f".tmp-{name}"
        if final.exists():
            raise StrataError(f"{final} is there already: wait a second")
        for leftover in folder.glob(".tmp-*"):
            _remove(leftover)
        try:
            earlier = json.loads((before[-1].path / _STATED).read_text())["files"] if before else {}
            files, copied = _copy(settings, candidate, before[-1].path if before else None, earlier, log)
            stated = {
                "made_at": at.isoformat(timespec="seconds"),
                "layout": layout.read(settings),
                "release": (shelf.current(settings) or {}).get("release"),
                "copied": copied,
                "rows": _rows(settings),
                "key_included": "token.key" in files,
                "files": files,
            }
            write_durably(candidate / _STATED, stated)
            candidate.rename(final)
            fsync(folder)
        except BaseException:
            _remove(candidate)
            raise
        register(settings, folder)
        leave_tombstones(settings)
        leave_words(settings)
        leave_audiences(settings)
    for old in _too_old(settings, folder, at):
        _remove(old.path)
        log(f"backup {old.path.name} was removed: it is older than backup_keep_days")
    return _read(final)


def backups(folder: Path) -> list[Backup]:
    """Complete backups below a folder, oldest first."""
    found = [p.parent for p in folder.glob(f"*/{_STATED}") if not p.parent.name.startswith(".")]
    return [_read(path) for path in sorted(found)]


def check(settings: Settings, backup: Backup, log: Log = _silent) -> Check:
    """Q-27: restore a backup beside itself, into a folder that is removed again, and count what came back."""
    for leftover in backup.path.parent.glob(f"{_TRIAL}*"):
        # Of a trial that was killed: it holds the vault.
        _remove(leftover)
    with tempfile.TemporaryDirectory(prefix=_TRIAL, dir=backup.path.parent) as scratch:
        home = Path(scratch) / "home"
        problems = []
        try:
            _put_back(backup, home, log)
        except StrataError as error:
            problems.append(str(error))
        if not problems:
            problems += _counted(backup, replace(settings, home=home))
        _unlock(Path(scratch))
    return Check(
        "table",
        "releases.backup",
        "backup_restores",
        "warn",
        not problems,
        len(problems),
        0,
        "The newest backup cannot be read back as it was written (Q-27): after a loss there would be nothing to go "
        "back to.\n\nMake another on a sound disk (`strata backup`).",
        tuple(problems[:5]),
        GATE,
    )


def restore(settings: Settings, folder: Path, log: Log = _silent) -> tuple[Backup, int]:
    """Fill an empty home from a backup, or from the newest of a folder. Returns it and how many persons were erased since.

    Whoever was erased after the backup is taken out of vault, raw and quarantine again, and refusals that were written
    at the desk since are there again. Then no release is current until the next run has made one without these people.

    Raises:
        StrataError: where the home is not empty, there is no backup, or a file is not what was backed up: the home is
            left as it was.
    """
    folder = folder.expanduser().resolve()
    if settings.home.exists() and any(settings.home.iterdir()):
        raise StrataError(f"{settings.home} is not empty: restore into a new home (--home)")
    found = [_read(folder)] if (folder / _STATED).is_file() else backups(folder)
    if not found:
        raise StrataError(f"{folder} holds no complete backup")
    backup = found[-1]
    settings.home.parent.mkdir(parents=True, exist_ok=True)
    # Of a name that the next attempt knows: a killed one leaves clear data there.
    scratch = settings.home.with_name(f".{settings.home.name}.restoring")
    _remove(scratch)
    scratch.mkdir(mode=0o700)
    apart = replace(settings, home=scratch / "home")
    try:
        _put_back(backup, apart.home, log)
        problems = _counted(backup, apart)
        if problems:
            raise StrataError(f"backup {backup.path.name} does not restore: {problems[0]}")
        beside = backup.path.parent
        bring_audiences(beside / AUDIENCES, apart.vault / AUDIENCES)
        words = bring_words(beside / DESK, apart.vault / DESK)
        newer = _bring_tombstones(apart, beside / TOMBSTONES)
        if words:
            log(f"{counted(words, 'refusal')} written at the desk since this backup: the next run heeds them")
        if words or newer:
            # Its current release may hold people who were erased or have refused since.
            apart.pointer.unlink(missing_ok=True)
        # Before the home has its name: a restore that dies gives nobody back.
        erased = _erase_again(apart, log) if newer else 0
        with suppress(FileNotFoundError):
            settings.home.rmdir()
        apart.home.rename(settings.home)
    finally:
        _remove(scratch)
    if settings.pointer.exists():
        serve(settings, json.loads(settings.pointer.read_text())["release"])
    return backup, erased


def _copy(
    settings: Settings, candidate: Path, previous: Path | None, earlier: Mapping[str, Any], log: Log
) -> tuple[dict[str, Any], int]:
    """Copy the home's files; (what each is, number of those that were not in the backup before)."""
    files: dict[str, Any] = {}
    copied = 0
    for source in _files(settings.home):
        path = source.relative_to(settings.home).as_posix()
        target = candidate / "files" / path
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        state = source.stat()
        known = earlier.get(path)
        if known and previous and (known["bytes"], known["mtime_ns"]) == (state.st_size, state.st_mtime_ns):
            files[path] = known
            try:
                os.link(previous / "files" / path, target)
                continue
            except OSError:
                # Some file systems have no second names.
                pass
        digest = _copy_file(source, target)
        now = source.stat()
        if (now.st_size, now.st_mtime_ns) != (state.st_size, state.st_mtime_ns):
            raise StrataError(
                f"{source} changed while it was backed up: is a command of an older Strata running?"
            )
        files[path] = {
            "sha256": digest,
            "bytes": state.st_size,
            "mtime_ns": state.st_mtime_ns,
            "mode": state.st_mode & 0o777,
        }
        copied += 1
        if copied % 1000 == 0:
            log(f"{copied:,} files copied")
    return files, copied


def _files(home: Path) -> Iterator[Path]:
    for path in sorted(home.rglob("*")):
        parts = path.relative_to(home).parts
        if parts[0] in _LEFT_OUT or parts[:2] == ("vault", "outbox") or path.name.endswith(".lock"):
            continue
        if parts[0] == "vault" and path.name.startswith(COMPARED):
            continue
        if any(part.startswith(".tmp-") or part == ".spill" for part in parts):
            continue
        if path.is_file() and not path.is_symlink():
            yield path


def _copy_file(source: Path, target: Path) -> str:
    """Copy durably with the source's times and mode; SHA-256 of what was copied."""
    digest = hashlib.sha256()
    with source.open("rb") as read, target.open("wb") as write:
        while block := read.read(_BLOCK):
            digest.update(block)
            write.write(block)
        write.flush()
        os.fsync(write.fileno())
    shutil.copystat(source, target)
    return digest.hexdigest()


def _put_back(backup: Backup, home: Path, log: Log) -> None:
    """Copy a backup's files to a new home. Raises StrataError at the first that is missing or another."""
    files = json.loads((backup.path / _STATED).read_text())["files"]
    for done, (path, stated) in enumerate(files.items(), 1):
        source, target = backup.path / "files" / path, home / path
        if not source.is_file():
            raise StrataError(f"{path} is missing from the backup {backup.path}")
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        if _copy_file(source, target) != stated["sha256"]:
            raise StrataError(f"{path} is not the file that was backed up in {backup.path}")
        if done % 1000 == 0:
            log(f"{done:,} of {len(files):,} files restored")
    for path, stated in files.items():
        (home / path).chmod(stated["mode"])
    for folder in sorted((p for p in home.rglob("*") if p.is_dir()), reverse=True):
        inside = folder.relative_to(home).parts
        # The modes that the home itself gives: the vault is its owner's, a release is nobody's to change.
        folder.chmod(
            0o700 if inside[0] == "vault" else 0o555 if inside[0] == "releases" and len(inside) > 1 else 0o755
        )


def _counted(backup: Backup, restored: Settings) -> list[str]:
    """What is wrong with a restored home: rows of raw against the ledger, the current release against its manifest."""
    problems = []
    rows = _rows(restored)
    if rows != backup.rows:
        problems.append(f"raw holds {rows:,} rows, and {backup.rows:,} were backed up")
    ledger.read(restored)
    if backup.release:
        found = shelf.current(restored)
        if not found or found["release"] != backup.release:
            problems.append(f"release {backup.release} is not current in it")
        problems += shelf.verify_folder(restored.releases / backup.release)
    return problems


def _rows(settings: Settings) -> int:
    """Rows of raw, from the footers of its files."""
    return sum(
        pq.read_metadata(path).num_rows
        for path in settings.raw.rglob("*.parquet")
        if not path.relative_to(settings.raw).parts[0].startswith("_")
    )


def _bring_tombstones(settings: Settings, left: Path) -> bool:
    """Add the tombstones that were left since the backup; whether there were any."""
    own = settings.vault / TOMBSTONES
    known, later = tombstones(own), tombstones(left)
    if later.keys() <= known.keys():
        return False
    write_tombstones(own, known | later)
    return True


def _erase_again(settings: Settings, log: Log) -> int:
    """Take whoever the tombstones name out of vault, raw and quarantine. Number of persons."""
    erased = Vault(settings, "restore").tombstones
    with run_lock(settings, log=log):
        # A backup of an older layout is brought to this one first.
        links = tables.links(settings, ("source", "source_customer_id", "customer_key"))
    again = [
        row
        for row in (links.to_pylist() if links is not None else [])
        if erased.erased_on("key", row["customer_key"])
        or erased.has_customer(row["source"], row["source_customer_id"])
    ]
    if not again:
        return 0
    keys = sorted({row["customer_key"] for row in again})
    log(f"{counted(len(keys), 'person')} erased since this backup: taken out again")
    with run_lock(settings, log=log):
        erasure.begin(
            settings,
            [(row["source"], row["source_customer_id"]) for row in again],
            keys,
            (),
            by="restore",
            reason="erased after the backup was made",
        )
        erasure.settle(settings, log)
    return len(keys)


def _too_old(settings: Settings, folder: Path, now: datetime) -> list[Backup]:
    """Backups older than policy keeps them; never the newest."""
    day = shelf.newest_as_of(settings) or date.today()
    keep = timedelta(days=thresholds(day)["backup_keep_days"])
    return [b for b in backups(folder)[:-1] if datetime.fromisoformat(b.made_at) < now - keep]


def _read(path: Path) -> Backup:
    try:
        stated = json.loads((path / _STATED).read_text(encoding="utf-8"))
        files = stated.pop("files")
        return Backup(path=path, files=len(files), bytes=sum(f["bytes"] for f in files.values()), **stated)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StrataError(
            f"{path / _STATED} cannot be read: this backup is damaged, take an older one"
        ) from error


def _unlock(folder: Path) -> None:
    """Folders of releases are read-only; what is in them could not be removed."""
    for path in folder.rglob("*"):
        if path.is_dir():
            path.chmod(0o700)


def _remove(folder: Path) -> None:
    if folder.exists():
        commit.remove(folder)
