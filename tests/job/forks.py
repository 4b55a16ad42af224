"""`strata` commands as children forked from one process that has imported all but what belongs to one home.

What a command imports costs 6 CPU-s, which the tests of the line would pay some fifty times. A child has its own
environment, folder, standard streams and process id; what it cannot have of its own is the seed of `hash()`. So a test
that compares the bytes of two builds starts one of them as a fresh interpreter, and so does one that looks at the
interpreter's start or runs other code.

One JSON line in, one out, per child: {"args": […], "env": {…}, "cwd": "…", "streams": [out, err]} → {"exit": n}. With
"code" instead of a command, `args` are the script's.
"""

import gc
import importlib
import json
import logging
import os
import pkgutil
import re
import subprocess
import sys
import tempfile
import traceback
import warnings
from functools import cache
from pathlib import Path
from typing import Any

import expectations
import pipeline
from pipeline.transform import project

# Their partitions begin with the first delivery of the landing that is set when they are imported.
_OF_A_HOME = re.compile(r"^pipeline\.(definitions|schedules|transform\.dbt|(.+\.)?assets)$")
ROOT = Path(__file__).parents[2]


@cache
def _server() -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.job.forks"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def stop() -> None:
    """End the server where one was started."""
    if _server.cache_info().currsize:
        server = _server()
        server.stdin.close()
        server.wait(30)
        _server.cache_clear()


def call(
    args: list[str], env: dict[str, str], cwd: Path, code: str | None = None
) -> subprocess.CompletedProcess[str]:
    """What `subprocess.run` would say of `python -m pipeline.cli ARGS` in this environment, or of `python -c CODE ARGS`."""
    server = _server()
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        # The server opens them by this process's numbers: no name, so nothing to clean up after a crash.
        streams = [f"/proc/{os.getpid()}/fd/{stream.fileno()}" for stream in (out, err)]
        asked = {"args": args, "env": env, "cwd": str(cwd), "code": code, "streams": streams}
        server.stdin.write(json.dumps(asked) + "\n")
        server.stdin.flush()
        answer = server.stdout.readline()
        if not answer:
            raise RuntimeError(f"the process that forks commands ended with {server.wait()}")
        out.seek(0)
        err.seek(0)
        return subprocess.CompletedProcess(
            args, json.loads(answer)["exit"], out.read().decode(), err.read().decode()
        )


def _import_all() -> None:
    for name in ("dagster_dbt", "dbt.adapters.duckdb.connections", "dbt.cli.main", "great_expectations"):
        importlib.import_module(name)
    for package in (pipeline, expectations):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not module.name.endswith("__main__") and not _OF_A_HOME.search(module.name):
                importlib.import_module(module.name)
    early = sorted(filter(_OF_A_HOME.search, sys.modules))
    if early:
        raise RuntimeError(f"{', '.join(early)} came with another module: which home would they be of?")
    project.ensure_manifest()


def _serve() -> None:
    gc.disable()
    before = dict(os.environ)
    with warnings.catch_warnings(action="ignore"):
        _import_all()
    # A fresh interpreter would set these too, when it imports.
    own = {name: value for name, value in os.environ.items() if before.get(name) != value}
    gc.freeze()
    gc.enable()
    for line in sys.stdin:
        asked = json.loads(line)
        child = os.fork()
        if not child:
            _child(asked, own)
        _, status = os.waitpid(child, 0)
        print(json.dumps({"exit": os.waitstatus_to_exitcode(status)}), flush=True)


def _child(asked: dict[str, Any], own: dict[str, str]) -> None:
    code = 70
    try:
        for number, path in enumerate([os.devnull, *asked["streams"]]):
            opened = os.open(path, os.O_RDONLY if number == 0 else os.O_WRONLY | os.O_APPEND)
            os.dup2(opened, number)
            os.close(opened)
        os.environ.clear()
        os.environ.update(asked["env"] | own)
        os.chdir(asked["cwd"])
        sys.argv = ["strata" if asked["code"] is None else "-c", *asked["args"]]
        if asked["code"] is None:
            from pipeline.cli import main

            main()
        else:
            exec(compile(asked["code"], "<code>", "exec"), {"__name__": "__main__"})
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
        code = 1
    finally:
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    _serve()
