"""What dbt and dagster-dbt do not promise to keep: a version that changes it must be noticed here."""

import inspect

from dagster_dbt import DbtCliResource
from dagster_dbt.asset_utils import get_updated_cli_invocation_params_for_context
from dagster_dbt.core.dbt_cli_event import DbtCoreCliEventMessage
from dagster_dbt.core.dbt_cli_invocation import DbtCliInvocation
from dbt.adapters.duckdb.connections import DuckDBConnectionManager
from dbt.cli.requires import setup_manifest
from dbt_common.behavior_flags import BehaviorFlagRendered

from pipeline.transform.invoke import _RESULTS


def test_the_stock_resource_still_selects_and_tells_as_ours_does() -> None:
    assert get_updated_cli_invocation_params_for_context.__name__ in inspect.getsource(DbtCliResource.cli)
    assert "to_default_asset_events" in inspect.getsource(DbtCliInvocation._stream_asset_events)
    assert DbtCoreCliEventMessage.__name__ in inspect.getsource(DbtCliInvocation.stream_raw_events)


def test_the_events_of_finished_nodes_have_the_names_that_dagster_looks_for() -> None:
    source = inspect.getsource(DbtCoreCliEventMessage.is_result_event.fget)
    assert {name for name in source.split('"') if name.startswith("Log")} == _RESULTS


def test_a_given_manifest_is_not_parsed_again_and_the_warehouse_can_be_closed() -> None:
    assert 'if ctx.obj.get("manifest") is None' in inspect.getsource(setup_manifest)
    assert "_ENV" in DuckDBConnectionManager.__dict__


def test_a_behaviour_flag_asks_for_its_source_where_ours_answers() -> None:
    assert "self._default_source()" in inspect.getsource(BehaviorFlagRendered.__init__)
    assert "_default_source" in BehaviorFlagRendered.__dict__
