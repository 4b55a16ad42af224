"""What a daily run looks at: every asset but the feeds that nobody delivers.

Each asset check costs a run 30 to 40 ms whether or not there is anything to check, and most homes deliver a fraction of
the feeds that have a contract.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.ingest import ledger
from pipeline.ingest.contracts import load_contracts, load_sources
from pipeline.ingest.mapping import targets
from pipeline.settings import Settings

if TYPE_CHECKING:
    from dagster import AssetKey


def feeds_in_use(settings: Settings) -> frozenset[str]:
    """Contract feeds that have a folder in landing or a row in the ledger, or that a source which has one declares."""
    pairs = {(e.source, e.feed) for e in ledger.read(settings) if e.source and e.feed}
    if settings.landing.is_dir():
        for source in _folders(settings.landing):
            pairs |= {(source.name, feed.name) for feed in _folders(source)}
    present = {source for source, _ in pairs}
    pairs |= {
        (name, feed) for name, source in load_sources().items() if name in present for feed in source.feeds
    }
    return frozenset(feed for pair in pairs for feed in targets(*pair)) & frozenset(load_contracts())


def _folders(parent: Path) -> Iterator[Path]:
    return (path for path in parent.iterdir() if path.name[0] not in "_." and path.is_dir())


def selection(settings: Settings) -> list["AssetKey"]:
    """Assets of a daily run. A feed that models read stays among them, so that its absence is noticed."""
    from pipeline.definitions import defs

    used = feeds_in_use(settings)
    graph = defs.resolve_asset_graph()

    def wanted(key: "AssetKey") -> bool:
        layer, name = key.path[0], key.path[-1]
        if layer != "raw" or name not in load_contracts() or name in used:
            return True
        return any(child.path[0] == "staging" for child in graph.get(key).child_keys)

    return sorted(key for key in graph.materializable_asset_keys if wanted(key))
