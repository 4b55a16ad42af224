"""The layout of a home has a number, so that a newer Strata can bring an older home up to it.

`home.json` states it: {"layout": 3, "made_by": "0.1.0", "migrated": [...]}. A layout changes when what is on disk can
no longer be read as it was written (vault, identity, ledger, keys, history), not with every version of Strata. Each
step of `_STEPS` goes from the number before to its own, may be interrupted and begun again, and only then the number
is written.
"""

import json
import os
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from pipeline.errors import StrataError
from pipeline.ingest.files import fsync
from pipeline.settings import Settings

LAYOUT = 3
FILE = "home.json"


def _number_it(_: Settings) -> None:
    """0 → 1: homes of before had no number; what they hold is read as it is."""


def _allow_bases(_: Settings) -> None:
    """1 → 2: the ledger and its profiles may be folded, which an older Strata would take for copies.

    What is there is read as it is; the next sweep folds it.
    """


def _who_is_who_in_parts(settings: Settings) -> None:
    """2 → 3: `links` and `history` of identity are a base and parts: an older Strata would find nobody in the home.

    The next run makes the rest of `identity/` anew.
    """
    from pipeline.identity.tables import migrate

    migrate(settings)


_STEPS: dict[int, Callable[[Settings], None]] = {
    1: _number_it,
    2: _allow_bases,
    3: _who_is_who_in_parts,
}


def read(settings: Settings) -> int | None:
    """Number of a home's layout, 0 where it was made before layouts had one, None where there is no home yet.

    Raises StrataError where `home.json` cannot be read.
    """
    path = settings.home / FILE
    if path.exists():
        try:
            return int(json.loads(path.read_text(encoding="utf-8"))["layout"])
        except (ValueError, KeyError, TypeError) as error:
            raise StrataError(f"{path} is damaged: restore it from a backup (`strata backup`)") from error
    return 0 if settings.raw.exists() or settings.vault.exists() else None


def ensure(settings: Settings, *, alone: bool = True, log: Callable[[str], None] = lambda _: None) -> None:
    """Bring the home to this version's layout. Under a lock of the home.

    Args:
        alone: whether the run lock is held, so that nobody else writes; without it an old home is refused.

    Raises:
        StrataError: where a newer Strata made the home, or an older one and `alone` is False.
    """
    there = read(settings)
    if there == LAYOUT:
        return
    if there is not None and there > LAYOUT:
        raise StrataError(
            f"{settings.home} has layout {there}, and this Strata ({version('strata')}) knows layouts up to {LAYOUT}: "
            "use the newer Strata that made it, or restore a backup from before"
        )
    if there is not None and not alone:
        raise StrataError(
            f"{settings.home} has the older layout {there}: `strata run` brings it to {LAYOUT} first"
        )
    done = []
    for number in range((LAYOUT if there is None else there) + 1, LAYOUT + 1):
        log(f"bringing {settings.home} to layout {number}")
        _STEPS[number](settings)
        done.append({"layout": number, "at": datetime.now(UTC).isoformat(timespec="seconds")})
        _write(settings, number, done)
    if there is None:
        _write(settings, LAYOUT, done)


def _write(settings: Settings, number: int, done: list[dict[str, Any]]) -> None:
    path = settings.home / FILE
    before = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    data = {
        "layout": number,
        "made_by": before.get("made_by", version("strata") if not done else None),
        "migrated": [*before.get("migrated", []), *done[-1:]],
    }
    temporary = path.with_name(f".{FILE}.tmp")
    with temporary.open("w", encoding="utf-8") as file:
        json.dump(data, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    fsync(settings.home)
