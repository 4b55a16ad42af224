"""The parsed dbt project: its manifest for Dagster, and the same ready for a build, which then parses nothing.

dbt compares an environment variable of the profile with that of the last parse and reads every file anew where it
differs, so each home paid for a whole parse. The project is parsed once under a home that stands for all; the two places
where a path is fixed at parse time, the location of the sources and the folder of the seeds, are given the real home and
the real project when the manifest is loaded: a checkout that was copied or moved would load the seeds of the other one.
"""

import fcntl
import os
import shutil
import subprocess
import sys
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.settings import DBT_PROJECT_DIR
from pipeline.transform.context import project_hash

if TYPE_CHECKING:
    from dbt.contracts.graph.manifest import Manifest

MANIFEST = DBT_PROJECT_DIR / "target" / "manifest.json"
_PARSED = MANIFEST.with_name("parsed.msgpack")
_STAMP = MANIFEST.with_name("parsed.sha256")
NO_HOME = "/strata-home-of-the-build"


@cache
def ensure_manifest() -> Path:
    """Path of the manifest; parses the project first where its files are not those that were parsed."""
    wanted = _state()
    if not _is_current(wanted):
        MANIFEST.parent.mkdir(parents=True, exist_ok=True)
        # Two processes that start together would each read what the other has half written.
        with (MANIFEST.parent / ".parse.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not _is_current(wanted):
                _parse(wanted)
    return MANIFEST


def _state() -> str:
    """What a parse depends on: the files of the project and where they are, and the packages that read them."""
    packages = (version(p) for p in ("dbt-core", "dbt-adapters", "dbt-duckdb"))
    return " ".join((project_hash(), *packages, str(DBT_PROJECT_DIR)))


def _is_current(wanted: str) -> bool:
    return MANIFEST.exists() and _PARSED.exists() and _STAMP.exists() and _STAMP.read_text().strip() == wanted


def _parse(state: str) -> None:
    # Beside the real one: a reader meets the old manifest or the new one, never half of it.
    parsing = MANIFEST.parent / "parsing"
    # Anew: parsing what has changed alone, dbt keeps a unit test that was renamed, and the seeds of a project that was moved.
    shutil.rmtree(parsing, ignore_errors=True)
    done = subprocess.run(
        [
            str(Path(sys.executable).with_name("dbt")),
            "--quiet",
            "parse",
            "--project-dir",
            str(DBT_PROJECT_DIR),
            "--profiles-dir",
            str(DBT_PROJECT_DIR),
            "--target-path",
            str(parsing),
        ],
        env={**os.environ, "STRATA_HOME": NO_HOME, "DBT_SEND_ANONYMOUS_USAGE_STATS": "false"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"the dbt project does not parse:\n{done.stdout}{done.stderr}")
    _STAMP.unlink(missing_ok=True)
    (parsing / "manifest.json").replace(MANIFEST)
    (parsing / "partial_parse.msgpack").replace(_PARSED)
    _STAMP.write_text(state + "\n")


def parsed_project(home: Path) -> "Manifest":
    """A fresh copy of the parsed project whose sources lie in `home`: dbt changes it while it builds."""
    from dbt.contracts.graph.manifest import Manifest
    from dbt.contracts.graph.nodes import SeedNode
    from dbt.parser.manifest import extended_mashumuro_decoder

    ensure_manifest()
    manifest = Manifest.from_msgpack(_PARSED.read_bytes(), decoder=extended_mashumuro_decoder)
    for source in manifest.sources.values():
        source.meta = _located(source.meta, home)
        source.source_meta = _located(source.source_meta, home)
        source.config.meta = _located(source.config.meta, home)
        source.config._extra = _located(source.config._extra, home)
        source.unrendered_config = _located(source.unrendered_config, home)
        source.relation_name = _located(source.relation_name, home)
    for node in manifest.nodes.values():
        if isinstance(node, SeedNode):
            node.root_path = str(DBT_PROJECT_DIR)
    manifest.build_flat_graph()
    return manifest


def _located(value: Any, home: Path) -> Any:
    if isinstance(value, str):
        return value.replace(NO_HOME, str(home))
    if isinstance(value, dict):
        return {key: _located(part, home) for key, part in value.items()}
    return value
