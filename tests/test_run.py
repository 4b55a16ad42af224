"""A run that was killed does not stay STARTED in the UI for ever."""

import os
import subprocess
import sys

from dagster import DagsterInstance, DagsterRunStatus, job, op

from pipeline.run import _PROCESS_TAG, _process, fail_runs_that_died


@op
def nothing() -> None:
    pass


@job
def line() -> None:
    nothing()


def test_a_run_whose_process_is_gone_has_failed() -> None:
    gone = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    made_by = _process(gone.pid)
    gone.kill()
    gone.wait()
    with DagsterInstance.ephemeral() as instance:
        tags = {
            "dead": made_by,
            "alive": _process(os.getpid()),
            "of the UI": None,
            "reused": f"{os.getpid()}@1",
        }
        runs = {
            name: instance.create_run_for_job(
                line, status=DagsterRunStatus.STARTED, tags={_PROCESS_TAG: tag} if tag else {}
            ).run_id
            for name, tag in tags.items()
        }
        assert set(fail_runs_that_died(instance)) == {runs["dead"], runs["reused"]}
        status = {name: instance.get_run_by_id(run).status for name, run in runs.items()}  # type: ignore[union-attr]
    assert status == {
        "dead": DagsterRunStatus.FAILURE,
        "alive": DagsterRunStatus.STARTED,
        "of the UI": DagsterRunStatus.STARTED,
        "reused": DagsterRunStatus.FAILURE,
    }
