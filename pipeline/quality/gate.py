"""The gates as Dagster asset checks: one check per rule, blocking where a failure must stop the line."""

import json
from collections.abc import Iterable, Iterator, Sequence
from datetime import date

import duckdb
from dagster import (
    AssetCheckExecutionContext,
    AssetCheckResult,
    AssetCheckSeverity,
    AssetCheckSpec,
    AssetKey,
    multi_asset_check,
)

from pipeline import settings as settings_module
from pipeline.ingest.contracts import load_contracts
from pipeline.progress import say
from pipeline.quality.checks import Check, blocking
from pipeline.quality.sources import DRIFT, GAPS, LEDGER_CHECKS, STRAY, check_level, check_sources
from pipeline.quality.suites import expectations_of, load_suites, run_suite
from pipeline.schedule_days import as_of_date
from pipeline.settings import Settings
from pipeline.transform.context import fingerprint

LEDGER_KEY = AssetKey(["raw", "ingest_ledger"])
_checked: dict[tuple[str, str], list[Check]] = {}


def save_checks(settings: Settings, stage: str, run_id: str, checks: Sequence[Check]) -> None:
    """Keep a stage's results for the command line: `build/checks/<stage>.json`."""
    path = settings.build / "checks" / f"{stage}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    data = {"run_id": run_id, "checks": [check.as_dict() for check in checks]}
    path.write_text(json.dumps(data, ensure_ascii=False, default=str))


def source_checks(settings: Settings, as_of: date, run_id: str) -> list[Check]:
    """The source checks of one run; gate and build ask for the same ones, so they are made once."""
    key = (run_id, fingerprint(settings, as_of))
    if key not in _checked:
        _checked.clear()
        _checked[key] = check_sources(settings, as_of)
        save_checks(settings, "sources", run_id, _checked[key])
    return _checked[key]


def _key(check: Check) -> AssetKey:
    if check.kind == "table":
        return AssetKey(check.target.split("."))
    return LEDGER_KEY if check.target == "landing" else AssetKey(["raw", check.target])


def _specs_of_sources() -> Iterator[AssetCheckSpec]:
    for feed, contract in load_contracts().items():
        for expect in (*LEDGER_CHECKS, GAPS, DRIFT):
            yield AssetCheckSpec(
                expect.check,
                asset=AssetKey(["raw", feed]),
                description=expect.description,
                blocking=check_level(contract, expect) == "block",
            )
    yield AssetCheckSpec(STRAY.check, asset=LEDGER_KEY, description=STRAY.description)
    for suite, expect in expectations_of(load_suites("expectations.sources")):
        yield AssetCheckSpec(
            expect.check,
            asset=AssetKey(["raw", suite.target]),
            description=expect.description,
            blocking=expect.level == "block",
        )


def _specs_of_audiences() -> Iterator[AssetCheckSpec]:
    for suite, expect in expectations_of(load_suites("expectations.audiences")):
        yield AssetCheckSpec(
            expect.check,
            asset=AssetKey(suite.target.split(".")),
            description=expect.description,
            blocking=expect.level == "block",
        )


def _results(checks: Iterable[Check], selected: set[tuple[AssetKey, str]]) -> Iterator[AssetCheckResult]:
    for check in checks:
        if (_key(check), check.check) in selected:
            yield AssetCheckResult(
                passed=check.passed,
                asset_key=_key(check),
                check_name=check.check,
                severity=AssetCheckSeverity.ERROR if check.level == "block" else AssetCheckSeverity.WARN,
                description=None if check.passed else str(check),
                metadata={
                    "observed": check.observed
                    if isinstance(check.observed, int | float)
                    else str(check.observed),
                    "limit": check.limit if isinstance(check.limit, int | float) else str(check.limit),
                    "examples": "; ".join(check.examples) or "none",
                },
            )


def _selected(context: AssetCheckExecutionContext) -> set[tuple[AssetKey, str]]:
    return {(key.asset_key, key.name) for key in context.selected_asset_check_keys}


def _tell(checks: Iterable[Check]) -> None:
    failed = [check for check in checks if not check.passed]
    stopped = blocking(failed)
    say(
        f"{len(stopped)} blocking and {len(failed) - len(stopped)} warning checks failed"
        if failed
        else "all checks passed"
    )
    for check in stopped:
        say(f"STOPPED: {check}")


@multi_asset_check(name="sources_gate", specs=list(_specs_of_sources()), can_subset=True)
def sources_gate(context: AssetCheckExecutionContext) -> Iterator[AssetCheckResult]:
    """May it come in? Ledger rules and the suites of expectations/sources."""
    say("checking the sources")
    settings = settings_module.load()
    checks = source_checks(settings, as_of_date(context.run.tags["dagster/partition"]), context.run.run_id)
    _tell(checks)
    yield from _results(checks, _selected(context))


@multi_asset_check(name="audiences_gate", specs=list(_specs_of_audiences()), can_subset=True)
def audiences_gate(context: AssetCheckExecutionContext) -> Iterator[AssetCheckResult]:
    """May it leave? The suites of expectations/audiences on the built tables; publish runs them again on its files."""
    say("checking the audiences")
    settings = settings_module.load()
    checks: list[Check] = []
    con = duckdb.connect(str(settings.warehouse), read_only=True)
    try:
        for suite in load_suites("expectations.audiences").values():
            schema, table = suite.target.split(".")
            checks += run_suite(suite, con.execute(f'select * from "{schema}"."{table}"').df())
    finally:
        con.close()
    save_checks(settings, "audiences", context.run.run_id, checks)
    _tell(checks)
    yield from _results(checks, _selected(context))
