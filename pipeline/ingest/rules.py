"""Which rules a file was read under: one hash, kept in the ledger, by which a replay knows what it could change."""

import hashlib
from pathlib import Path

from pipeline.ingest.contracts import Source, delivered_contract, load_contracts
from pipeline.ingest.mapping import targets
from pipeline.settings import MAPPINGS_DIR, Settings

_CODE = (
    "cast.py",
    "reading/content.py",
    "reading/csv_chunks.py",
    "documents.py",
    "large_files.py",
    "loader.py",
    "mapping.py",
    "pending.py",
    "reading/key_order.py",
    "reading/reader.py",
    "reading/texts.py",
    "reading/workbook.py",
    "rows.py",
    "take_over.py",
    "zones.py",
)


def rules_of(settings: Settings, source: Source, feed: str) -> str:
    """Hash of everything that decides what becomes of a record of a feed: contracts, declaration, SQL, our code."""
    digest = hashlib.sha256()
    # Another feed of the same source does not matter here.
    declared = source.model_copy(update={"feeds": {k: v for k, v in source.feeds.items() if k == feed}})
    parts: list[object] = [delivered_contract(source, feed), declared, settings.timezone]
    for target in targets(source.source, feed):
        parts.append(load_contracts().get(target))
        sql = MAPPINGS_DIR / source.source / f"{target}.sql"
        parts.append(sql.read_text(encoding="utf-8") if sql.exists() else None)
    for part in parts:
        digest.update(repr(part).encode())
    for name in _CODE:
        digest.update(Path(__file__).parent.joinpath(name).read_bytes())
    return digest.hexdigest()[:16]
