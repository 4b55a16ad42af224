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
    `evaluation_every_days`; a model that has won foretells every day. The next build shows both."""
    from pipeline.clv import evaluation

    settings, day = settings_module.load(), as_of_date(context.partition_key)
    evaluated, foretold = evaluation.evaluate(settings, day), evaluation.forecast(settings, day)
    if evaluated:
        say(f"forecasts and limits were tested on past days: {evaluated.name}")
    return MaterializeResult(
        metadata={
            "evaluation": MetadataValue.path(str(evaluated)) if evaluated else "not due",
            "forecast": MetadataValue.path(str(foretold)) if foretold else "the formula stands",
        }
    )
