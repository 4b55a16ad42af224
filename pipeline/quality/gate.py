"""The gates as Dagster asset checks, blocking where a failure must stop the line.

Sources have one check per feed and gate (`q_06_freshness`), audiences one per expectation.
"""

import logging
from collections import defaultdict
from collections.abc import Iterable, Iterator
from datetime import date

from dagster import (
    AssetCheckExecutionContext,
    AssetCheckResult,
    AssetCheckSeverity,
    AssetCheckSpec,
    AssetKey,
    MetadataValue,
    multi_asset_check,
)

from pipeline import duck
from pipeline import settings as settings_module
from pipeline.ingest.contracts import Contract, load_contracts
from pipeline.progress import say
from pipeline.quality.checks import Check, blocking, save_checks
from pipeline.quality.contract_suite import source_suites
from pipeline.quality.gates import GATES
from pipeline.quality.rules import NO_STRAY_FILES, level_of
from pipeline.quality.sources import check_sources, rules_of
from pipeline.quality.suites import expectations_of, load_suites, run_suite
from pipeline.schedule_days import as_of_date
from pipeline.settings import Settings
from pipeline.transform.context import fingerprint
from pipeline.words import counted

LEDGER_KEY = AssetKey(["raw", "ingest_ledger"])
_checked: dict[tuple[str, str], list[Check]] = {}
# A feed that nobody delivers has no results, which Dagster tells once per check. The build asks the gate itself.
logging.getLogger("dagster._core.execution.plan.active").addFilter(
    lambda record: "emitted no result in step" not in record.getMessage()
)
_RULES_HEAD = "| rule | level | result | observed | limit |\n|---|---|---|---|---|"


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


def _gates_of_feed(contract: Contract) -> dict[str, bool]:
    """Ids of the gates that a feed can fail, each with whether one of its rules may block."""
    gates: dict[str, bool] = {}
    for rule in rules_of(contract):
        gates[rule.gate] = gates.get(rule.gate, False) or level_of(rule, contract) == "block"
    for expect in source_suites()[contract.feed].expectations:
        gates[expect.gates] = gates.get(expect.gates, False) or expect.level == "block"
    return {gate: gates[gate] for gate in GATES if gate in gates}


def _specs_of_sources() -> Iterator[AssetCheckSpec]:
    """One check per feed and gate: its rules are in the result's metadata, and one by one in `strata run --json`."""
    for feed, contract in load_contracts().items():
        for gate, blocks in _gates_of_feed(contract).items():
            yield AssetCheckSpec(
                GATES[gate].check_name,
                asset=AssetKey(["raw", feed]),
                description=f"{GATES[gate].title}: {GATES[gate].question}",
                blocking=blocks,
                metadata={"gate": gate},
            )
    stray = GATES[NO_STRAY_FILES.gate]
    yield AssetCheckSpec(
        NO_STRAY_FILES.check,
        asset=LEDGER_KEY,
        description=f"{stray.title}: {NO_STRAY_FILES.description}",
        metadata={"gate": stray.id},
    )


def _specs_of_audiences() -> Iterator[AssetCheckSpec]:
    for suite, expect in expectations_of(load_suites("expectations.audiences")):
        yield AssetCheckSpec(
            expect.check,
            asset=AssetKey(suite.target.split(".")),
            description=expect.description,
            blocking=expect.level == "block",
        )


def _severity(checks: Iterable[Check]) -> AssetCheckSeverity:
    """ERROR where one of the failed checks stops the run."""
    return AssetCheckSeverity.ERROR if blocking(checks) else AssetCheckSeverity.WARN


def _shown(value: object) -> int | float | str:
    return value if isinstance(value, int | float) else str(value)


def _results(checks: Iterable[Check], selected: set[tuple[AssetKey, str]]) -> Iterator[AssetCheckResult]:
    for check in checks:
        if (_key(check), check.check) in selected:
            yield AssetCheckResult(
                passed=check.passed,
                asset_key=_key(check),
                check_name=check.check,
                severity=_severity([check]),
                description=None if check.passed else str(check),
                metadata={
                    "observed": _shown(check.observed),
                    "limit": _shown(check.limit),
                    "examples": "; ".join(check.examples) or "none",
                },
            )


def _results_by_gate(
    checks: Iterable[Check], selected: set[tuple[AssetKey, str]]
) -> Iterator[AssetCheckResult]:
    """One result per feed and gate. A feed that was not judged, because no present source delivers it, has none."""
    groups: dict[tuple[AssetKey, str], list[Check]] = defaultdict(list)
    alone: list[Check] = []
    for check in checks:
        if check.target == "landing":
            alone.append(check)
        elif check.gate in GATES:
            groups[_key(check), check.gate].append(check)
    for (key, gate), own in groups.items():
        if (key, GATES[gate].check_name) in selected:
            failed = [check for check in own if not check.passed]
            rows = [
                f"| {c.check} | {c.level} | {'passed' if c.passed else '**failed**'} | {c.observed} | {c.limit} |"
                for c in own
            ]
            yield AssetCheckResult(
                passed=not failed,
                asset_key=key,
                check_name=GATES[gate].check_name,
                severity=_severity(own),
                description="\n".join(str(check) for check in failed) or None,
                metadata={
                    "gate": GATES[gate].title,
                    "rules": MetadataValue.md("\n".join((_RULES_HEAD, *rows))),
                    "examples": "; ".join(e for c in failed for e in c.examples) or "none",
                },
            )
    yield from _results(alone, selected)


def _selected(context: AssetCheckExecutionContext) -> set[tuple[AssetKey, str]]:
    return {(key.asset_key, key.name) for key in context.selected_asset_check_keys}


def _tell(checks: Iterable[Check]) -> None:
    failed = [check for check in checks if not check.passed]
    stopped = blocking(failed)
    say(
        f"{counted(len(stopped), 'blocking check')} and {counted(len(failed) - len(stopped), 'warning')} failed"
        if failed
        else "all checks passed"
    )
    for check in stopped:
        # What it found and what to do is the answer of the command, at its end.
        say(f"STOPPED by {check.name}")
    for check in [c for c in failed if c not in stopped][:5]:
        say(f"warning: {check}")


@multi_asset_check(name="sources_gate", specs=list(_specs_of_sources()), can_subset=True)
def sources_gate(context: AssetCheckExecutionContext) -> Iterator[AssetCheckResult]:
    """May it come in? The gates Q-01 … Q-12 of each feed that is in use: ledger, profiles, expectations/sources."""
    say("checking the sources")
    settings = settings_module.load()
    checks = source_checks(settings, as_of_date(context.run.tags["dagster/partition"]), context.run.run_id)
    _tell(checks)
    yield from _results_by_gate(checks, _selected(context))


@multi_asset_check(name="audiences_gate", specs=list(_specs_of_audiences()), can_subset=True)
def audiences_gate(context: AssetCheckExecutionContext) -> Iterator[AssetCheckResult]:
    """May it leave? The suites of expectations/audiences on the built tables; publish runs them again on its files."""
    say("checking the audiences")
    settings = settings_module.load()
    checks: list[Check] = []
    con = duck.connect([settings.warehouse.parent], database=settings.warehouse, read_only=True)
    try:
        for suite in load_suites("expectations.audiences").values():
            schema, table = suite.target.split(".")
            checks += run_suite(suite, con.execute(f'select * from "{schema}"."{table}"').df())
    finally:
        con.close()
    save_checks(settings, "audiences", context.run.run_id, checks)
    _tell(checks)
    yield from _results(checks, _selected(context))
