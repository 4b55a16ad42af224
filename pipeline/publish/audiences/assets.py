"""Audience files as a Dagster asset: what the vault's outbox holds for each destination after a release."""

import json

from dagster import (
    AssetCheckResult,
    AssetCheckSeverity,
    AssetCheckSpec,
    AssetExecutionContext,
    AssetKey,
    BackfillPolicy,
    MaterializeResult,
    MetadataValue,
    asset,
)

from pipeline import alerts
from pipeline import settings as settings_module
from pipeline.progress import say
from pipeline.publish.audiences import export as exports
from pipeline.publish.shelf import current
from pipeline.resources import RunLock
from pipeline.schedule_days import daily_partitions
from pipeline.settings import Settings

_KEY = AssetKey(["releases", "audience_files"])
_CHECK = AssetCheckSpec(
    "audiences_were_written",
    asset=_KEY,
    description="An audience would change more than policy allows at once, or would go abroad without a basis.\n\nIts "
    "destination keeps what it has; withdrawals were sent all the same. `strata audiences export` says which and why, "
    "and takes `--approved-by`.",
)


@asset(
    key=_KEY,
    deps=[AssetKey(["releases", "current"])],
    group_name="releases",
    owners=["team:marketing"],
    kinds={"csv"},
    partitions_def=daily_partitions(),
    backfill_policy=BackfillPolicy.multi_run(1),
    check_specs=[_CHECK],
)
def audience_files(context: AssetExecutionContext, run_lock: RunLock) -> MaterializeResult:
    """Files of every audience for its destinations, in the vault's outbox: full, adds and removes."""
    settings = settings_module.load()
    if exported_already(settings):
        return MaterializeResult(metadata={"changed": False}, check_results=[_result([])])
    say("writing the audiences for their destinations")
    done = exports.export(settings, log=say)
    stopped = [f"{d.audience} for {d.destination}: {d.status}, {d.reason}" for d in done.stopped]
    for line in stopped:
        say(f"warning: audience {line}")
    blocked = [d for d in done.stopped if d.status == "blocked"]
    if blocked:
        names = ", ".join(f"{d.audience} for {d.destination}" for d in blocked)
        alerts.send(
            settings,
            f"audiences were not written: {names}; `strata audiences export` says why",
            release=done.release,
        )
    sizes = {f"{d.audience} → {d.destination}, people": d.size for d in done.deliveries}
    folder = {"outbox": MetadataValue.path(str(done.folder))} if done.folder else {}
    return MaterializeResult(
        metadata={"changed": True, **folder, **sizes, "stopped": len(stopped)},
        check_results=[_result(stopped)],
    )


def _result(stopped: list[str]) -> AssetCheckResult:
    return AssetCheckResult(
        check_name=_CHECK.name,
        passed=not stopped,
        severity=AssetCheckSeverity.WARN,
        metadata={"stopped": "\n".join(stopped) or "none"},
    )


def exported_already(settings: Settings) -> bool:
    """Whether the newest export of all audiences was of the current release and nothing waits for an approval."""
    manifest = current(settings)
    found = [
        json.loads(path.read_text(encoding="utf-8"))
        for path in (settings.vault / "outbox").glob("*/manifest.json")
    ]
    # What an erasure told the destinations lies there too, and is of no release. Who exported one audience by hand has
    # not exported the others; exports of earlier versions do not say.
    made = [m for m in found if "deliveries" in m and "release" in m and m.get("is_whole", True)]
    if not manifest or not made:
        return False
    newest = max(made, key=lambda m: m["created_at"])
    blocked = any(d["status"] == "blocked" for d in newest["deliveries"])
    return newest["release"] == manifest["release"] and not blocked
