"""Suites as plain data, and the one function that runs them with Great Expectations.

A suite names expectations without importing Great Expectations, whose import costs seconds: definitions load
without it, and a run pays for it once.
"""

import importlib.util
import pkgutil
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any

from pipeline.quality.checks import Check, Level
from pipeline.quality.gates import gates_named
from pipeline.quality.measures import Measures

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Expect:
    """One expectation. `type` is a class name of `great_expectations.expectations`, `args` its arguments.

    `description` says what a failure means and what to do, its first line in plain words. `gate` is the id of the
    policy's gate; where it is left out, the ids that the description names.
    """

    check: str
    type: str
    args: Mapping[str, Any]
    description: str
    level: Level = "block"
    gate: str = ""

    @property
    def gates(self) -> str:
        return self.gate or gates_named(self.description)


@dataclass(frozen=True)
class Suite:
    """What must hold of one feed (its delivery profiles) or one published table, and what ingest notes for it."""

    target: str
    expectations: tuple[Expect, ...] = field(default=())
    measures: Measures = Measures()

    @property
    def kind(self) -> str:
        return "table" if "." in self.target else "feed"


def load_suites(package: str) -> dict[str, Suite]:
    """Suites of `expectations.sources` or `expectations.audiences`, by target: one file each, with a SUITE."""
    parent = importlib.import_module(package)
    found: dict[str, Suite] = {}
    for module in sorted(pkgutil.iter_modules(parent.__path__), key=lambda m: m.name):
        suite: Suite = importlib.import_module(f"{package}.{module.name}").SUITE
        found[suite.target] = suite
    return found


def _on_first_use(package: str, module: str) -> None:
    """Let `from package import module` give a module that is loaded when something in it is first asked for.

    Great Expectations takes scipy.stats in for three expectations that no suite uses: 0.8 of 2.5 CPU-s of its import.
    """
    name = f"{package}.{module}"
    spec = importlib.util.find_spec(name)
    if name in sys.modules or spec is None or spec.loader is None:
        return
    spec.loader = importlib.util.LazyLoader(spec.loader)
    lazy = importlib.util.module_from_spec(spec)
    sys.modules[name] = lazy
    spec.loader.exec_module(lazy)
    setattr(sys.modules[package], module, lazy)


@cache
def _context() -> Any:
    _on_first_use("scipy", "stats")
    import great_expectations as gx
    from great_expectations.data_context.types.base import ProgressBarsConfig

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    return context


def run_suite(suite: Suite, frame: "pd.DataFrame") -> list[Check]:
    """One check per expectation of the suite on `frame`, in the suite's order."""
    context = _context()
    import great_expectations as gx

    source = context.data_sources.add_or_update_pandas("frames")
    batch = (
        source.add_dataframe_asset(suite.target)
        .add_batch_definition_whole_dataframe("whole")
        .get_batch({"dataframe": frame})
    )
    built = [
        getattr(gx.expectations, e.type)(
            **e.args, severity="critical" if e.level == "block" else "warning", meta={"check": e.check}
        )
        for e in suite.expectations
    ]
    result = batch.validate(gx.ExpectationSuite(suite.target, expectations=built), result_format="SUMMARY")
    by_check = {r.expectation_config.meta["check"]: r for r in result.results}
    return [_check(suite, expect, by_check[expect.check]) for expect in suite.expectations]


def _check(suite: Suite, expect: Expect, result: Any) -> Check:
    details = result.result
    observed = details.get("unexpected_count", details.get("observed_value"))
    failure = (result.exception_info or {}).get("exception_message")
    if failure is None:
        messages = [
            v.get("exception_message") for v in (result.exception_info or {}).values() if isinstance(v, dict)
        ]
        failure = next((m for m in messages if m), None)
    examples = tuple(str(v) for v in (details.get("partial_unexpected_list") or [])[:5])
    return Check(
        kind="table" if suite.kind == "table" else "feed",
        target=suite.target,
        check=expect.check,
        level=expect.level,
        passed=bool(result.success),
        observed=_plain(failure if failure else observed),
        limit=limit_of(expect),
        description=expect.description,
        examples=() if result.success else examples,
        gate=expect.gates,
    )


def limit_of(expect: Expect) -> str | int:
    """What the expectation allows, as a result states it."""
    args = {
        k: v for k, v in expect.args.items() if k not in ("column", "column_list", "column_A", "column_B")
    }
    if not args:
        return 0
    if "value_set" in args:
        return f"one of {len(args['value_set'])} values"
    return ", ".join(f"{k}={v}" for k, v in args.items())


def _plain(value: Any) -> Any:
    """A value that JSON and Dagster metadata can hold."""
    if hasattr(value, "item"):
        value = value.item()
    return value if isinstance(value, int | float | str | bool) or value is None else str(value)


def expectations_of(suites: Mapping[str, Suite]) -> Iterator[tuple[Suite, Expect]]:
    for suite in suites.values():
        for expect in suite.expectations:
            yield suite, expect
