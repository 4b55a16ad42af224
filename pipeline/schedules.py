"""The daily job, its schedule, and the alert of a failed run."""

import os
from datetime import timedelta
from zoneinfo import ZoneInfo

from dagster import (
    AssetSelection,
    DefaultScheduleStatus,
    DefaultSensorStatus,
    Failure,
    OpExecutionContext,
    RunFailureSensorContext,
    RunRequest,
    ScheduleEvaluationContext,
    SkipReason,
    define_asset_job,
    in_process_executor,
    job,
    multiprocess_executor,
    op,
    run_failure_sensor,
    schedule,
)

from pipeline import alerts
from pipeline import settings as settings_module
from pipeline.schedule_days import daily_partitions

# Every step that starts a process pays seconds of imports, so the steps share one unless this says otherwise.
_executor = (
    multiprocess_executor if os.environ.get("STRATA_EXECUTOR") == "multiprocess" else in_process_executor
)

daily_job = define_asset_job(
    "daily",
    selection=AssetSelection.all(),
    partitions_def=daily_partitions(),
    executor_def=_executor,
    description="The whole line for one delivery day: ingest, build, gate, publish. The as-of date is the day after.",
)


@schedule(
    job=daily_job,
    cron_schedule="0 5 * * *",
    execution_timezone=settings_module.load().timezone,
    default_status=DefaultScheduleStatus.RUNNING,
    description="Every morning at five, local time: the line for yesterday's deliveries.",
)
def every_morning(context: ScheduleEvaluationContext) -> RunRequest:
    """One run for the last complete business day; the run key keeps a day from being asked for twice."""
    from pipeline.in_use import selection

    settings = settings_module.load()
    zone = ZoneInfo(settings.timezone)
    yesterday = (context.scheduled_execution_time.astimezone(zone) - timedelta(days=1)).date().isoformat()
    return RunRequest(run_key=yesterday, partition_key=yesterday, asset_selection=selection(settings))


@op(description="Back the home up, restore the backup on trial and count what came back (Q-27).")
def back_up(context: OpExecutionContext) -> None:
    """Fails, and so alerts, where the backup cannot be restored; what is published has nothing to do with it."""
    from pipeline.home import backup
    from pipeline.progress import say

    settings = settings_module.load()
    if settings.backup is None:
        raise Failure("STRATA_BACKUP names no folder: set it to one on another disk")
    made = backup.make(settings, settings.backup, say)
    found = backup.check(settings, made, say)
    context.add_output_metadata({k: str(v) for k, v in made.as_dict().items()} | {"restores": found.passed})
    if not found.passed:
        raise Failure(str(found))


@job(name="weekly_backup", executor_def=_executor)
def weekly_backup() -> None:
    """A backup into STRATA_BACKUP, proven by restoring it."""
    back_up()


@schedule(
    job=weekly_backup,
    cron_schedule="0 3 * * 0",
    execution_timezone=settings_module.load().timezone,
    default_status=DefaultScheduleStatus.RUNNING,
    description="Every Sunday at three, local time: a backup, and the proof that it restores. Needs STRATA_BACKUP.",
)
def every_sunday(context: ScheduleEvaluationContext) -> RunRequest | SkipReason:
    """Nothing where no folder is named."""
    if settings_module.load().backup is None:
        return SkipReason("STRATA_BACKUP names no folder for backups")
    return RunRequest(run_key=context.scheduled_execution_time.date().isoformat())


def alert_text(job: str, partition: str | None, error: str) -> str:
    """What an alert says: which run, which day, why, and that what was published still stands."""
    return f"strata: {job} for {partition or 'no day'} failed; the published release is unchanged. {error}"


@run_failure_sensor(name="failed_run_alert", default_status=DefaultSensorStatus.RUNNING)
def failed_run_alert(context: RunFailureSensorContext) -> None:
    """Write the alert to `$STRATA_HOME/alerts.log` and, where STRATA_ALERT_WEBHOOK is set, post it as JSON."""
    settings = settings_module.load()
    partition = context.dagster_run.tags.get("dagster/partition")
    causes = []
    for event in context.get_step_failure_events():
        error = event.step_failure_data.error
        while error is not None and error.cause is not None:
            error = error.cause
        causes.append(f"{event.step_key}: {error.message.strip() if error else 'unknown'}")
    text = alert_text(
        context.dagster_run.job_name, partition, " | ".join(causes) or context.failure_event.message or ""
    )
    context.log.error(text)
    alerts.send(settings, text, run_id=context.dagster_run.run_id, partition=partition)
