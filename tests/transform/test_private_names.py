"""LocalDbt overrides two private names of dagster-dbt: a version that renames them must be noticed here."""

import ast
import inspect
from pathlib import Path

from dagster_dbt import DbtCliResource

from pipeline.settings import PROJECT_ROOT

NAMES = {"_cli_version", "_initialize_dbt_core_adapter"}


def overridden(path: Path, name: str) -> set[str]:
    """Methods of a class, read without importing the module, which would parse the dbt project."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = next(node for node in ast.walk(tree) if isinstance(node, ast.ClassDef) and node.name == name)
    return {node.name for node in found.body if isinstance(node, ast.FunctionDef)}


def test_our_resource_overrides_exactly_these() -> None:
    assert overridden(PROJECT_ROOT / "pipeline" / "transform" / "dbt.py", "LocalDbt") == NAMES


def test_the_installed_resource_has_and_uses_them() -> None:
    source = inspect.getsource(DbtCliResource)
    for name in NAMES:
        assert name in DbtCliResource.__dict__
        assert source.count(name) > 1, f"{name} is defined but no longer used"
    assert "_initialize_dbt_core_adapter" in inspect.getsource(DbtCliResource.cli)
