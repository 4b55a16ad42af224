"""Dagster's SQLite files: one engine each, no flush at the close of a connection, and the events are all there."""

import inspect
from collections import Counter
from pathlib import Path

import dagster
from dagster import DagsterInstance, job, op

from pipeline import event_log


def test_the_storages_still_make_their_engines_under_the_name_that_is_replaced() -> None:
    for module in event_log._STORAGES:
        assert module.create_engine is event_log.kept_engine
        assert "create_engine(" in inspect.getsource(module)


def test_a_run_keeps_one_engine_a_file_and_every_event(tmp_path: Path) -> None:
    made: list[str] = []
    original = event_log.create_engine

    @op
    def works() -> None:
        pass

    @job
    def small() -> None:
        works()

    try:
        event_log.create_engine = lambda url, **o: made.append(url) or original(url, **o)
        with DagsterInstance.local_temp(str(tmp_path)) as instance:
            result = small.execute_in_process(instance=instance)
            told = Counter(e.event_type_value for e in result.all_events)
            records = instance.all_logs(result.run_id)
            kept = Counter(r.dagster_event.event_type_value for r in records if r.dagster_event)
            assert told <= kept and kept["STEP_SUCCESS"] == kept["PIPELINE_SUCCESS"] == 1
            assert instance.get_run_by_id(result.run_id).status is dagster.DagsterRunStatus.SUCCESS
    finally:
        event_log.create_engine = original
    assert made and len(made) == len(set(made))
    # Nobody has closed the last connection, which would have folded the write-ahead log back, flush included.
    files = [Path(url.removeprefix("sqlite://")) for url in made]
    assert all(file.with_name(f"{file.name}-wal").stat().st_size for file in files), files
