"""From a candidate to a release: sealed, read back, made durable, named, and pointed to.

`CURRENT.json` is the only commit point: whatever dies before its rename has published nothing.
"""

import json
import os
import re
import shutil
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

from pipeline.errors import StrataError
from pipeline.ingest.files import fsync
from pipeline.publish.serving import serve
from pipeline.publish.shelf import files_of, order_of, pointed, sha256, sha256_of, verify_folder
from pipeline.settings import Settings


def seal(
    settings: Settings,
    candidate: Path,
    manifest: dict[str, Any],
    *,
    is_current: bool,
    hashes: Mapping[str, str] | None = None,
) -> None:
    """Write the manifest of a candidate, read everything back, and give it its name `manifest["release"]`.

    Args:
        is_current: move the pointer to it; a republished older release leaves the pointer where it is.
        hashes: SHA-256 of files of the candidate that the caller has asked already. Reading back notices a wrong one.
    """
    known, files = hashes or {}, files_of(candidate)
    known = {**sha256_of(candidate, [path for path in files if path not in known]), **known}
    manifest["files"] = {
        path: {"sha256": known[path], "bytes": (candidate / path).stat().st_size} for path in files
    }
    _write_json(candidate / "manifest.json", manifest)
    (candidate / "manifest.sha256").write_text(sha256(candidate / "manifest.json") + "\n")
    problems = verify_folder(candidate)
    if problems:
        raise StrataError(f"the candidate does not read back as written: {problems[0]}")
    _commit(settings, candidate, manifest, is_current=is_current)


def link_unchanged(
    settings: Settings, candidate: Path, before: Mapping[str, Any] | None, hashes: Mapping[str, str]
) -> None:
    """One file on the disk for both releases where the bytes are those of the current one and it still has them."""
    if before is None:
        return
    for path, digest in hashes.items():
        stated, kept = before["files"].get(path), settings.releases / before["release"] / path
        if not stated or stated["sha256"] != digest or not kept.is_file() or sha256(kept) != digest:
            continue
        linked = candidate / f"{path}.link"
        try:
            os.link(kept, linked)
        except OSError:
            # A file system without hard links, or with no more room for them: the candidate keeps its own copy.
            return
        linked.replace(candidate / path)


def link(source: str | os.PathLike[str], target: str | os.PathLike[str]) -> None:
    """A file of a release in a candidate, too: one on the disk for both, where the file system can."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def next_id(settings: Settings, as_of: date) -> str:
    """The day itself for its first release, then `<D>-rN` above every N that was ever given: no id is given twice, also
    where somebody took the newest folder away."""
    day = as_of.isoformat()
    there = [p.name for p in settings.releases.iterdir()] if settings.releases.exists() else []
    taken = [order_of(name)[1] for name in there if re.fullmatch(rf"{day}(-r\d+)?", name)]
    last = max([*taken, _given(settings).get(day, 0)])
    return f"{day}-r{last + 1}" if last else day


def _given(settings: Settings) -> dict[str, int]:
    """Day → highest number of a release of it. A home of before has no such file, or one that begins later."""
    try:
        given = json.loads(settings.release_ids.read_text(encoding="utf-8"))
        return {day: int(number) for day, number in given.items()}
    except FileNotFoundError:
        return {}
    except (ValueError, TypeError, AttributeError) as error:
        raise StrataError(
            f"{settings.release_ids} is damaged: restore it from a backup, or remove it where no release was ever taken "
            "away by hand"
        ) from error


def _keep_id(settings: Settings, release: str) -> None:
    """Once the folder has the id: whoever dies before has given none."""
    day, number = order_of(release)
    given = _given(settings)
    if given.get(day, 0) < number:
        _write_json(settings.release_ids, given | {day: number})


def _commit(settings: Settings, candidate: Path, manifest: Mapping[str, Any], *, is_current: bool) -> None:
    """Make the folder durable and read-only, give it its name, then write the pointer: the one commit point.

    Raises StrataError where the release does not follow the current one, or its id has been given.
    """
    release, final = manifest["release"], settings.releases / manifest["release"]
    if final.exists():
        raise StrataError(f"release {release} is there already; nothing was published")
    now = pointed(settings)
    if is_current and now not in (
        manifest["previous_release"],
        manifest.get("redacts", {}).get("release"),
    ):
        raise StrataError(
            f"release {release} was built upon {manifest['previous_release']}, but {now} has become current "
            "since; nothing was published: run again"
        )
    for path in files_of(candidate):
        fsync(candidate / path)
        (candidate / path).chmod(0o444)
    for folder in sorted((p for p in candidate.rglob("*") if p.is_dir()), reverse=True):
        fsync(folder)
        folder.chmod(0o555)
    fsync(candidate)
    candidate.chmod(0o555)
    candidate.rename(final)
    fsync(settings.releases)
    if is_current:
        point(settings, release)
    else:
        _keep_id(settings, release)


def point(settings: Settings, release: str) -> None:
    """The one commit point; the stable path for tools that cannot read it follows."""
    _keep_id(settings, release)
    _write_json(settings.pointer, {"release": release, "path": f"releases/{release}"})
    serve(settings, release)


def sweep_leftovers(settings: Settings) -> None:
    """Remove what a run that died left behind. Only under the run lock."""
    for path in settings.releases.glob(".tmp-*"):
        remove(path)


def delete(settings: Settings, release: str) -> None:
    """Delete a kept release: gone in one rename, so that whoever dies at it leaves no half release but a leftover."""
    folder = settings.releases / release
    if folder.exists():
        gone = settings.releases / f".tmp-gone-{release}"
        folder.rename(gone)
        fsync(settings.releases)
        remove(gone)


def remove(folder: Path) -> None:
    """Remove a folder that may be read-only already."""
    if folder.exists():
        for path in (folder, *(p for p in folder.rglob("*") if p.is_dir())):
            path.chmod(0o755)
        shutil.rmtree(folder)


def _write_json(path: Path, data: Mapping[str, Any]) -> None:
    """Write durably and in one rename."""
    temporary = path.with_name(f".{path.name}.tmp")
    with temporary.open("w", encoding="utf-8") as file:
        json.dump(data, file, ensure_ascii=False, indent=1, default=str)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    fsync(path.parent)
