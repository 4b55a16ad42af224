"""Raw feeds and identity links as Dagster assets."""

from collections.abc import Iterator

from dagster import (
    AssetExecutionContext,
    AssetKey,
    AssetSpec,
    BackfillPolicy,
    MaterializeResult,
    TableColumn,
    TableSchema,
    multi_asset,
)

from pipeline import settings as settings_module
from pipeline.identity.links import write_links
from pipeline.ingest import ledger
from pipeline.ingest.contracts import Contract, load_contracts
from pipeline.ingest.database.days import Reading, read_tables
from pipeline.ingest.load import sweep
from pipeline.ingest.mapping import targets
from pipeline.privacy import erasure, expiry
from pipeline.progress import say
from pipeline.publish.shelf import newest_as_of
from pipeline.quality.gate import LEDGER_KEY
from pipeline.resources import RunLock
from pipeline.schedule_days import as_of_date, daily_partitions
from pipeline.transform.context import write_context

OWNER = "team:data-engineering"
CONTEXT_KEY = AssetKey(["raw", "run_context"])


def _spec(contract: Contract) -> AssetSpec:
    schema = TableSchema([TableColumn(name, kind) for name, kind in contract.raw_schema().items()])
    return AssetSpec(
        AssetKey(["raw", contract.feed]),
        description=f"{contract.description}\n\nContract {contract.id}; personal columns hold tokens.",
        group_name="raw",
        tags={"domain": contract.domain},
        owners=[OWNER],
        kinds={"parquet"},
        metadata={
            "dagster/column_schema": schema,
            "key": ", ".join(contract.key),
            "cadence": contract.cadence,
        },
        skippable=True,
    )


@multi_asset(
    name="ingest",
    specs=[
        *(_spec(contract) for contract in load_contracts().values()),
        AssetSpec(
            LEDGER_KEY,
            description="One row per delivered file: what became of each of its rows.",
            group_name="raw",
            owners=[OWNER],
            kinds={"parquet"},
            skippable=True,
        ),
        AssetSpec(
            CONTEXT_KEY,
            description="What one build is for: as-of date, day of the cut points, reporting currency. One row.",
            group_name="raw",
            owners=[OWNER],
            kinds={"parquet"},
            skippable=True,
        ),
    ],
    can_subset=True,
    partitions_def=daily_partitions(),
    backfill_policy=BackfillPolicy.multi_run(1),
)
def raw_feeds(context: AssetExecutionContext, run_lock: RunLock) -> Iterator[MaterializeResult]:
    """landing → raw: sweep every pending delivery whose day is not after the partition's."""
    settings = settings_module.load()
    as_of = as_of_date(context.partition_key)
    wanted = {key.path[1] for key in context.selected_asset_keys} - {"ingest_ledger", "run_context"}
    say(f"taking in deliveries before {as_of}")
    erasure.settle(settings, say)
    readings = read_tables(settings, as_of, feeds=wanted or None, log=say)
    swept = sweep(
        settings,
        as_of,
        run_id=context.run_id,
        released=newest_as_of(settings),
        feeds=wanted or None,
        log=say,
    )
    erasure.of_requests(settings, as_of, say)
    expiry.apply(settings, as_of, say)
    in_force = ledger.in_force(ledger.read(settings), as_of)
    for feed in load_contracts():
        if AssetKey(["raw", feed]) in context.selected_asset_keys:
            own = [e for e in in_force if feed in targets(e.source or "", e.feed or "")]
            new = swept.of_feed(feed)
            yield MaterializeResult(
                asset_key=AssetKey(["raw", feed]),
                metadata={
                    **_of_tables([r for r in readings if feed in targets(r.source, r.feed)]),
                    "dagster/row_count": sum(e.rows_loaded for e in own),
                    "files in force": len(own),
                    "new files": len(new),
                    "new rows read": sum(e.rows_read for e in new),
                    "new rows rejected": sum(e.rows_rejected for e in new),
                    "new rows duplicate": sum(e.rows_duplicate for e in new),
                    "sources": ", ".join(sorted({e.source for e in own if e.source})) or "none delivers it",
                },
            )
    if CONTEXT_KEY in context.selected_asset_keys:
        run = write_context(settings, as_of)
        yield MaterializeResult(
            asset_key=CONTEXT_KEY,
            metadata={"refresh date": str(run.refresh_date), "currency": run.reporting_currency},
        )
    if LEDGER_KEY in context.selected_asset_keys:
        yield MaterializeResult(
            asset_key=LEDGER_KEY,
            metadata={
                "dagster/row_count": len(in_force),
                "new files": len(swept.entries),
                "refused files": sum(e.status == "rejected" for e in swept.entries),
            },
        )


def _of_tables(readings: list[Reading]) -> dict[str, int | str]:
    """Metadata of a feed that tables of a database fill; nothing where none does."""
    if not readings:
        return {}
    reached = ", ".join(f"{r.source}/{r.feed}: {r.reached}" for r in readings if r.reached)
    return {
        "rows read from tables": sum(r.rows for r in readings),
        "tables read to the end of": reached or "whole",
    }


_IDENTITY = {
    "links": "Source ids and persons on the as-of date and on the day of the cut points.",
    "history": "Who was who on each day, with what was merged and split.",
    "review": "Merges that were not made and wait for `strata identity review`.",
    "quality": "What gate Q-08 judges: pairs made, pairs that wait, groups too large for one person.",
}


@multi_asset(
    name="identity_links",
    specs=[
        AssetSpec(
            AssetKey(["identity", table]),
            description=description,
            deps=[
                AssetKey(["raw", feed])
                for feed, c in load_contracts().items()
                if "source_customer_id" in c.columns
            ],
            group_name="identity",
            owners=[OWNER],
            kinds={"parquet"},
        )
        for table, description in _IDENTITY.items()
    ],
    partitions_def=daily_partitions(),
    backfill_policy=BackfillPolicy.multi_run(1),
)
def identity_links(context: AssetExecutionContext, run_lock: RunLock) -> Iterator[MaterializeResult]:
    """Who is who: source ids → customer_key, as known on the as-of date, and since when."""
    settings = settings_module.load()
    as_of = as_of_date(context.partition_key)
    say("linking source ids to persons")
    persons = write_links(settings, [as_of])
    for table in _IDENTITY:
        yield MaterializeResult(asset_key=AssetKey(["identity", table]), metadata={"persons": persons[as_of]})
