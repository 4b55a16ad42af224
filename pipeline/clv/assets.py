"""The back-test of a home's forecasts and limits as a Dagster asset, after the release: it holds nobody up."""

from dagster import AssetExecutionContext, AssetKey, BackfillPolicy, MaterializeResult, MetadataValue, asset

from pipeline import settings as settings_module
from pipeline.progress import say
from pipeline.resources import RunLock
from pipeline.schedule_days import as_of_date, daily_partitions


@asset(
    key=AssetKey(["operations", "model_backtest"]),
    deps=[AssetKey(["releases", "current"])],
    group_name="operations",
    owners=["team:marketing"],
    kinds={"python", "parquet"},
    partitions_def=daily_partitions(),
    backfill_policy=BackfillPolicy.multi_run(1),
)
def model_backtest(context: AssetExecutionContext, run_lock: RunLock) -> MaterializeResult:
    """What forecasts and limits would have said on past days, beside what came (E-09). Due once in
    `evaluation_every_days`; the next build shows it."""
    # SciPy is needed on the days on which it is due.
    from pipeline.clv import evaluation

    written = evaluation.evaluate(settings_module.load(), as_of_date(context.partition_key))
    if written:
        say(f"forecasts and limits were tested on past days: {written.name}")
    return MaterializeResult(
        metadata={"written": MetadataValue.path(str(written)) if written else MetadataValue.text("not due")}
    )
