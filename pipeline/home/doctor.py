"""`strata doctor`: is this home in order, how large is it, and what would be removed."""

import json
import os
import shutil
import stat
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Literal

import duckdb

from pipeline import duck
from pipeline.errors import StrataError
from pipeline.home import backup, backup_folders, layout
from pipeline.publish import pruning, shelf
from pipeline.quality.policy import thresholds
from pipeline.settings import Settings

State = Literal["ok", "look", "broken"]
_PARTS = (
    "releases",
    "raw",
    "vault",
    "quarantine",
    "identity",
    "evaluation",
    "warehouse",
    "build",
    "dbt",
    "dagster",
    "serving",
)
_MARKS = {"ok": "ok    ", "look": "look  ", "broken": "BROKEN"}


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at. `told` says what was seen and, where it is not ok, what to do."""

    what: str
    state: State
    told: str


@dataclass(frozen=True)
class Examination:
    """`bytes` by part of the home; a file with two names (releases and serving) counts once. `prunable`: id → bytes."""

    home: Path
    bytes: dict[str, int]
    budget_bytes: int
    prunable: dict[str, int]
    findings: tuple[Finding, ...]

    @property
    def is_sound(self) -> bool:
        return all(finding.state != "broken" for finding in self.findings)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self) | {"home": str(self.home), "is_sound": self.is_sound}


def examine(settings: Settings, now: datetime | None = None) -> Examination:
    """Look at a home; nothing is changed. Raises StrataError where there is none."""
    if layout.read(settings) is None:
        raise StrataError(f"{settings.home} is no home yet: `strata run` makes one")
    sizes = _sizes(settings.home)
    day = _as_of(settings)
    budget = int(thresholds(day)["home_budget_gb"] * 1e9)
    at = now or datetime.now(UTC)
    prunable = {name: _bytes(settings.releases / name) for name in pruning.prunable(settings, at)}
    findings = (
        _layout(settings),
        _pointer(settings),
        _modes(settings),
        _key(settings),
        _leftovers(settings),
        _budget(sizes, budget),
        _room(settings, sizes),
        _warehouse(settings),
        _backups(settings, at, day),
        _last_run(settings),
    )
    return Examination(settings.home, sizes, budget, prunable, findings)


def told(found: Examination) -> str:
    """The examination as lines for a person."""
    total = sum(found.bytes.values())
    lines = [f"{found.home}: {_size(total)} of a budget of {_size(found.budget_bytes)}"]
    widest = max(found.bytes.values(), default=0) or 1
    for part, size in sorted(found.bytes.items(), key=lambda item: -item[1]):
        lines.append(f"  {part:<12}{_size(size):>10}  {'█' * round(30 * size / widest)}")
    if found.prunable:
        lines.append(
            f"`strata releases prune` would remove {len(found.prunable)}: {', '.join(found.prunable)} "
            f"({_size(sum(found.prunable.values()))})"
        )
    lines += [f"{_MARKS[f.state]}  {f.what}: {f.told}" for f in found.findings]
    return "\n".join(lines)


def _as_of(settings: Settings) -> date:
    try:
        return shelf.newest_as_of(settings) or date.today()
    except StrataError:
        return date.today()


def _layout(settings: Settings) -> Finding:
    number = layout.read(settings)
    if number == layout.LAYOUT:
        return Finding("layout", "ok", f"{number}, the one of this version")
    if number is not None and number < layout.LAYOUT:
        return Finding("layout", "look", f"{number}; the next `strata run` brings it to {layout.LAYOUT}")
    return Finding("layout", "broken", f"{number}, made by a newer Strata: use that one")


def _pointer(settings: Settings) -> Finding:
    try:
        name, problems = shelf.verify(settings)
    except (StrataError, ValueError, KeyError, OSError) as error:
        state: State = "look" if not settings.pointer.exists() else "broken"
        return Finding("release", state, str(error))
    if problems:
        return Finding(
            "release", "broken", f"{name}: {problems[0]}. `strata releases rollback` to one that verifies"
        )
    return Finding("release", "ok", f"{name} is current and every file is as published")


def _modes(settings: Settings) -> Finding:
    if not settings.vault.exists():
        return Finding("vault", "look", "there is none yet")
    open_to_others = [
        path
        for path in (
            settings.vault,
            *(p for p in settings.vault.glob("*") if p.is_file()),
            settings.token_key,
        )
        if path.exists() and stat.S_IMODE(path.stat().st_mode) & 0o077
    ]
    if open_to_others:
        names = ", ".join(str(path.relative_to(settings.home)) for path in open_to_others[:3])
        return Finding("vault", "broken", f"others may read {names}: chmod -R go= {settings.vault}")
    return Finding("vault", "ok", "its owner's alone")


def _key(settings: Settings) -> Finding:
    if os.environ.get("STRATA_TOKEN_KEY"):
        return Finding(
            "token key", "ok", "from the environment; keep a copy where no disk failure reaches it"
        )
    if settings.token_key.exists():
        return Finding("token key", "look", "in token.key beside the data: production sets STRATA_TOKEN_KEY")
    if (settings.vault / "keys.json").exists():
        return Finding(
            "token key", "broken", "is missing though tokens exist: set STRATA_TOKEN_KEY, or restore"
        )
    return Finding("token key", "look", "made on first use")


def _leftovers(settings: Settings) -> Finding:
    left = [*settings.releases.glob(".tmp-*"), *settings.home.rglob("*.duckdb.wal")]
    if left:
        names = ", ".join(str(path.relative_to(settings.home)) for path in left[:3])
        return Finding(
            "leftovers", "look", f"{names}, of a run that died or goes on; the next one clears them"
        )
    return Finding("leftovers", "ok", "none")


def _budget(sizes: dict[str, int], budget: int) -> Finding:
    total = sum(sizes.values())
    if total > budget:
        return Finding(
            "budget",
            "look",
            f"{_size(total)} is over home_budget_gb ({_size(budget)}): prune, or raise the row",
        )
    return Finding("budget", "ok", f"{total / budget:.0%} used")


def _room(settings: Settings, sizes: dict[str, int]) -> Finding:
    free = shutil.disk_usage(settings.home).free
    # A run writes the warehouse anew beside the old one, and a release.
    needed = 2 * sizes.get("warehouse", 0) + max(map(_bytes, _kept(settings)), default=0)
    if free < needed:
        return Finding("disk", "broken", f"{_size(free)} free, and the next run may write {_size(needed)}")
    return Finding("disk", "ok", f"{_size(free)} free, {_size(needed)} needed for a run")


def _warehouse(settings: Settings) -> Finding:
    """How much of the file holds nothing: an increment writes tables anew beside the old ones and uses the room again."""
    if not settings.warehouse.exists():
        return Finding("warehouse", "ok", "none yet; the next run builds it")
    try:
        with duck.connect([settings.warehouse.parent], database=settings.warehouse, read_only=True) as con:
            row = con.execute(
                "select block_size * total_blocks, block_size * free_blocks from pragma_database_size() "
                "where database_name = current_database()"
            ).fetchone()
    except StrataError as error:
        return Finding("warehouse", "look", str(error))
    except duckdb.Error as error:
        told = f"cannot be opened ({duck.without_values(error)}); `strata run --full` builds it anew"
        return Finding("warehouse", "broken", told)
    total, free = row or (0, 0)
    return Finding(
        "warehouse",
        "ok",
        f"{_size(free)} of its {_size(total)} are kept for the next build; `strata run --full` gives them back",
    )


def _kept(settings: Settings) -> Iterator[Path]:
    yield from (settings.releases / name for name in shelf.list_releases(settings))


def _backups(settings: Settings, now: datetime, day: date) -> Finding:
    made = [
        b for folder in backup_folders.registered(settings) if folder.is_dir() for b in backup.backups(folder)
    ]
    if not made:
        return Finding("backup", "look", "none: `strata backup FOLDER` on another disk")
    newest = max(made, key=lambda b: b.made_at)
    age = (now - datetime.fromisoformat(newest.made_at)).days
    limit = int(thresholds(day)["backup_age_days_max"])
    if age > limit:
        return Finding("backup", "look", f"{newest.path} is {age} days old, more than {limit}")
    return Finding("backup", "ok", f"{newest.path}, {age} days old")


def _last_run(settings: Settings) -> Finding:
    path = settings.build / "stopped.json"
    if path.exists():
        stopped = json.loads(path.read_text())
        names = ", ".join(check["check"] for check in stopped["checks"])
        return Finding(
            "gate", "look", f"{names} stopped the publication of {stopped['as_of_date']}: `strata gate show`"
        )
    return Finding("gate", "ok", "nothing is stopped at publication")


def _sizes(home: Path) -> dict[str, int]:
    """Bytes by part, other files under `other`."""
    seen: set[tuple[int, int]] = set()
    sizes: dict[str, int] = {}
    for path in sorted(home.rglob("*")):
        if path.is_symlink() or not path.is_file():
            continue
        state = path.stat()
        if (state.st_dev, state.st_ino) in seen:
            continue
        seen.add((state.st_dev, state.st_ino))
        first = path.relative_to(home).parts[0]
        part = first if first in _PARTS else "other"
        sizes[part] = sizes.get(part, 0) + state.st_size
    return sizes


def _bytes(folder: Path) -> int:
    return sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())


def _size(n: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if n < 1000:
            return f"{n:.0f} {unit}" if unit == "B" else f"{n:.1f} {unit}"
        n /= 1000
    return f"{n:.1f} TB"
