"""Table of contents of the code location, read from top to bottom: ingest → transform → quality → publish → schedule."""

from dagster import Definitions

import pipeline.event_log  # noqa: F401 (spares a disk flush per event)
from pipeline.clv.assets import model_backtest
from pipeline.ingest.assets import identity_links, raw_feeds
from pipeline.publish.assets import release
from pipeline.publish.audiences.assets import audience_files
from pipeline.quality.gate import audiences_gate, sources_gate
from pipeline.resources import RunLock
from pipeline.schedules import daily_job, every_morning, failed_run_alert
from pipeline.settings import DBT_PROJECT_DIR
from pipeline.transform.dbt import LocalDbt, transform

defs = Definitions(
    assets=[raw_feeds, identity_links, transform, release, audience_files, model_backtest],
    asset_checks=[sources_gate, audiences_gate],
    jobs=[daily_job],
    schedules=[every_morning],
    sensors=[failed_run_alert],
    resources={
        "dbt": LocalDbt(project_dir=str(DBT_PROJECT_DIR), profiles_dir=str(DBT_PROJECT_DIR)),
        "run_lock": RunLock(),
    },
)
