"""The releases that are there: which is current, what its manifest says, and whether a folder is what was published."""

import hashlib
import json
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path
from typing import Any

from pipeline.errors import StrataError
from pipeline.privacy import access_log
from pipeline.settings import Settings

# Bytes below which a second thread is not worth its start.
_SOON_HASHED = 50_000_000


def pointed(settings: Settings) -> str | None:
    """Id of the current release, whose folder is not looked at; None before the first.

    Raises StrataError where the pointer cannot be read.
    """
    try:
        return str(json.loads(settings.pointer.read_text())["release"])
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        have = ", ".join(list_releases(settings)) or "none"
        raise StrataError(
            f'{settings.pointer} is damaged: write {{"release": "ID", "path": "releases/ID"}} into it, ID being the release '
            f"that was current; there are: {have}"
        ) from error


def current(settings: Settings) -> dict[str, Any] | None:
    """Manifest of the current release, or None before the first. Raises StrataError where it is not there."""
    release = pointed(settings)
    if release is None:
        return None
    if not (settings.releases / release / "manifest.json").exists():
        have = ", ".join(list_releases(settings)) or "none"
        raise StrataError(
            f"release {release}, which {settings.pointer.name} names, is not there; there are: {have}. `strata releases "
            "rollback ID --by WHO` makes one of them current"
        )
    return load_manifest(settings, release)


def load_manifest(settings: Settings, release: str) -> dict[str, Any]:
    path = settings.releases / release / "manifest.json"
    if not path.exists():
        have = ", ".join(list_releases(settings)) or "none"
        raise StrataError(f"there is no release {release}; there are: {have}")
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise StrataError(
            f"{path} is damaged (the manifest is no JSON): remove that folder; is it the current release, `strata "
            "releases rollback ID --by WHO` first"
        ) from error


def list_releases(settings: Settings) -> list[str]:
    """Ids of every complete release, oldest first."""
    if not settings.releases.exists():
        return []
    found = [p.parent for p in settings.releases.glob("*/manifest.json") if not p.parent.name.startswith(".")]
    return sorted((p.name for p in found), key=order_of)


def order_of(release: str) -> tuple[str, int]:
    """(day, number of the release on it), by which ids are sorted."""
    day, _, revision = release.partition("-r")
    return day, int(revision or 1)


def newest_as_of(settings: Settings) -> date | None:
    """As-of date of the current release."""
    manifest = current(settings)
    return date.fromisoformat(manifest["as_of_date"]) if manifest else None


def access_log_head(settings: Settings) -> access_log.Head | None:
    """Where the vault's log stood when the current release was made."""
    stated = (current(settings) or {}).get("access_log")
    return access_log.Head(**stated) if stated else None


def verify(settings: Settings, release: str | None = None) -> tuple[str, list[str]]:
    """(id, problems) of a release, read from disk; the current one where none is named."""
    if release is None:
        manifest = current(settings)
        if manifest is None:
            raise StrataError(f"no release has been published in {settings.home} yet: run `strata run`")
        release = manifest["release"]
    said = load_manifest(settings, release)["release"]
    other = [f"the folder {release} holds release {said}"] if said != release else []
    return release, [*other, *verify_folder(settings.releases / release)]


def verify_folder(folder: Path) -> list[str]:
    """What is wrong with a release folder: every file against the manifest's size and SHA-256, none missing or extra."""
    stated = folder / "manifest.sha256"
    if not stated.is_file() or stated.read_text().strip() != sha256(folder / "manifest.json"):
        return ["manifest.json is not the file that was published"]
    manifest = json.loads((folder / "manifest.json").read_text())
    there = set(files_of(folder))
    hashes = sha256_of(folder, there & manifest["files"].keys())
    problems = []
    for path, expected in manifest["files"].items():
        if path not in there:
            problems.append(f"{path} is missing")
        elif hashes[path] != expected["sha256"] or (folder / path).stat().st_size != expected["bytes"]:
            problems.append(f"{path} is not the file that was published")
    extra = there - set(manifest["files"]) - {"manifest.json", "manifest.sha256"}
    return problems + [f"{path} does not belong to the release" for path in sorted(extra)]


def files_of(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def sha256_of(folder: Path, paths: Iterable[str]) -> dict[str, str]:
    """SHA-256 by path below the folder; of many bytes by all cores, as hashing waits for no other Python."""
    sizes = {path: (folder / path).stat().st_size for path in paths}
    largest_first = sorted(sizes, key=lambda path: -sizes[path])
    if sum(sizes.values()) < _SOON_HASHED:
        return {path: sha256(folder / path) for path in largest_first}
    with ThreadPoolExecutor() as pool:
        hashes = pool.map(lambda path: sha256(folder / path), largest_first)
        return dict(zip(largest_first, hashes, strict=True))


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
