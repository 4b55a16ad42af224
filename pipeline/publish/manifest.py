"""What a release says of itself: manifest.json, and whether two releases say the same."""

from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, date, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pipeline import duck
from pipeline.duck import parquet
from pipeline.ingest import ledger
from pipeline.ingest.mapping import targets
from pipeline.privacy import access_log
from pipeline.publish import contract
from pipeline.publish.tables import PublishedTable, path_of
from pipeline.quality.checks import Check
from pipeline.quality.policy import thresholds
from pipeline.settings import Settings
from pipeline.transform import receipt
from pipeline.transform.context import policy_presets, reporting_currency


def describe(
    settings: Settings,
    as_of: date,
    release: str,
    run_id: str,
    proof: receipt.Receipt,
    checks: list[Check],
    tables: list[PublishedTable],
    folder: Path,
    before: Mapping[str, Any] | None,
    hashes: Mapping[str, str],
) -> dict[str, Any]:
    entries = [e for e in ledger.read(settings) if e.dt is None or e.dt < as_of]
    in_force = ledger.in_force(entries, as_of)
    enabled = {
        feed for e in in_force if e.status == "loaded" for feed in targets(e.source or "", e.feed or "")
    }
    described: dict[str, Any] = {}
    policy_version = None
    con = duck.connect([folder])
    for table in tables:
        file = folder / path_of(table)
        columns = con.execute(f"describe select * from {parquet(file)}").fetchall()
        rows = con.execute(f"select count(*) from {parquet(file)}").fetchone()
        if policy_version is None and "policy_version" in table.columns:
            found = con.execute(f"select max(policy_version) from {parquet(file)}").fetchone()
            policy_version = found[0] if found else None
        missing = [feed for feed in table.requires_feeds if feed not in enabled]
        described[table.key] = {
            "rows": rows[0] if rows else 0,
            "sha256": hashes[path_of(table).as_posix()],
            "bytes": file.stat().st_size,
            "status": "not_enabled" if missing else "published",
            "columns": {c[0]: c[1] for c in columns},
            "grain": list(table.grain),
            "counted_from": table.counted_from,
            **({"optional_grain": list(table.optional)} if table.optional else {}),
            **({"schemes": table.schemes} if table.schemes else {}),
            **({"missing_feeds": missing} if missing else {}),
        }
    con.close()
    feeds: dict[str, Any] = {}
    for entry in in_force:
        for feed in targets(entry.source or "", entry.feed or ""):
            shown = feeds.setdefault(
                f"{entry.source}/{feed}", {"files": 0, "latest_dt": None, "status": "enabled"}
            )
            shown["files"] += 1
            shown["latest_dt"] = max(filter(None, (shown["latest_dt"], str(entry.dt))))
    accounting = {
        name: sum(getattr(e, name) for e in ledger.last_readings(entries))
        for name in ("rows_read", "rows_loaded", "rows_rejected", "rows_duplicate")
    }
    return {
        "release": release,
        "as_of_date": as_of.isoformat(),
        "policy_version": policy_version,
        "currency": reporting_currency(settings, in_force),
        "k_anon_min": int(thresholds(as_of)["k_anon_min"]),
        "channel_window_days": _channel_days(settings, as_of),
        **contract.load().as_manifest(),
        "previous_release": before["release"] if before else None,
        "fingerprint": proof.fingerprint,
        # The next build goes on from its rows where they are what this release says.
        "warehouse": proof.warehouse,
        "run_id": run_id,
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": {
            name: version(name) for name in ("strata", "duckdb", "dbt-core", "dagster", "great-expectations")
        },
        "tables": described,
        "feeds": feeds,
        "inputs": {e.delivery: e.sha256 for e in in_force},
        "accounting": accounting,
        "checks": [check.as_dict() for check in checks],
        # Anchors the log: a release is read-only, so lines that are cut off later are missed.
        "access_log": asdict(access_log.head(settings)),
    }


def _channel_days(settings: Settings, as_of: date) -> int:
    """Days that the channels are told of, as the build's policy says: the preset goes before the thresholds."""
    preset = {row["key"]: row["value"] for row in policy_presets().get(settings.policy_preset or "", ())}
    return int(preset.get("channel_window_days", thresholds(as_of)["channel_window_days"]))


def says_the_same(before: Mapping[str, Any], built_from: str, hashes: Mapping[str, str]) -> bool:
    """Same inputs, policy and SQL, and the same bytes in every table but those of `operations` (clock times)."""

    def tables(files: Mapping[str, str]) -> dict[str, str]:
        return {
            p: h
            for p, h in files.items()
            if p.endswith(".parquet") and not p.startswith("tables/operations/")
        }

    published = {path: file["sha256"] for path, file in before["files"].items()}
    return before["fingerprint"] == built_from and tables(published) == tables(hashes)
