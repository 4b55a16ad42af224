"""The dbt project as Dagster assets: one `@dbt_assets` over the whole project, one dbt invocation."""

import json
import shutil
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from dagster import (
    AssetExecutionContext,
    BackfillPolicy,
    ConfigurableResource,
    MaterializeResult,
    Output,
    TableColumn,
    TableSchema,
)
from dagster_dbt import DagsterDbtTranslator, dbt_assets
from dagster_dbt.asset_utils import get_updated_cli_invocation_params_for_context
from dagster_dbt.core.dbt_cli_event import DbtCoreCliEventMessage

from pipeline import duck
from pipeline import settings as settings_module
from pipeline.errors import GateStopped, StrataError
from pipeline.ingest.contracts import load_contracts
from pipeline.privacy import requests
from pipeline.progress import say
from pipeline.quality.checks import Check, blocking, save_checks
from pipeline.quality.failing_rows import failing_rows
from pipeline.quality.gate import source_checks
from pipeline.quality.gates import gates_named
from pipeline.resources import RunLock
from pipeline.schedule_days import as_of_date, daily_partitions
from pipeline.settings import Settings
from pipeline.transform import base, history, receipt
from pipeline.transform.context import fingerprint, write_context
from pipeline.transform.invoke import DbtFailed, invoke
from pipeline.transform.project import MANIFEST, ensure_manifest


class LocalDbt(ConfigurableResource):
    """dbt inside the step's process, asked for what Dagster selected."""

    def build(
        self,
        context: AssetExecutionContext,
        settings: Settings,
        target: Path,
        increments: bool,
        history: bool,
    ) -> tuple[list[Any], DbtFailed | None]:
        """Dagster's events of one `dbt build`, which has ended on return, and its failure if it failed.

        Args:
            increments: go on from the build before, which is known to be whole.
            history: the history of classes too; it is what the release says that history goes on from.
        """
        chosen = get_updated_cli_invocation_params_for_context(
            context=context, manifest={}, dagster_dbt_translator=DagsterDbtTranslator()
        )
        args = ["build", "--exclude-resource-type", "unit_test", *chosen.selection_args]
        if not increments:
            args.append("--full-refresh")
        if chosen.indirect_selection:
            args += ["--indirect-selection", chosen.indirect_selection]
        results: list[dict[str, Any]] = []

        def note(result: dict[str, Any]) -> None:
            results.append(result)
            if len(results) % 25 == 0:
                say(f"  {len(results)} models and tests done")

        failure = None
        try:
            invoke(args, settings.home, target, note, increments=increments, history=history)
        except DbtFailed as failed:
            failure = failed
        events = [
            event
            for result in results
            for event in DbtCoreCliEventMessage(
                raw_event=result, event_history_metadata={}
            ).to_default_asset_events(
                manifest=chosen.manifest,
                dagster_dbt_translator=chosen.dagster_dbt_translator,
                context=context,
                target_path=target,
            )
        ]
        return events, failure


def built_nodes(manifest: dict[str, Any]) -> list[str]:
    """Unique ids of every model, seed and data test: what a complete build has done."""
    return sorted(
        name
        for name, node in manifest["nodes"].items()
        if node["resource_type"] in ("model", "seed", "test", "snapshot")
    )


def dbt_checks(
    manifest: dict[str, Any], run_results: dict[str, Any], found: Mapping[str, tuple[str, ...]]
) -> list[Check]:
    """Data tests of a run as checks, on the table that they test; `found` has the first rows of those that failed.

    A test that was skipped because something else failed says nothing, unless nothing else does.
    """
    results = [
        r
        for r in run_results["results"]
        if manifest["nodes"].get(r["unique_id"], {}).get("resource_type") == "test"
    ]
    failed = any(r["status"] in ("fail", "error", "runtime error") for r in run_results["results"])
    checks = []
    for result in results:
        node = manifest["nodes"][result["unique_id"]]
        if failed and result["status"] == "skipped":
            continue
        named = ((node["config"].get("meta") or {}).get("dagster") or {}).get("ref", {}).get("name")
        on = [n for n in node["depends_on"]["nodes"] if n.endswith(f".{named}")] or node["depends_on"][
            "nodes"
        ]
        tested = node.get("attached_node") or next(iter(on), None)
        model = manifest["nodes"].get(tested) or manifest["sources"].get(tested, {})
        table = f"{model.get('schema', 'dbt')}.{model.get('name', node['name'])}"
        block = node["config"]["severity"].lower() == "error"
        description = (node["config"].get("meta") or {}).get("description") or node.get("description") or ""
        checks.append(
            Check(
                "table",
                table.removeprefix("main_"),
                node["name"],
                "block" if block else "warn",
                result["status"] == "pass",
                result["failures"] if result["failures"] is not None else result["status"],
                0,
                description or (result["message"] or ""),
                found.get(result["unique_id"], ()),
                gates_named(description),
            )
        )
    return checks


def _table_metadata(
    settings: Settings, tables: list[tuple[str, str]]
) -> dict[tuple[str, str], dict[str, Any]]:
    """Column schema, row count and, for the segment summary and the mart of a scheme, each class's share: numbers become
    plots in the UI."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    if not settings.warehouse.exists():
        return found
    con = duck.connect([settings.warehouse.parent], database=settings.warehouse, read_only=True)
    try:
        kinds = {
            (s, t): kind
            for s, t, kind in con.execute(
                "select table_schema, table_name, table_type from information_schema.tables"
            ).fetchall()
        }
        columns: dict[tuple[str, str], list[TableColumn]] = {}
        for schema, table, column, kind in con.execute(
            "select table_schema, table_name, column_name, data_type from information_schema.columns "
            "order by ordinal_position"
        ).fetchall():
            columns.setdefault((schema, table), []).append(TableColumn(column, kind))
        for key in tables:
            if key not in kinds:
                continue
            found[key] = {"dagster/column_schema": TableSchema(columns[key])}
            if kinds[key] == "BASE TABLE":
                n = con.execute(f'select count(*) from "{key[0]}"."{key[1]}"').fetchone()
                found[key]["dagster/row_count"] = n[0] if n else 0
        if ("audiences", "segment_summary") in found:
            for scheme, name, share in con.execute(
                "select scheme, class, share from audiences.segment_summary where share is not null"
            ).fetchall():
                found["audiences", "segment_summary"][f"share {scheme}: {name}"] = float(share)
                mart = _class_marts().get(scheme)
                if mart in found:
                    found[mart][f"share {scheme}: {name}"] = float(share)
    finally:
        con.close()
    return found


@dbt_assets(
    manifest=ensure_manifest(),
    name="transform",
    partitions_def=daily_partitions(),
    backfill_policy=BackfillPolicy.multi_run(1),
)
def transform(context: AssetExecutionContext, dbt: LocalDbt, run_lock: RunLock) -> Iterator[Any]:
    """raw → warehouse in one `dbt build`; leaves a receipt only when every node and check is good."""
    settings = settings_module.load()
    day = as_of_date(context.partition_key)
    receipt.invalidate(settings)
    sources = source_checks(settings, day, context.run_id)
    stopped = blocking(sources)
    if stopped:
        raise GateStopped("the sources' gate is shut: " + "\n".join(str(check) for check in stopped))
    write_context(settings, day)
    release = history.prepare(settings, day, _nodes())
    built_from = fingerprint(settings, day)
    made_from = base.look(settings, day)
    way = base.choose(settings, made_from)
    base.invalidate(settings)
    is_in_warehouse = history.is_in_warehouse(settings, release)
    settings.warehouse.parent.mkdir(parents=True, exist_ok=True)
    target = settings.dbt / "target"
    (target / "run_results.json").unlink(missing_ok=True)
    say("building the marts (dbt)")
    say(f"  {way}")
    base.save_way(settings, context.run_id, way)
    events, failure = dbt.build(context, settings, target, way.increments, is_in_warehouse)
    # What the warehouse is made of now; a policy that is tried is compared with it.
    shutil.copyfile(MANIFEST, settings.dbt / "built.json")
    yield from _with_table_metadata(context, settings, events, way)
    manifest = json.loads(MANIFEST.read_text())
    results = target / "run_results.json"
    run_results = json.loads(results.read_text()) if results.exists() else {"results": []}
    tests = dbt_checks(manifest, run_results, failing_rows(settings, run_results))
    save_checks(settings, "dbt", context.run_id, tests)
    requests.alert(settings, day, tests)
    if failure:
        broken = [r for r in run_results["results"] if r["status"] in ("error", "runtime error")]
        if broken or not blocking(tests):
            detail = "; ".join(f"{r['unique_id']}: {r['message']}" for r in broken) or str(failure)
            raise StrataError(f"the build failed: {detail}") from failure
        raise GateStopped(
            "dbt tests failed: " + "\n".join(str(check) for check in blocking(tests))
        ) from failure
    nodes = {r["unique_id"]: r["status"] for r in run_results["results"]}
    receipt.write(settings, day, built_from, nodes, [*sources, *tests])
    if nodes.keys() >= set(built_nodes(manifest)):
        base.write(settings, made_from)


def _with_table_metadata(
    context: AssetExecutionContext, settings: Settings, events: list[Any], way: base.Way
) -> Iterator[Any]:
    """The events, with row counts, column schemas, shares and the way of the build added to the tables' outputs."""
    tables = {_table_of(e) for e in events if isinstance(e, Output | MaterializeResult)}
    metadata = _table_metadata(settings, [key for key in tables if key])
    for node in _nodes().values():
        if node["resource_type"] == "model" and node["config"]["materialized"] == "incremental":
            metadata.get((node["schema"], node["name"]), {})["build"] = str(way)
    for event in events:
        key = _table_of(event) if isinstance(event, Output | MaterializeResult) else None
        if key in metadata:
            if isinstance(event, Output):
                context.add_output_metadata(metadata[key], output_name=event.output_name)
            else:
                event = event._replace(metadata={**(event.metadata or {}), **metadata[key]})
        yield event


def _table_of(event: Any) -> tuple[str, str] | None:
    """(schema, table) of an output of the dbt step."""
    metadata = getattr(event, "metadata", None) or {}
    unique_id = metadata.get("unique_id")
    name = getattr(unique_id, "text", None) or getattr(unique_id, "value", None) or unique_id
    if not name:
        return None
    node = _nodes().get(str(name))
    return (node["schema"], node.get("alias") or node["name"]) if node else None


@cache
def _class_marts() -> dict[str, tuple[str, str]]:
    """Scheme → (schema, table) of the mart that classes people by it, as its column says (`meta.scheme`)."""
    return {
        column["config"]["meta"]["scheme"]: (node["schema"], node.get("alias") or node["name"])
        for node in _nodes().values()
        if node["resource_type"] == "model"
        for column in node["columns"].values()
        if "scheme" in column.get("config", {}).get("meta", {})
    }


@cache
def _nodes() -> dict[str, Any]:
    return json.loads(MANIFEST.read_text())["nodes"]


if __name__ == "__main__":
    print(ensure_manifest())
    load_contracts()
