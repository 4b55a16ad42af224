"""The files: reproducible, where they belong, and readable with the contracts alone."""

import hashlib
import re
from collections import Counter
from datetime import date, timedelta
from pathlib import Path

import pytest
from delivered import DAYS, column_names, contracts

from pipeline.sample import company, generate

LAYOUT = {
    "store_pos": dict.fromkeys(("orders", "order_lines", "returns", "guest_contacts"), "csv"),
    "store_master": {"stores": "xlsx"},
    "app": dict.fromkeys(
        ("customers", "orders", "order_lines", "returns", "web_sessions", "touchpoints", "consents"), "jsonl"
    ),
    "marketplace": dict.fromkeys(("customers", "orders", "order_lines", "returns"), "csv"),
    "dealer_portal": {"orders": "xlsx", "order_lines": "xlsx"},
    "erp": {"products": "parquet", "product_costs": "parquet", "channels": "csv"},
    "ads": {"ad_spend": "csv"},
    "crm": dict.fromkeys(("customers", "consents", "tickets", "surveys", "survey_responses"), "csv"),
    "research": dict.fromkeys(("surveys", "survey_responses", "regions"), "csv"),
    "b2b_crm": dict.fromkeys(("accounts", "account_contacts", "contact_log"), "csv"),
    "outreach": dict.fromkeys(("messages", "contact_log"), "csv"),
}
# Daily by their contracts; these sources declare that they come when there is something.
OCCASIONAL = {("research", "survey_responses"), ("b2b_crm", "accounts"), ("b2b_crm", "contact_log")}


def tree_hash(root: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(p for p in root.rglob("*") if p.is_file()):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def test_the_same_seed_writes_the_same_bytes_and_another_seed_does_not(tmp_path):
    hashes = []
    for folder, seed in (("one", 5), ("two", 5), ("other", 6)):
        generate(tmp_path / folder, 60, 25, seed)
        hashes.append(tree_hash(tmp_path / folder))
    assert hashes[0] == hashes[1]
    assert hashes[0] != hashes[2]


def test_writing_again_over_the_same_sample_changes_nothing_and_another_sample_is_refused(tmp_path):
    generate(tmp_path, 20, 5, 1)
    before = tree_hash(tmp_path)
    generate(tmp_path, 20, 5, 1)
    assert tree_hash(tmp_path) == before
    with pytest.raises(FileExistsError, match="another sample"):
        generate(tmp_path, 20, 5, 2)
    assert tree_hash(tmp_path) == before


def test_an_interrupted_run_can_be_repeated(tmp_path):
    generate(tmp_path, 20, 5, 1)
    before = tree_hash(tmp_path)
    for path in (tmp_path / "_truth").glob("t*.json"):
        path.unlink()
    (tmp_path / "crm" / "tickets" / "2026-06-30.csv").unlink()
    generate(tmp_path, 20, 5, 1)
    assert tree_hash(tmp_path) == before


def test_other_sources_in_the_landing_folder_are_left_alone(tmp_path):
    foreign = tmp_path / "online_retail" / "transactions" / "2011-12-09.csv"
    foreign.parent.mkdir(parents=True)
    foreign.write_text("kept")
    generate(tmp_path, 12, 2, 1)
    assert foreign.read_text() == "kept"


@pytest.mark.parametrize(("customers", "days"), [(9, 10), (10, 0), (10, 2008)])
def test_parameters_out_of_range_are_refused(tmp_path, customers, days):
    with pytest.raises(ValueError, match="customers|days"):
        generate(tmp_path, customers, days, 1)
    assert not any(tmp_path.iterdir())


def test_the_smallest_company_can_be_made(tmp_path):
    assert generate(tmp_path, 10, 1, 0)["last_day"] == "2026-06-30"


def test_each_feed_lies_where_its_source_delivers_it(deliveries):
    found: dict[str, dict[str, str]] = {}
    for d in deliveries:
        found.setdefault(d.source, {})[d.feed] = d.path.rsplit(".", 1)[1]
    assert found == LAYOUT


def test_daily_feeds_deliver_on_every_day_also_without_rows(deliveries):
    days = {date(2026, 6, 30) - timedelta(days=k) for k in range(DAYS)}
    seen: dict[tuple[str, str], set[date]] = {}
    for d in deliveries:
        seen.setdefault((d.source, d.feed), set()).add(d.day)
    for (source, feed), got in seen.items():
        if contracts()[feed]["cadence"] == "daily" and (source, feed) not in OCCASIONAL:
            assert got == days, (source, feed)
        elif (source, feed) == ("research", "survey_responses"):
            assert {d.weekday() for d in got - {max(days)}} == {6}, "the agency delivers on Sundays"
        elif (source, feed) != ("b2b_crm", "contact_log"):
            assert min(got) == min(days), (source, feed)
    assert any(not d.rows for d in deliveries), "a small company has days without a marketplace return"


def test_no_file_is_empty(sample):
    assert min(p.stat().st_size for p in sample.rglob("*.*")) > 0


def test_every_header_is_a_column_of_the_contract_or_its_alias(deliveries):
    for d in deliveries:
        assert len(d.headers) == len(set(d.headers)), d.path
        assert set(d.headers) <= set(column_names(d.feed)), d.path
        required = {c for c, spec in contracts()[d.feed]["columns"].items() if spec.get("required")}
        assert required <= {column_names(d.feed)[h] for h in d.headers}, d.path


def test_each_source_keeps_its_own_encoding_and_spelling(sample):
    day = "2026-06-18"
    till = (sample / f"store_pos/orders/{day}.csv").read_bytes()
    assert till.decode("gb18030").startswith("单号,会员号") and b"\r\n" in till
    with pytest.raises(UnicodeDecodeError):
        till.decode("utf-8")
    assert (sample / f"marketplace/orders/{day}.csv").read_bytes().startswith(b"\xef\xbb\xbforder_id")
    app = (sample / f"app/orders/{day}.jsonl").read_text(encoding="utf-8")
    assert re.search(r'"ordered_at": "2026-06-18T\d\d:\d\d:\d\d\+08:00"', app)


def test_a_changed_state_is_delivered_again_with_a_newer_time(deliveries):
    rows = Counter()
    latest: dict[str, str] = {}
    for d in deliveries:
        if d.feed == "orders" and d.source == "marketplace":
            for row in d.accepted():
                rows[row["order_id"]] += 1
                assert row["updated_at"] > latest.get(row["order_id"], "")
                latest[row["order_id"]] = row["updated_at"]
    assert rows.most_common(1)[0][1] >= 3


def test_fixed_holidays_agree_with_the_calendar_library():
    import holidays

    for table, word in (
        (company.SPRING_FESTIVAL, "Spring"),
        (company.DRAGON_BOAT, "Dragon"),
        (company.MID_AUTUMN, "Mid-Autumn"),
    ):
        for text in table:
            day = date.fromisoformat(text)
            china = holidays.country_holidays("CN", years=day.year, language="en_US")
            assert word in china.get(day, ""), text
