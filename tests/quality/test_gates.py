"""Each gate over the sources: a clean day passes, and a planted defect is named by the gate that is there for it.

The defects are real files, taken in by the real loader. Gates over the built tables: test_warehouse_gates.py.
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path

import pytest
from dagster import AssetCheckSeverity

from pipeline.ingest import loader
from pipeline.ingest.contracts import load_contracts
from pipeline.ingest.profile import measures_of
from pipeline.quality import gate, rules
from pipeline.quality.checks import Check, blocking
from pipeline.quality.contract_suite import source_suites
from pipeline.quality.gate import _gates_of_feed, _results_by_gate, _specs_of_sources
from pipeline.quality.gates import GATES, gates_named
from pipeline.quality.policy import thresholds
from pipeline.quality.suites import expectations_of, load_suites
from pipeline.settings import PROJECT_ROOT, Settings
from pipeline.transform.dbt import ensure_manifest
from tests.quality.conftest import HEAD, LAST, content, failed, judge, the

Edit = Callable[[list[str]], list[str]]


def edited(feed: str, edit: Edit) -> str:
    """A clean day of a feed with its rows, each a list of fields, changed."""
    head, *rows = content(feed, LAST).splitlines()
    return "\n".join([head, *edit(rows)]) + "\n"


def with_field(feed: str, column: str, value: str, n: int) -> str:
    """A clean day in which the first n rows have another value in a column."""
    at = HEAD[feed].strip().split(",").index(column)

    def edit(rows: list[str]) -> list[str]:
        split = [row.split(",") for row in rows]
        return [
            ",".join([*f[:at], value, *f[at + 1 :]]) if i < n else ",".join(f) for i, f in enumerate(split)
        ]

    return edited(feed, edit)


def with_states(updates: str) -> str:
    """Eight orders come twice with another status; `updates` is the later time, or the same."""
    head, *rows = content("orders", LAST).splitlines()
    first = [f"{row},{LAST} 10:02:00" for row in rows]
    again = [f"{row.replace(',paid', ',shipped')},{LAST} {updates}" for row in rows[:8]]
    return "\n".join([head + ",updated_at", *first, *again]) + "\n"


def contacts(contact: tuple[str, str], n: int, *, head: bool = True) -> str:
    """A file of guest contacts, or only its rows: n orders with one phone and one e-mail."""
    rows = "".join(f"{contact[0]}-{i},{contact[0]},{contact[1]},true,{LAST} 10:05:00\n" for i in range(n))
    return "order_id,phone,email,is_consented,updated_at\n" * head + rows


@dataclass(frozen=True)
class Case:
    """One planted defect: files of the last day, the checks that must fail, and what the first of them must say."""

    gate: str
    name: str
    files: dict[str, str]
    target: str
    check: str
    level: str
    says: tuple[str, ...]
    others: tuple[str, ...] = ()


CASES = (
    Case(
        "Q-01",
        "a column is missing",
        {"orders": content("orders", LAST).replace("ordered_at", "order_time_of_the_new_till", 1)},
        "orders",
        "files_accepted",
        "block",
        (f"shop/orders/{LAST}.csv: missing_column", "ordered_at"),
    ),
    Case(
        "Q-01",
        "a column is typed wrong",
        {"order_lines": with_field("order_lines", "qty", "one", 12)},
        "order_lines",
        "columns_typed",
        "block",
        (f"shop/order_lines/{LAST}.csv: bad_number 12 of 20 rows", "limit 0.01"),
        ("rejected_rows",),
    ),
    Case(
        "Q-01",
        "a value is not in the contract",
        {"orders": with_field("orders", "status", "on_hold", 12)},
        "orders",
        "columns_typed",
        "block",
        (f"shop/orders/{LAST}.csv: unknown_value 12 of 20 rows",),
        ("rejected_rows",),
    ),
    Case(
        "Q-02",
        "a key has two contents",
        {"orders": with_states("10:02:00")},
        "orders",
        "keys_unique",
        "block",
        (f"shop/orders/{LAST}: 8 of", "repeat a key (order_id)", "limit 0.005"),
    ),
    Case(
        "Q-03",
        "a column is suddenly empty",
        {"orders": with_field("orders", "channel_id", "", 18)},
        "orders",
        "columns_complete",
        "block",
        (f"shop/orders/{LAST}: channel_id is empty in 90.0% of 20 rows, usually 0.0%",),
    ),
    Case(
        "Q-03",
        "a column that no number needs is suddenly empty",
        {"order_lines": with_field("order_lines", "list_price", "", 20)},
        "order_lines",
        "columns_steady",
        "warn",
        (f"shop/order_lines/{LAST}: list_price is empty in 100.0% of 20 rows, usually 0.0%",),
    ),
    Case(
        "Q-03",
        "nearly every order is a guest's",
        {"orders": content("orders", LAST, guests=19)},
        "orders",
        "guest_share_steady",
        "block",
        (f"shop/orders/{LAST}: source_customer_id is empty in 95.0% of 20 rows, usually 25.0%",),
    ),
    Case(
        "Q-04",
        "orders are paid before they are made",
        {"orders": with_field("orders", "paid_at", f"{LAST} 09:00:00", 10)},
        "orders",
        "values_accurate",
        "block",
        (f"shop/orders/{LAST}: 10 of 20 rows: paid before it was ordered (10)", "limit 0.01"),
    ),
    Case(
        "Q-04",
        "negative refunds",
        {"returns": with_field("returns", "refund_amount", "-5", 8)},
        "returns",
        "values_accurate",
        "block",
        (f"shop/returns/{LAST}: 8 of 20 rows: rejected as out_of_range (8)",),
        ("rejected_rows", "rejected_value"),
    ),
    Case(
        "Q-04",
        "contacts that nobody can read",
        {
            "guest_contacts": contacts(("1234", "nobody"), 6)
            + contacts(("5678", "a@mail.example"), 2, head=False)
        },
        "guest_contacts",
        "values_accurate",
        "block",
        (
            f"shop/guest_contacts/{LAST}: 8 of 8 rows: "
            "the phone can be read by nobody (8); the email can be read by nobody (6)",
        ),
    ),
    Case(
        "Q-06",
        "yesterday's export under today's date",
        {"orders": content("orders", LAST, at=LAST - timedelta(days=3))},
        "orders",
        "events_fresh",
        "block",
        ("shop/orders: newest event 2024-05-03, due 2024-05-06", "limit 0 days"),
    ),
    Case(
        "Q-07",
        "many rows are rejected",
        {"orders": content("orders", LAST) + "short\n" * 8},
        "orders",
        "rejected_rows",
        "block",
        (f"shop/orders/{LAST}.csv: 8 of 28 rows rejected (short_row 8)", "limit 0.01"),
    ),
    Case(
        "Q-07",
        "few rejected rows hold half the day's money",
        {"order_lines": content("order_lines", LAST) + ",9,p1,1,100,90\n" * 1 + ",10,p1,1,100,91\n"},
        "order_lines",
        "rejected_value",
        "block",
        (f"shop/order_lines/{LAST}: 181.00 in 2 rejected of 22 rows is 50.1% of the day", "limit 0.01"),
    ),
    Case(
        "Q-10",
        "an empty day",
        {"order_lines": HEAD["order_lines"]},
        "order_lines",
        "volume",
        "block",
        (f"shop/order_lines: 0 rows on {LAST}, usually 20",),
        ("revenue",),
    ),
    Case(
        "Q-10",
        "prices in cents",
        {"order_lines": with_field("order_lines", "unit_price_paid", "900", 20)},
        "order_lines",
        "revenue",
        "block",
        (f"shop/order_lines: 18,000 money on {LAST}, usually 180",),
    ),
    Case(
        "Q-10",
        "all rows in one channel",
        {"orders": with_field("orders", "channel_id", "A", 20)},
        "orders",
        "several_channels",
        "block",
        (f"shop/orders: all 20 rows on {LAST} in A, usually 2 channels",),
    ),
)


@pytest.mark.parametrize("case", CASES, ids=lambda c: f"{c.gate} {c.name}")
def test_a_planted_defect_is_named_by_its_gate(shop: Settings, case: Case) -> None:
    checks = judge(shop, dict(case.files), suites=False)
    expected = {case.check, *case.others}
    assert {name for target, name in failed(checks) if target == case.target} == expected
    assert {target for target, _ in failed(checks)} == {case.target}
    check = the(checks, case.target, case.check)
    assert (check.gate, check.level) == (case.gate, case.level)
    for part in (f"feed {case.target}: {case.check} ({case.gate})", *case.says):
        assert part in str(check)


def test_a_placeholder_and_a_mask_are_not_malformed(shop: Settings) -> None:
    """Q-04. The till insists on a number and the marketplace hides it: neither wrote one that nobody can read."""
    told = (
        contacts(("13800000000", "test@test.com"), 10)
        + contacts(("138****0001", "a***@mail.example"), 10, head=False)
        + contacts(("+44 20 7946 0018", "ann@mail.example"), 10, head=False)
    )
    check = the(judge(shop, {"guest_contacts": told}, suites=False), "guest_contacts", "values_accurate")
    assert check.passed and check.observed == 0


def test_a_few_guests_more_among_a_few_orders_are_chance(shop: Settings) -> None:
    """Q-03. The usual quarter is 5 of 20. Among 20 orders 13 guests may be chance; among 200 as many per cent are not."""
    few = judge(shop, {"orders": content("orders", LAST, guests=13)}, suites=False)
    assert the(few, "orders", "guest_share_steady").passed
    many = judge(shop, {"orders": content("orders", LAST, 200, guests=130)}, suites=False)
    assert not the(many, "orders", "guest_share_steady").passed


def test_a_newer_state_of_a_row_is_no_conflict(shop: Settings) -> None:
    """The same eight orders come twice, each with a later updated_at."""
    assert "keys_unique" not in {
        name for _, name in failed(judge(shop, {"orders": with_states("11:30:00")}, suites=False))
    }


def test_an_event_after_its_loading_stops(shop: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Q-12. The till's clock runs ahead: ten o'clock in Shanghai is two o'clock UTC, and it is not one yet."""
    monkeypatch.setattr(loader, "now_utc", lambda: datetime(2024, 5, 6, 1, 0))
    checks = judge(shop, suites=False)
    assert failed(checks) == {("orders", "no_future_events"), ("returns", "no_future_events")}
    check = the(checks, "orders", "no_future_events")
    assert check.blocks and check.gate == "Q-12"
    assert (
        f"shop/orders/{LAST}.csv: ordered_at 2024-05-06 02:00 UTC, loaded 2024-05-06 01:00" in check.examples
    )


def test_an_event_within_the_grace_of_five_minutes_passes(
    shop: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loader, "now_utc", lambda: datetime(2024, 5, 6, 2, 57))
    assert "no_future_events" not in {n for t, n in failed(judge(shop, suites=False)) if t == "orders"}


def test_what_stopped_a_day_stops_the_next_one_too(shop: Settings) -> None:
    """A day that came short is not forgotten because a full one follows."""
    judge(shop, {"orders": content("orders", LAST, 3, guests=0)}, suites=False)
    tomorrow = LAST + timedelta(days=1)
    for feed in HEAD:
        path = shop.landing / "shop" / feed / f"{tomorrow}.csv"
        path.write_text(content(feed, tomorrow))
    checks = judge(shop, dict.fromkeys(HEAD), tomorrow + timedelta(days=1), suites=False)
    assert {c.check for c in blocking(checks)} == {"volume"}
    assert f"3 rows on {LAST}" in the(checks, "orders", "volume").examples[0]


def test_every_gate_over_sources_has_its_planted_defect_here() -> None:
    of_sources = {rule.gate for rule in rules.RULES}
    assert (
        {case.gate for case in CASES} | {"Q-12"}
        == of_sources
        == set(GATES) - {"Q-05", "Q-08", "Q-11", "Q-18"}
    )


def test_a_feed_that_nobody_delivers_has_no_checks(shop: Settings) -> None:
    assert {c.target for c in judge(shop, suites=False)} == {"orders", "order_lines", "returns", "landing"}


@pytest.mark.parametrize("feed", sorted(load_suites("expectations.sources")))
def test_measures_can_be_computed_on_their_feed(feed: str) -> None:
    """Every amount, mix and doubt is SQL over columns that raw has."""
    import duckdb

    contract, measures = load_contracts()[feed], measures_of(feed)
    columns = ", ".join(f'cast(null as {kind}) as "{name}"' for name, kind in contract.raw_schema().items())
    wanted = [measures.amount or "null", measures.mix or "null", *(doubt.when for doubt in measures.doubts)]
    duckdb.sql(f"select {', '.join(wanted)} from (select {columns})")


def test_every_check_of_a_source_belongs_to_a_gate() -> None:
    """Whoever reads a gate's id in the guide finds it in the UI and in the JSON."""
    suites = [expect for suite in source_suites().values() for expect in suite.expectations]
    assert {expect.gates for expect in suites} | {rule.gate for rule in rules.RULES} <= set(GATES)
    for contract in load_contracts().values():
        assert set(_gates_of_feed(contract)) >= {"Q-01", "Q-06", "Q-07"}
    names = [gate.check_name for gate in GATES.values()]
    assert names[0] == "q_01_schema_contract" and len(set(names)) == len(names)


def test_the_ui_shows_one_result_per_feed_and_gate(shop: Settings) -> None:
    """The failed rule is in the description and in the table of rules; a feed that nobody delivers has no result."""
    checks = judge(shop, {"orders": with_field("orders", "channel_id", "A", 20)}, suites=False)
    wanted = {(spec.asset_key, spec.name) for spec in _specs_of_sources()}
    results = {(r.asset_key.path[-1], r.check_name): r for r in _results_by_gate(checks, wanted)}
    assert {feed for feed, _ in results} == {"orders", "order_lines", "returns", "ingest_ledger"}
    result = results["orders", "q_10_volume_anomaly"]
    assert not result.passed and result.severity == AssetCheckSeverity.ERROR
    assert "feed orders: several_channels (Q-10)" in str(result.description)
    assert "| several_channels | block | **failed** |" in str(result.metadata["rules"].value)
    assert all(r.passed for key, r in results.items() if key != ("orders", "q_10_volume_anomaly"))


def test_a_warning_of_a_blocking_gate_does_not_stop_the_ui_s_run(shop: Settings) -> None:
    checks = judge(shop, {"orders": content("orders", LAST, 40)}, suites=False)
    wanted = {(spec.asset_key, spec.name) for spec in _specs_of_sources()}
    failures = [r for r in _results_by_gate(checks, wanted) if not r.passed]
    assert [(r.check_name, r.severity) for r in failures] == [
        ("q_10_volume_anomaly", AssetCheckSeverity.WARN)
    ]


def test_dagster_says_nothing_of_gates_without_a_result(caplog: pytest.LogCaptureFixture) -> None:
    from dagster._core.execution.plan import active

    active.logger.warning("Blocking asset check 'raw/fx:q_07' emitted no result in step 'sources_gate'; …")
    active.logger.warning("another warning")
    assert [record.getMessage() for record in caplog.records] == ["another warning"]
    assert (
        "emitted no result " in Path(active.__file__).read_text()
        and '"in step {' in Path(active.__file__).read_text()
    )


def test_a_description_tells_its_gates() -> None:
    assert gates_named("Lost revenue (Q-11): see Q-05, and Q-11 again.") == "Q-11, Q-05"
    assert gates_named("Nothing.") == ""


def test_every_check_names_its_gate_and_the_guide_explains_it() -> None:
    """A marketer who reads that a run was stopped can look up by what."""
    guide = (PROJECT_ROOT / "docs" / "gates.md").read_text(encoding="utf-8")
    told = set(re.findall(r"Q-\d\d", "".join(line for line in guide.splitlines() if line.startswith("## "))))
    nodes = json.loads(ensure_manifest().read_text())["nodes"].values()
    named = {
        node["name"]: gates_named(node["config"]["meta"].get("description", ""))
        for node in nodes
        if node["resource_type"] == "test"
    }
    for package in ("expectations.audiences", "expectations.releases"):
        for suite, expect in expectations_of(load_suites(package)):
            named[f"{suite.target}.{expect.check}"] = expect.gates
    assert [name for name, gates in named.items() if not gates] == []
    assert {gate for gates in named.values() for gate in gates.split(", ")} <= told


def test_the_guide_explains_every_gate_and_rule() -> None:
    guide = (PROJECT_ROOT / "docs" / "gates.md").read_text(encoding="utf-8")
    titles = " ".join(line for line in guide.splitlines() if line.startswith("## Q-"))
    missing = [gate for gate in GATES if f"{gate}" not in titles]
    missing += [rule.check for rule in rules.RULES if f"`{rule.check}`" not in guide]
    keys = set(thresholds(date(2026, 1, 1)))
    tests = Path(PROJECT_ROOT / "dbt_project" / "tests" / "singular").glob("*.sql")
    of_gates = [
        t.stem
        for t in tests
        if set(gates_named(t.read_text()).split(", ")) & {"Q-02", "Q-04", "Q-05", "Q-11", "Q-12"}
    ]
    missing += [name for name in of_gates if f"`{name}`" not in guide]
    assert missing == []
    named = set(re.findall(r"`([a-z_]+_(?:max|min|days|weeks|minutes))`", guide))
    assert named <= keys | {"shift_max", "no_missing_days"}, named - keys


def test_a_stop_is_told_once(capsys: pytest.CaptureFixture[str]) -> None:
    """The progress names the check; what it found and what to do stands in the answer of the command."""
    found = Check("feed", "orders", "delivered", "block", False, 4, 0, "Deliver it.", ("app/orders",), "Q-06")
    gate._tell([found])
    told = capsys.readouterr().err
    assert "STOPPED by feed orders: delivered (Q-06)" in told and "Deliver it" not in told
    assert str(found).startswith(
        "feed orders: delivered (Q-06) · observed 4, limit 0 · e.g. app/orders · Deliver it."
    )
