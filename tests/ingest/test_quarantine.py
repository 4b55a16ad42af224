"""Rejected records: where they are told, and what reading them again under mended rules moves and leaves."""

import json
from collections.abc import Callable
from datetime import date
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from pipeline.cli import main
from pipeline.errors import StrataError
from pipeline.ingest import ledger, quarantine
from pipeline.ingest.load import sweep
from pipeline.ingest.quarantine import Filter
from pipeline.ingest.replay import Replay, replay
from pipeline.settings import Settings
from tests import postgres

declare_fixture = postgres.declare_fixture
Land = Callable[[str, bytes | str], Path]
Declare = Callable[[dict[str, str]], None]
AS_OF = date(2026, 3, 4)
FILE = "tea/sales/2026-03-02.csv"
SALES = (
    "receipt,sold_at,sku,qty,price,state\n"
    "1,2026-03-02 10:00:00,A,2,5.00,done\n"
    "2,2026-03-02 11:00:00,A,1,5.00,swapped\n"
    "3,2026-03-02 12:00:00,B,one,5.00,done\n"
    "4,2026-03-02 13:00:00,B,1,5.00,done\n"
)
ORDERS = "select _delivery, min(_row) as _row, receipt as order_id, min(sold_at) as ordered_at, 'paid' as status from delivered group by _delivery, receipt"
LINES = "select _delivery, _row, receipt as order_id, 1 as line_no, sku as product_id, qty, {price} as unit_price_paid from delivered"


def tea(states: str = "done", aliases: str = "", price: str = "price") -> dict[str, str]:
    """Declaration and mapping of a till; the arguments are what a user may have to mend."""
    return {
        "tea/source.yml": f"""
source: tea
zone: Asia/Shanghai
feeds:
  sales:
    maps_to: [orders, order_lines]
    columns:
      receipt: {{type: s, required: true}}
      sold_at: {{type: ts, required: true, event: true}}
      sku: {{type: s, required: true}}
      qty: {{type: q, required: true}}
      price: {{type: m, required: true, aliases: [{aliases}]}}
      state: {{type: s, required: true, values: [{states}]}}
""",
        "tea/orders.sql": ORDERS,
        "tea/order_lines.sql": LINES.format(price=price),
    }


@pytest.fixture
def till(settings: Settings, land: Land, declare: Declare) -> Settings:
    """A home in which one file of a till has been taken in: two of its four records are rejected."""
    declare(tea())
    land(FILE, SALES)
    take_in(settings)
    return settings


def take_in(settings: Settings, released: date | None = None) -> None:
    sweep(settings, AS_OF, run_id="test", released=released)


def again(settings: Settings, *names: str, released: date | None = None, all_rows: bool = False) -> Replay:
    return replay(settings, Filter(names=names), released=released, all_rows=all_rows)


def told(settings: Settings, *, every: bool = False) -> list[tuple[str, str | None, str, list[int]]]:
    found = quarantine.groups(settings, every=every)
    return [(g.code, g.column, g.state, [r.record_no for r in g.examples]) for g in found]


def counts(settings: Settings) -> list[tuple[int, int, int, int]]:
    return [(e.rev, e.rows_read, e.rows_loaded, e.rows_rejected) for e in ledger.read(settings)]


def order_ids(settings: Settings) -> list[str]:
    """Orders in raw that a build reads."""
    good = {e.delivery for e in ledger.in_force(ledger.read(settings), AS_OF) if e.status == "loaded"}
    files = settings.raw.glob("tea/orders/*/*/*.parquet")
    rows = [row for file in files for row in pq.read_table(file).to_pylist()]
    return sorted(row["order_id"] for row in rows if row["_delivery"] in good)


def test_a_rejected_record_is_told_with_place_code_and_value(till: Settings) -> None:
    swapped, one = quarantine.groups(till)
    assert (swapped.file, swapped.code, swapped.column, swapped.rows_n) == (FILE, "unknown_value", "state", 1)
    for group, line in ((swapped, 2), (one, 3)):
        (record,) = group.examples
        assert record.record_no == line
        span = SALES.encode()[record.byte_start : record.byte_end]
        assert span.decode() == SALES.splitlines(keepends=True)[line]
        assert record.value in ("swapped", "one")
    (entry,) = ledger.read(till)
    assert json.loads(entry.reject_codes or "") == {"bad_number": 1, "unknown_value": 1}
    assert json.loads(entry.feed_rows or "") == {"orders": 2, "order_lines": 2}


def test_the_list_narrows_by_source_feed_code_and_name(till: Settings) -> None:
    codes = {
        Filter(code="bad_number"): ["bad_number"],
        Filter(source="tea", feed="sales"): ["unknown_value", "bad_number"],
        Filter(names=(FILE,)): ["unknown_value", "bad_number"],
        Filter(names=("tea/sales/2026-03-02/rev=1",)): ["unknown_value", "bad_number"],
        Filter(source="coffee"): [],
        Filter(names=("tea/sales/2026-03-0",)): [],
    }
    for wanted, expected in codes.items():
        assert [g.code for g in quarantine.groups(till, wanted)] == expected, wanted


def test_a_mended_rule_moves_the_record_and_leaves_the_totals(till: Settings, declare: Declare) -> None:
    declare(tea(states="done, swapped"))
    done = again(till, FILE)
    assert [(old.rev, new.rev, new.replay_of) for old, new in done.moved] == [
        (1, 2, "tea/sales/2026-03-02/rev=1")
    ]
    assert counts(till) == [(1, 4, 2, 2), (2, 4, 3, 1)], "the ledger keeps both readings"
    assert [e.rev for e in ledger.last_readings(ledger.read(till))] == [2]
    assert order_ids(till) == ["1", "2", "4"]
    assert told(till) == [("bad_number", "qty", "rejected", [3])]
    assert told(till, every=True) == [
        ("unknown_value", "state", "loaded", [2]),
        ("bad_number", "qty", "rejected", [3]),
    ]
    first, second = ledger.read(till)
    assert (second.first_seen_at, second.sha256) == (first.first_seen_at, first.sha256)
    assert second.loaded_at > first.loaded_at


def test_a_stricter_rule_moves_records_the_other_way(till: Settings, declare: Declare) -> None:
    declare(tea(states="swapped"))
    again(till, "tea/sales/2026-03-02")
    assert counts(till)[1] == (2, 4, 1, 3)
    assert order_ids(till) == ["2"]


def test_under_the_same_rules_nothing_is_read_again(till: Settings) -> None:
    done = again(till, FILE)
    assert (done.moved, [e.rev for e in done.same_rules]) == ((), [1])
    assert counts(till) == [(1, 4, 2, 2)]


def test_a_changed_mapping_reaches_files_without_rejects(
    settings: Settings, land: Land, declare: Declare
) -> None:
    declare(tea())
    land(FILE, "\n".join([SALES.splitlines()[0], SALES.splitlines()[1], ""]))
    take_in(settings)
    declare(tea(price="price * 2"))
    with pytest.raises(StrataError, match="no rejected record or file .* is meant"):
        again(settings, FILE)
    take_in(settings)
    assert counts(settings) == [(1, 1, 1, 0)], "a sweep alone does not read a known file again"
    again(settings, FILE, all_rows=True)
    assert counts(settings) == [(1, 1, 1, 0), (2, 1, 1, 0)]
    (line,) = pq.read_table(
        settings.raw / "tea/order_lines/dt=2026-03-02/rev=2/sales.2026-03-02.parquet"
    ).to_pylist()
    assert line["unit_price_paid"] == 10


@pytest.mark.parametrize(
    ("released", "known_from"),
    [(None, date(2026, 3, 3)), (date(2026, 3, 2), date(2026, 3, 3)), (date(2026, 3, 20), date(2026, 3, 20))],
    ids=["nothing released", "the day itself released", "a later day released"],
)
def test_a_replay_is_known_from_the_day_that_was_released_last(
    till: Settings,
    declare: Declare,
    released: date | None,
    known_from: date,
) -> None:
    declare(tea(states="done, swapped"))
    again(till, FILE, released=released)
    assert ledger.read(till)[1].known_from == known_from


@pytest.mark.parametrize("content", [None, SALES.replace(",one,", ",1,")], ids=["gone", "changed"])
def test_a_file_that_is_not_there_any_more_must_be_delivered_again(
    till: Settings,
    declare: Declare,
    land: Land,
    content: str | None,
) -> None:
    declare(tea(states="done, swapped"))
    if content:
        land(FILE, content)
    else:
        (till.landing / FILE).unlink()
    with pytest.raises(StrataError, match=f"{FILE}: not in .*deliver the file again"):
        again(till, FILE)
    assert counts(till) == [(1, 4, 2, 2)]


def test_what_is_there_is_read_and_what_is_not_is_named(till: Settings, declare: Declare, land: Land) -> None:
    land("tea/sales/2026-03-03.csv", SALES.replace("-02 ", "-03 "))
    take_in(till)
    (till.landing / FILE).unlink()
    declare(tea(states="done, swapped"))
    done = again(till)
    assert [new.file for _, new in done.moved] == ["tea/sales/2026-03-03.csv"]
    assert done.not_there == (FILE,)


def test_a_refused_file_is_read_once_its_header_is_known(
    settings: Settings, land: Land, declare: Declare
) -> None:
    declare(tea())
    land(FILE, SALES.replace("price", "cost"))
    take_in(settings)
    assert [(g.what, g.code, g.state) for g in quarantine.groups(settings)] == [
        ("file", "missing_column", "rejected")
    ]
    declare(tea(aliases="cost"))
    again(settings, FILE)
    assert counts(settings) == [(1, 0, 0, 0), (2, 4, 2, 2)]
    assert [(g.what, g.state) for g in quarantine.groups(settings, every=True)][0] == ("file", "loaded")


def test_a_corrected_file_closes_its_rejects(till: Settings, land: Land) -> None:
    land(FILE, SALES.replace("swapped", "done").replace(",one,", ",1,"))
    take_in(till)
    assert told(till) == []
    assert {g[2] for g in told(till, every=True)} == {"corrected"}


def test_a_replay_takes_nothing_else_in(till: Settings, declare: Declare, land: Land) -> None:
    land("tea/sales/2026-03-03.csv", SALES)
    land("tea/sales/notes.txt", "not a delivery")
    declare(tea(states="done, swapped"))
    again(till)
    assert {e.file for e in ledger.read(till)} == {FILE}


def test_a_misplaced_file_is_open_as_long_as_it_lies_there(settings: Settings, land: Land) -> None:
    path = land("tea/notes.txt", "not a delivery")
    take_in(settings)
    assert [(g.code, g.state) for g in quarantine.groups(settings)] == [("unexpected_path", "rejected")]
    path.unlink()
    assert quarantine.groups(settings) == []
    assert [g.state for g in quarantine.groups(settings, every=True)] == ["gone"]


def test_a_repeated_record_names_the_one_that_it_repeats(settings: Settings, land: Land) -> None:
    row = "a,2026-03-02 10:00:00,paid\n"
    land(
        "shop/orders/2026-03-02.csv",
        f"order_id,ordered_at,status\n{row}b,2026-03-02 10:00:00,paid\n{row}{row}",
    )
    take_in(settings)
    found = pq.read_table(quarantine.duplicates_path(settings, "shop/orders/2026-03-02/rev=1")).to_pylist()
    assert [(r["record_no"], r["of_record_no"]) for r in found] == [(3, 1), (4, 1)]
    assert {r["of_delivery"] for r in found} == {"shop/orders/2026-03-02/rev=1"}


def test_no_value_of_a_feed_with_personal_columns_is_kept(settings: Settings, land: Land) -> None:
    land("crm/customers/2026-03-02.csv", "source_customer_id,phone,updated_at\nc1,13800138000,no day\n")
    take_in(settings)
    (group,) = quarantine.groups(settings)
    assert [(r.record_no, r.value) for r in group.examples] == [(1, None)]


def test_a_home_that_has_taken_nothing_in_is_no_good_news(settings: Settings) -> None:
    with pytest.raises(StrataError, match="has taken nothing in yet"):
        quarantine.groups(settings)


def test_the_commands(till: Settings, declare: Declare) -> None:
    run = CliRunner().invoke
    shown = run(main, ["quarantine", "list"])
    assert shown.exit_code == 0
    for part in (FILE, "unknown_value in state", "record 2, bytes", "what to do"):
        assert part in shown.output
    assert run(main, ["quarantine", "replay"]).exit_code == 1, "a replay of everything must be asked for"
    declare(tea(states="done, swapped"))
    done = run(main, ["quarantine", "replay", "--all", "--json"])
    assert done.exit_code == 0, done.output
    (answer,) = json.loads(done.stdout)["replayed"]
    assert (answer["before"]["rows_rejected"], answer["after"]["rows_rejected"]) == (2, 1)
    assert answer["before"]["rows_read"] == answer["after"]["rows_read"]
    listed = json.loads(run(main, ["quarantine", "list", "--all", "--json"]).stdout)
    assert [(g["state"], g["by"]) for g in listed] == [
        ("loaded", "tea/sales/2026-03-02/rev=2"),
        ("rejected", None),
    ]
