"""The release as a Dagster asset."""

import json

from dagster import AssetExecutionContext, AssetKey, BackfillPolicy, MaterializeResult, MetadataValue, asset

from pipeline import settings as settings_module
from pipeline.lock import publish_lock
from pipeline.privacy import erasure
from pipeline.progress import say
from pipeline.publish.pruning import prune
from pipeline.publish.release import publish
from pipeline.publish.tables import published_tables
from pipeline.resources import RunLock
from pipeline.schedule_days import as_of_date, daily_partitions
from pipeline.transform.dbt import MANIFEST, built_nodes, ensure_manifest

_manifest = json.loads(ensure_manifest().read_text())


@asset(
    key=AssetKey(["releases", "current"]),
    deps=[AssetKey([table.schema, table.name]) for table in published_tables(_manifest)],
    group_name="releases",
    owners=["team:data-engineering"],
    kinds={"duckdb", "parquet"},
    partitions_def=daily_partitions(),
    backfill_policy=BackfillPolicy.multi_run(1),
)
def release(context: AssetExecutionContext, run_lock: RunLock) -> MaterializeResult:
    """What BI and marketing tools read: tables, database and page of one as-of date, published by one pointer write."""
    settings = settings_module.load()
    say("publishing")
    manifest = json.loads(MANIFEST.read_text())
    with publish_lock(settings, log=say):
        published = publish(
            settings,
            as_of_date(context.partition_key),
            run_id=context.run_id,
            dbt_manifest=manifest,
            expected_nodes=built_nodes(manifest),
            log=say,
        )
        erasure.finish(settings, say)
        prune(settings, say)
    return MaterializeResult(
        metadata={
            "release": published.release,
            "changed": published.changed,
            "page": MetadataValue.path(str(published.path / "index.html")),
            "checks passed": sum(check.passed for check in published.checks),
            "checks warned": sum(not check.passed for check in published.checks),
        }
    )
