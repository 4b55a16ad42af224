"""Publishes in a child that waits, stopped, for whoever wants to trace it. One JSON line in, one out, per child.

Imports cost two seconds and publishing a small home a quarter of one, so the children are forked from a process that
has imported everything and opened nothing.
"""

import ctypes
import json
import os
import signal
import sys
from datetime import date

import great_expectations  # noqa: F401

from pipeline import settings as settings_module
from pipeline.publish.release import publish
from pipeline.quality.suites import load_suites

_PR_SET_PTRACER = 0x59616D61


def main() -> None:
    load_suites("expectations.audiences")
    for line in sys.stdin:
        asked = json.loads(line)
        child = os.fork()
        if not child:
            _child(asked)
        print(json.dumps({"pid": child}), flush=True)
        _, status = os.waitpid(child, 0)
        print(json.dumps({"exit": os.waitstatus_to_exitcode(status)}), flush=True)


def _child(asked: dict[str, object]) -> None:
    # Any process may trace this one, also where the kernel allows it to ancestors only.
    ctypes.CDLL(None).prctl(_PR_SET_PTRACER, ctypes.c_ulong(-1), 0, 0, 0)
    os.environ["STRATA_HOME"] = str(asked["home"])
    os.environ["STRATA_LANDING"] = str(asked["landing"])
    if asked["traced"]:
        os.kill(os.getpid(), signal.SIGSTOP)
    try:
        publish(
            settings_module.load(),
            date.fromisoformat(str(asked["as_of"])),
            run_id=str(asked["run"]),
            dbt_manifest=asked["manifest"],  # type: ignore[arg-type]
            expected_nodes=asked["nodes"],  # type: ignore[arg-type]
        )
    except BaseException as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
        os._exit(3)
    os._exit(0)


if __name__ == "__main__":
    main()
