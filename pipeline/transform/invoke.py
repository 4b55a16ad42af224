"""dbt in this process, on the project as it was parsed before: no second interpreter, no second parse.

A dbt process of its own costs 1.7 CPU-s of imports and 4 of parsing (docs/decisions/019). What dbt leaves in a process
is put back: its connection to the warehouse is closed, and interrupts reach the caller.
"""

import contextlib
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pipeline import duck
from pipeline.settings import DBT_PROJECT_DIR
from pipeline.transform.project import parsed_project

_RESULTS = frozenset(("LogSeedResult", "LogModelResult", "LogSnapshotResult", "LogTestResult"))
# Levels of dbt's lines that are told; the rest is its debug log.
_TOLD = frozenset(("info", "warn", "error"))
_only_one = threading.Lock()


@contextlib.contextmanager
def _told(home: Path, increments: bool, history: bool) -> Iterator[None]:
    """What the profile and the SQL ask the environment for: the home, how to build, the memory that is left for it."""
    told = {
        "STRATA_HOME": str(home),
        "STRATA_INCREMENT": "yes" if increments else "",
        "STRATA_HISTORY": "yes" if history else "",
        "STRATA_MEMORY_SETTINGS": "; ".join(duck.memory_settings()),
    }
    before = {name: os.environ.get(name) for name in told}
    os.environ.update(told)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


class DbtFailed(Exception):
    """dbt ended without success; says what it reported as errors."""


def invoke(
    args: Sequence[str],
    home: Path,
    target: Path,
    on_result: Callable[[dict[str, Any]], None] | None = None,
    *,
    increments: bool = False,
    history: bool = False,
) -> None:
    """Run one dbt command on the warehouse of `home`; `run_results.json` and the compiled SQL go to `target`.

    Lines go to standard output as dbt words them.

    Args:
        on_result: called with each finished node's event, in the form of dbt's JSON log.
        increments: the SQL goes on from the build before (macros/increment.sql).
        history: the history of classes too, from the rows that the warehouse holds.

    Raises:
        DbtFailed: a node failed, or the command could not run at all.
    """
    from dbt.adapters.duckdb.connections import DuckDBConnectionManager
    from dbt.artifacts.schemas.run import RunExecutionResult
    from dbt.cli.main import dbtRunner
    from dbt_common.behavior_flags import BehaviorFlagRendered
    from dbt_common.events.functions import msg_to_dict
    from dbt_common.exceptions import env_secrets, scrub_secrets

    # Else each flag of the adapter looks its owner up through the source of every frame and module: 0.6 CPU-s in a run of
    # Dagster's. The name is only told when a flag is off that a message is due for.
    BehaviorFlagRendered._default_source = staticmethod(lambda: "dbt.adapters.duckdb.impl")  # type: ignore[method-assign]
    errors: list[str] = []

    def watch(message: Any) -> None:
        if message.info.level in _TOLD:
            line = scrub_secrets(message.info.msg, env_secrets())
            print(f"{datetime.now(UTC):%H:%M:%S}  {line}", flush=True)
        if message.info.level == "error":
            errors.append(message.info.msg)
        if on_result and message.info.name in _RESULTS:
            on_result(msg_to_dict(message))

    places = ["--project-dir", str(DBT_PROJECT_DIR), "--profiles-dir", str(DBT_PROJECT_DIR)]
    places += ["--target-path", str(target), "--log-path", str(target)]
    # The debug log repeats in 5 MB what lies in `target` as SQL. The manifest would be written twice for nobody. dbt's own
    # console words and scrubs every line before it asks whether it is told: of 7,400, of which 800 are.
    quiet = ["--log-level-file", "none", "--log-level", "none", "--no-use-colors", "--no-write-json"]
    target.mkdir(parents=True, exist_ok=True)
    # dbt keeps flags, adapter and log in globals.
    # Read before the memory that is left is counted.
    project = parsed_project(home)
    with _only_one, _told(home, increments, history):
        try:
            answer = dbtRunner(manifest=project, callbacks=[watch]).invoke([*args, *places, *quiet])
        finally:
            # A warehouse that stays open here could be opened by nobody else.
            environment = DuckDBConnectionManager._ENV
            if environment is not None:
                environment.close()
            DuckDBConnectionManager.close_all_connections()
    if answer.exception is not None and not isinstance(answer.exception, Exception):
        raise answer.exception
    if isinstance(answer.result, RunExecutionResult):
        answer.result.write(str(target / "run_results.json"))
    if not answer.success:
        raise DbtFailed("\n".join(errors) or str(answer.exception)) from answer.exception
