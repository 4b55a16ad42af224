"""From the current release to files in the vault's outbox: planned (plan.py), then written (outbox.py)."""

from collections.abc import Callable, Collection
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pipeline.lock import run_lock
from pipeline.publish.audiences.outbox import free_name, prune, write
from pipeline.publish.audiences.plan import Exported, plan, policy_of, released_for
from pipeline.settings import Settings


def preview(settings: Settings, policy_folder: Path | None = None) -> Exported:
    """What an export would do. Nothing is written but the line that says that the vault was opened."""
    with run_lock(settings):
        home, planned, _ = plan(settings, policy_folder, "audience preview", None, None, "")
        return Exported(
            home.release,
            home.as_of.isoformat(),
            home.policy_version,
            None,
            None,
            [p.delivery for p in planned],
        )


def export(
    settings: Settings,
    *,
    audiences: Collection[str] | None = None,
    destinations: Collection[str] | None = None,
    approved_by: str = "",
    policy_folder: Path | None = None,
    now: datetime | None = None,
    log: Callable[[str], None] = lambda _: None,
) -> Exported:
    """Write the files of every audience for its destinations, and note what each may hold from now on.

    Args:
        audiences, destinations: only these; overlap is resolved over all audiences all the same.
        approved_by: name of who lets a change pass that the volume guard would stop.
        now: clock of the outbox, UTC.

    Raises:
        StrataError: where the policy cannot be read, nothing was published, or a name is unknown.
    """
    at = (now or datetime.now(UTC)).astimezone(UTC)
    with run_lock(settings, log=log):
        limits = policy_of(released_for(settings), policy_folder).limits
        prune(settings, at - timedelta(days=limits["outbox_days"]))
        home, planned, chosen = plan(
            settings, policy_folder, "audience export", audiences, destinations, approved_by.strip()
        )
        name = free_name(settings, home.release, at)
        export_folder = settings.vault / "outbox" / name
        writing = [p for p in planned if p.after is not None or p.delivery.status == "no_remote_id"]
        result = Exported(
            home.release,
            home.as_of.isoformat(),
            home.policy_version,
            name if planned else None,
            export_folder if planned else None,
            [p.delivery for p in planned],
        )
        # Where nothing may be written the manifest still says why.
        if planned:
            log(f"writing {sum(p.after is not None for p in writing)} audiences to {export_folder}")
            is_whole = audiences is None and destinations is None
            write(settings, result, writing, chosen, name, at, approved_by.strip(), is_whole=is_whole)
        return result
