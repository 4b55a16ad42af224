"""One run of the whole line, as the command, the schedule and a backfill all do it: the Dagster job `daily`."""

import contextlib
import gc
import json
import logging
import os
import shutil
import warnings
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from pipeline.errors import StrataError
from pipeline.ingest.database import days as databases
from pipeline.ingest.landing import scan
from pipeline.ingest.vault import Vault
from pipeline.lock import run_lock
from pipeline.progress import say
from pipeline.publish.shelf import newest_as_of
from pipeline.quality.checks import Check, blocking
from pipeline.settings import PROJECT_ROOT, Settings
from pipeline.transform import base

_PROCESS_TAG = "strata/process"


@dataclass(frozen=True)
class Outcome:
    """What a run came to. `status` is published, unchanged, stopped (by a gate) or error.

    `build`: which `way` the build went (increment, full build) and `why`; None where the run stopped before it.
    """

    status: str
    exit_code: int
    release: str | None
    as_of_date: str
    checks: tuple[Check, ...] = ()
    messages: tuple[str, ...] = field(default=())
    build: dict[str, str] | None = None

    def as_dict(self) -> dict[str, Any]:
        shown = {
            "status": self.status,
            "exit_code": self.exit_code,
            "release": self.release,
            "as_of_date": self.as_of_date,
            "build": self.build,
            "checks": [check.as_dict() for check in self.checks],
        }
        return shown | ({"messages": list(self.messages)} if self.messages else {})


def prepare_dagster_home(settings: Settings) -> None:
    """Make DAGSTER_HOME and its configuration. Under the run lock: two first starts at once would break it."""
    settings.dagster_home.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(PROJECT_ROOT / "dagster.yaml", settings.dagster_home / "dagster.yaml")
    os.environ["DAGSTER_HOME"] = str(settings.dagster_home)


def default_as_of(settings: Settings) -> date:
    """The day after the newest delivery day by file name, readable or not, or that a database can deliver.

    Never before the current release.
    """
    tomorrow = datetime.now(ZoneInfo(settings.timezone)).date() + timedelta(days=1)
    deliveries, misplaced = scan(settings.landing)
    days = [d.dt + timedelta(days=1) for d in deliveries if d.dt <= tomorrow]
    of_tables = databases.newest_as_of(settings)
    if of_tables:
        days.append(of_tables)
    if not days:
        found = f"; {len(misplaced)} files lie elsewhere, such as {misplaced[0].file}" if misplaced else ""
        raise StrataError(
            f"no delivery in {settings.landing}: expected <source>/<feed>/<YYYY-MM-DD>.<ext>{found}. "
            "`strata sample --out landing` makes sample data"
        )
    released = newest_as_of(settings)
    newest = max(days)
    return max(newest, released) if released else newest


def check_as_of(settings: Settings, as_of: date) -> None:
    """Raises StrataError for a date that no run can be for."""
    tomorrow = datetime.now(ZoneInfo(settings.timezone)).date() + timedelta(days=1)
    if as_of > tomorrow:
        raise StrataError(f"--as-of {as_of} lies in the future: the newest possible is {tomorrow}")
    released = newest_as_of(settings)
    if released and as_of < released:
        raise StrataError(
            f"--as-of {as_of} lies before the current release ({released}): a home only goes forward. "
            "Use another --home to build an older day"
        )
    deliveries, _ = scan(settings.landing)
    first = min((d.dt for d in deliveries), default=None)
    if (first is None or first >= as_of) and not databases.active(settings):
        raise StrataError(
            f"no delivery in {settings.landing} is older than --as-of {as_of}"
            + (f": the first is of {first}" if first else "")
        )


def run_day(settings: Settings, as_of: date, *, full: bool = False, again: bool = False) -> Outcome:
    """Run the job `daily` for one as-of date in this process.

    Args:
        again: for the date of the current release, whose deliveries may have left landing since.
    """
    if not again:
        check_as_of(settings, as_of)
    with run_lock(settings, log=say):
        # A home whose key is missing or another one is left as it is: no run of it begins.
        Vault(settings)
        prepare_dagster_home(settings)
        if full:
            # The log of a build that was killed as well: it would be replayed into the new file.
            for path in settings.warehouse.parent.glob(f"{settings.warehouse.name}*"):
                path.unlink()
        say(f"strata run for {as_of}: loading the definitions")
        # dbt writes a line a node to standard output, which belongs to the command's own answer.
        log = settings.dbt / "logs" / "dbt-output.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        with (
            log.open("w", encoding="utf-8") as output,
            contextlib.redirect_stdout(output),
            warnings.catch_warnings(),
        ):
            # Beta and preview notices of Dagster: nothing that the person at the terminal can act on.
            warnings.filterwarnings("ignore", module="dagster")
            return _execute(settings, as_of)


def _execute(settings: Settings, as_of: date) -> Outcome:
    from dagster import DagsterInstance

    from pipeline.definitions import defs
    from pipeline.in_use import selection
    from pipeline.schedule_days import partition_key

    logging.getLogger("dagster").setLevel(logging.ERROR)
    job = defs.resolve_job_def("daily")
    # What is loaded by now stays: no later collection looks through it again.
    gc.freeze()
    with DagsterInstance.get() as instance:
        fail_runs_that_died(instance)
        result = job.execute_in_process(
            instance=instance,
            tags={_PROCESS_TAG: _process(os.getpid()) or ""},
            partition_key=partition_key(as_of),
            asset_selection=selection(settings),
            raise_on_error=False,
            run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
        )
    checks = saved_checks(settings, result.run_id)
    build = base.saved_way(settings, result.run_id)
    if result.success:
        metadata = next(
            m.metadata
            for m in result.asset_materializations_for_node("releases__current")
            if m.asset_key.path[-1] == "current"
        )
        status = "published" if metadata["changed"].value else "unchanged"
        return Outcome(status, 0, str(metadata["release"].value), as_of.isoformat(), checks, build=build)
    messages, gate = _failures(result)
    stopped = gate or bool(blocking(checks))
    return Outcome(
        "stopped" if stopped else "error",
        2 if stopped else 1,
        None,
        as_of.isoformat(),
        checks,
        tuple(messages),
        build,
    )


def fail_runs_that_died(instance: Any) -> list[str]:
    """Mark runs of this command as failed whose process is gone; their ids.

    A killed run says STARTED for ever. Runs of the UI are its own daemon's to watch, and one may be waiting for the run
    lock: only runs that carry the process that made them are looked at.
    """
    from dagster import DagsterRunStatus, RunsFilter

    going = [DagsterRunStatus.STARTED, DagsterRunStatus.STARTING, DagsterRunStatus.NOT_STARTED]
    died = []
    for run in instance.get_runs(RunsFilter(statuses=going)):
        made_by = run.tags.get(_PROCESS_TAG)
        if made_by and _process(int(made_by.partition("@")[0])) != made_by:
            instance.report_run_failed(run, "its process ended without a word; found by the next run")
            died.append(run.run_id)
    return died


def _process(pid: int) -> str | None:
    """`<pid>@<start>` of a running process (Linux), so that a number given out again is not taken for the old one."""
    try:
        return f"{pid}@{Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[19]}"
    except OSError:
        return None


def _failures(result: Any) -> tuple[list[str], bool]:
    """(messages, was it a gate?) of the failed steps, each by its root cause."""
    messages: list[str] = []
    gate = False
    for event in result.all_node_events:
        if not event.is_step_failure:
            continue
        error = event.step_failure_data.error
        names = set()
        while error is not None:
            names.add(error.cls_name)
            if error.cause is None or error.cls_name == "GateStopped":
                break
            error = error.cause
        if names & {"GateStopped", "DagsterAssetCheckFailedError"}:
            gate = True
        if error is not None and error.cls_name != "DagsterAssetCheckFailedError":
            messages.append(error.message.strip().removeprefix(f"pipeline.errors.{error.cls_name}: "))
    return messages, gate


def saved_checks(settings: Settings, run_id: str) -> tuple[Check, ...]:
    """The checks of one run. The release's list holds them all, so the others count only where it is missing."""
    stages = {}
    for path in (settings.build / "checks").glob("*.json"):
        data = json.loads(path.read_text())
        if data["run_id"] == run_id:
            stages[path.stem] = [Check.from_dict(check) for check in data["checks"]]
    if "release" in stages:
        return tuple(stages["release"])
    return tuple(check for stage in ("sources", "dbt", "audiences") for check in stages.get(stage, ()))
