"""Contracts: complete, refused with file and line where they make no sense, and each one able to load its own file."""

import re
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path

import duckdb
import jinja2
import pytest
import yaml

from pipeline.errors import StrataError
from pipeline.ingest import contracts as module
from pipeline.ingest import generated, ledger, quarantine
from pipeline.ingest.contracts import Column, Contract, header_name, load_contracts, load_sources
from pipeline.ingest.load import sweep
from pipeline.ingest.reject_codes import load_codes
from pipeline.settings import Settings

DAY = date(2024, 5, 6)
FEEDS = load_contracts()
TWO_FEEDS = {"R05": 2, "R19": 2, "R20": 2, "R41": 2, "R46": 3}

# Every feed


def test_every_feed_of_the_inventory_has_a_contract() -> None:
    found: dict[str, int] = {}
    for contract in FEEDS.values():
        found[contract.id] = found.get(contract.id, 0) + 1
    assert found == {f"R{n:02}": TWO_FEEDS.get(f"R{n:02}", 1) for n in range(1, 56)}
    assert len(FEEDS) == 61


def test_every_contract_says_key_volume_and_dialect_itself() -> None:
    for feed, contract in FEEDS.items():
        assert contract.key and contract.volume and contract.description.endswith("."), feed
        assert contract.freshness or contract.cadence == "occasional", feed
        assert {"encoding", "delimiter", "null_values"} <= contract.model_fields_set, feed


def test_every_number_has_a_unit_and_every_column_a_chinese_name() -> None:
    for feed, contract in FEEDS.items():
        for name, column in contract.columns.items():
            assert column.unit or column.type not in "imqrx", (feed, name)
            assert column.same_as or any(not a.isascii() for a in column.aliases), (feed, name)


def test_feeds_about_people_say_how_long_they_are_kept() -> None:
    for feed, contract in FEEDS.items():
        if any(c.pii or c.ref for c in contract.columns.values()):
            assert contract.retention_days, feed


def test_what_names_or_reaches_a_person_is_marked_as_personal() -> None:
    unmarked = [
        (feed, name)
        for feed, contract in FEEDS.items()
        for name, column in contract.columns.items()
        if re.search(r"phone|email|_hash$|^address$|birth", name) and not column.pii
    ]
    assert unmarked == []


def test_row_rules_use_codes_of_the_closed_list() -> None:
    assert {r.code for c in FEEDS.values() for r in c.row_rules} <= set(load_codes())


# Nonsense, each with the line that it stands in

GOOD = """\
feed: things
id: R99
description: One row per thing.
key: [thing_id]
latest_by: updated_at
cadence: daily
freshness: {days: 2, level: warn}
volume: {per: day, min_rows: 1, max_rows: 10}
null_values: ["", "NULL"]
columns:
  thing_id: {type: s, required: true, aliases: [编号]}
  kind: {type: s, values: [a, b]}
  size: {type: q, unit: pieces, min: 0, max: 5}
  owner: {type: s, pii: name}
  updated_at: {type: ts, event: true}
row_rules:
  - code: out_of_range
    description: Small things of kind a.
    reject_when: kind = 'a' and size < 1
"""

# (what is replaced, by what, line, words of the message)
NONSENSE = [
    ("cadence: daily", "cadence: daily\nbogus: 1", 7, "bogus: Extra inputs"),
    ("event: true}", "event: true, bogus: 1}", 15, "columns.updated_at.bogus: Extra inputs"),
    ("level: warn}", "level: warn, bogus: 1}", 7, "freshness.bogus: Extra inputs"),
    ("max_rows: 10}", "max_rows: 10, bogus: 1}", 8, "volume.bogus: Extra inputs"),
    ("    reject_when", "    bogus: 1\n    reject_when", 19, "row_rules.0.bogus: Extra inputs"),
    ("[thing_id]", "[thing_no]", 4, "'thing_no' is not declared"),
    ("[thing_id]", "[thing_id, thing_id]", 4, "'thing_id' stands twice"),
    ("[thing_id]", "[owner]", 4, "raw holds its token only"),
    ("latest_by: updated_at", "latest_by: kind", 5, "is no time and no number"),
    ("latest_by: updated_at", "latest_by: changed_at", 5, "'changed_at' is not declared"),
    ("cadence: daily", "cadence: daily\ndocument: [kind]", 7, "a feed with a key has no document"),
    ("cadence: daily", "cadence: hourly", 6, "Input should be 'daily' or 'occasional'"),
    ("cadence: daily", "cadence: daily\nencoding: klingon", 7, "no encoding that Python knows"),
    ("cadence: daily", 'cadence: daily\ndelimiter: "::"', 7, "a delimiter is one character"),
    ("cadence: daily", "cadence: daily\nretention_days: 0", 7, "greater than or equal to 1"),
    ("days: 2", "days: 0", 7, "greater than or equal to 1"),
    ("min_rows: 1,", "min_rows: 11,", 8, "greater than max_rows"),
    ('["", "NULL"]', '["", "NULL", "NULL"]', 9, "'NULL' stands twice"),
    ('["", "NULL"]', '["", " NULL"]', 9, "values are trimmed"),
    ('["", "NULL"]', '["", a]', 12, "'a' is a spelling of null as well"),
    ('["", "NULL"]', "[null]", 9, "Input should be a valid string"),
    ("type: q,", "type: qq,", 13, "columns.size.type"),
    ("min: 0, max: 5", "min: 6, max: 5", 13, "min 6 is greater than max 5"),
    ("min: 0, max: 5", "min: 0, max: .inf", 13, "a finite number"),
    ("values: [a, b]", "values: [a, a]", 12, "'a' stands twice"),
    (
        "{type: s, values: [a, b]}",
        "{type: i, unit: count, values: [a]}",
        12,
        "values is for type s, not for i",
    ),
    ("{type: s, values: [a, b]}", "{type: s, min: 1}", 12, "min is for type"),
    ("{type: s, values: [a, b]}", "{type: s, unit: pieces}", 12, "unit is for type"),
    ("unit: pieces", "unit: furlongs", 13, "Input should be 'currency'"),
    ("{type: s, values: [a, b]}", "{type: s, event: true}", 12, "event is for type d, ts, not for s"),
    ("{type: s, pii: name}", "{type: i, pii: phone}", 14, "pii: phone is for text (s), not for type i"),
    ("{type: s, pii: name}", "{type: s, pii: birth_date}", 14, "is for a date (d)"),
    (
        "{type: s, pii: name}",
        "{type: s, pii: name, values: [x]}",
        14,
        "a personal column has no list of values",
    ),
    (
        "kind: {type: s,",
        "kind: {type: s, aliases: [编号],",
        12,
        "'编号' stands twice, for thing_id and for kind",
    ),
    ("kind: {type: s,", "kind: {type: s, aliases: [Thing-ID],", 12, "'Thing-ID' stands twice"),
    ("kind: {type: s,", 'kind: {type: s, aliases: [" "],', 12, "is not blank"),
    ("  kind: {", "  thing_id: {", 12, "key 'thing_id' stands twice"),
    ("  kind: {", "  _kind: {", 12, "begin with _"),
    ("  kind: {", "  owner_token: {", 14, "would both be owner_token in raw"),
    ("reject_when: kind", "reject_when: colour", 19, "no condition over this feed"),
    ("kind = 'a' and size < 1", "size + 1", 19, "a condition is true or false, not"),
    ("columns:", "columns: []\nothers:", 10, "columns: Input should be a valid dictionary"),
    ("id: R99", "id: [R99", 3, "no valid YAML"),
]


def _load(tmp_path: Path, text: str) -> Contract:
    folder = tmp_path / "domain"
    folder.mkdir(exist_ok=True)
    (folder / "things.yml").write_text(text, encoding="utf-8")
    load_contracts.cache_clear()
    try:
        return load_contracts(tmp_path)["things"]
    finally:
        load_contracts.cache_clear()
        load_contracts()


def test_the_contract_that_nonsense_is_planted_in_is_good(tmp_path: Path) -> None:
    contract = _load(tmp_path, GOOD)
    assert contract.domain == "domain"
    assert contract.raw_schema() == {
        "thing_id": "VARCHAR",
        "kind": "VARCHAR",
        "size": "DECIMAL(18,3)",
        "owner_token": "VARCHAR",
        "updated_at": "TIMESTAMP",
        "updated_at_offset_minutes": "SMALLINT",
        "_delivery": "VARCHAR",
        "_row": "BIGINT",
    }


@pytest.mark.parametrize(
    ("old", "new", "line", "words"), NONSENSE, ids=[n[3][:40] + n[1][:12] for n in NONSENSE]
)
def test_nonsense_in_a_contract_is_an_error_with_file_and_line(
    tmp_path: Path, old: str, new: str, line: int, words: str
) -> None:
    assert GOOD.count(old) == 1
    with pytest.raises(StrataError) as raised:
        _load(tmp_path, GOOD.replace(old, new))
    assert words in str(raised.value)
    assert f"things.yml:{line}: " in str(raised.value)


SOURCE = """\
source: shop
zone: Asia/Shanghai
feeds:
  orders: {encoding: gb18030, delimiter: ";", null_values: ["", "-"]}
  sales:
    columns:
      no: {type: s, required: true}
    document: [no]
    maps_to: [orders]
"""


def _source(tmp_path: Path, text: str) -> module.Source:
    path = tmp_path / "source.yml"
    path.write_text(text, encoding="utf-8")
    return module._read(module.Source, path)


@pytest.mark.parametrize(
    ("old", "new", "line", "words"),
    [
        ("gb18030", "klingon", 4, "no encoding that Python knows"),
        ('";"', '"ab"', 4, "a delimiter is one character"),
        ('"-"]', '"-", "-"]', 4, "'-' stands twice"),
        ("gb18030,", "gb18030, bogus: 1,", 4, "feeds.orders.bogus: Extra inputs"),
        ("gb18030,", "gb18030, columns: {no: {type: s}},", 4, "columns without maps_to"),
        ("required: true", "required: true, bogus: 1", 7, "feeds.sales.columns.no.bogus: Extra inputs"),
        ("type: s, required", "type: i, values: [a], required", 7, "values is for type s"),
        ("document: [no]", "document: [nr]", 8, "'nr' is not declared"),
        ("document: [no]", "one_to_many: [returns]", 8, "'returns' is not one of maps_to"),
        ("document: [no]", 'left_out: [{when: "state", why: x}]', 8, "no condition over this feed"),
        ("document: [no]", 'left_out: [{when: "no", why: x}]', 8, "a condition is true or false"),
        ("gb18030,", "gb18030, one_to_many: [orders],", 4, "one_to_many without maps_to"),
    ],
)
def test_nonsense_in_a_source_is_an_error_with_file_and_line(
    tmp_path: Path, old: str, new: str, line: int, words: str
) -> None:
    assert SOURCE.count(old) == 1
    with pytest.raises(StrataError) as raised:
        _source(tmp_path, SOURCE.replace(old, new))
    assert words in str(raised.value)
    assert f"source.yml:{line}: " in str(raised.value)


def test_a_source_overrides_how_a_feed_is_written_and_nothing_else(tmp_path: Path) -> None:
    source = _source(tmp_path, SOURCE)
    said = module.delivered_contract(source, "orders")
    assert said is not None
    assert (said.encoding, said.delimiter, said.null_values) == ("gb18030", ";", ("", "-"))
    assert said.columns == FEEDS["orders"].columns
    mapped = module.delivered_contract(source, "sales")
    assert mapped is not None
    assert (mapped.key, mapped.document, mapped.encoding) == ((), ("no",), "utf-8")


def test_header_cells_are_compared_without_case_width_and_kind_of_gap() -> None:
    assert {header_name(t) for t in ("Order ID", "order_id", " ORDER-ID ", "ｏｒｄｅｒ ｉｄ")} == {"order_id"}


def test_declared_sources_name_contract_feeds() -> None:
    for source in load_sources().values():
        for feed, delivered in source.feeds.items():
            assert set(delivered.maps_to or (feed,)) <= set(FEEDS)


# Each contract loads a file under its own Chinese headers, and rejects what it forbids

_GOOD_VALUES = {
    "s": "x",
    "i": "1",
    "d": "2024-05-01",
    "ts": "2024-05-01 12:00:00",
    "m": "1.50",
    "q": "1",
    "r": "0.5",
    "x": "7.12345678",
    "b": "是",
    "j": "[1]",
}
_GOOD_PERSONAL = {"phone": "13812345678", "email": "a@example.com", "birth_date": "1990-01-31"}


def _good(column: Column) -> str:
    if column.same_as:
        return "tester"
    if column.pii:
        return _GOOD_PERSONAL.get(column.pii, "某某")
    if column.values:
        return column.values[0]
    if column.min is not None and float(column.min) > 1:
        return f"{column.min:g}"
    return "1" if column.type == "r" and (column.min or 0) >= 1 else _GOOD_VALUES[column.type]


def _row(contract: Contract, **instead: str) -> str:
    return ",".join(
        '"' + instead.get(name, _good(c)).replace('"', '""') + '"' for name, c in contract.columns.items()
    )


def _header(contract: Contract) -> str:
    return ",".join(next((a for a in c.aliases if not a.isascii()), n) for n, c in contract.columns.items())


def _breaks(contract: Contract) -> dict[str, tuple[str, str]]:
    """One broken value per kind of rule that the contract has: kind → (column, value), and the code that follows."""
    found: dict[str, tuple[str, str]] = {}
    readable = {"i": "bad_integer", "d": "bad_date", "ts": "bad_timestamp", "b": "bad_boolean"}
    for name, c in contract.columns.items():
        if c.same_as:
            continue
        if c.required and not c.otherwise:
            found.setdefault("missing_value", (name, " "))
        if c.type not in "sj" and c.pii is None:
            found.setdefault(readable.get(c.type, "bad_number"), (name, "neither"))
        if c.values and not c.otherwise:
            found.setdefault("unknown_currency" if name == "currency" else "unknown_value", (name, "§"))
        if c.min is not None:
            below = int(c.min) - 1 if c.min == int(c.min) else 0
            found.setdefault("out_of_range", (name, str(below)))
        if c.event:
            found.setdefault("future_date", (name, "2024-06-01"))
            found.setdefault("before_2000", (name, "1999-12-31"))
        if c.type == "s" and name.endswith("_id") and not c.values:
            found.setdefault("scientific_id", (name, "1.38E+10"))
    for rule in contract.row_rules:
        match = re.fullmatch(r"(\w+) < (\w+)", rule.reject_when)
        if match:
            found[rule.code] = (match[1], "2001-01-01")
    return found


@pytest.fixture(scope="module")
def one_of_each(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[ledger.Entry, dict[int, str]]]:
    """Of every feed, a good row and a row per kind of rule taken in: its ledger entry, and record number → code."""
    from pipeline import settings as settings_module

    folder = tmp_path_factory.mktemp("contracts")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STRATA_HOME", str(folder / "home"))
        patch.setenv("STRATA_LANDING", str(folder / "landing"))
        patch.setenv("STRATA_TOKEN_KEY", "ab" * 32)
        home = settings_module.load()
        for feed, contract in FEEDS.items():
            rows = [_row(contract)]
            for code, (name, value) in _breaks(contract).items():
                rule = next((r for r in contract.row_rules if r.code == code), None)
                # A period that ends before it begins: the end is early, and the beginning as in every other row.
                rows.append(_row(contract, **{name: "2000-01-02 00:00:00" if rule else value}))
            path = home.landing / "tester" / feed / f"{DAY}.csv"
            path.parent.mkdir(parents=True)
            path.write_text("\n".join([_header(contract), *rows, ""]), encoding="utf-8")
        swept = sweep(home, DAY + timedelta(days=1), run_id="test", released=None)
    return {
        e.feed or "": (e, {r.record_no: r.code for r in quarantine.read(home, e.delivery)})
        for e in swept.entries
    }


@pytest.mark.parametrize("feed", FEEDS)
def test_a_contract_loads_its_own_file_and_names_each_rule_that_a_row_breaks(
    one_of_each: dict[str, tuple[ledger.Entry, dict[int, str]]], feed: str
) -> None:
    entry, found = one_of_each[feed]
    assert (entry.status, entry.reject_detail, entry.extra_columns) == ("loaded", None, None)
    broken = list(_breaks(FEEDS[feed]))
    assert broken
    assert entry.rows_loaded == 1
    assert found == {n: code for n, code in enumerate(broken, start=2)}


# Null spellings


@pytest.fixture
def reviews(
    settings: Settings, land: Callable[[str, bytes | str], Path]
) -> Callable[..., list[tuple[object, ...]]]:
    def load(content: str, ext: str = "csv") -> list[tuple[object, ...]]:
        land(f"shop/reviews/{DAY}.{ext}", content)
        sweep(settings, DAY + timedelta(days=1), run_id="test", released=None)
        files = f"{settings.raw}/shop/reviews/*/*/*.parquet"
        return duckdb.sql(
            f"select review_id, order_id, text_masked from read_parquet('{files}') order by _row"
        ).fetchall()

    return load


def test_a_null_spelling_is_null_and_empty_text_is_an_answer_where_the_contract_says_so(
    reviews: Callable[..., list[tuple[object, ...]]],
) -> None:
    head = "review_id,order_id,product_id,rating,text,created_at"
    rows = [
        f"{i},{o},P1,5,{t},{DAY} 10:00"
        for i, o, t in (("1", "NULL", ""), ("2", "", r"\N"), ("3", "O1", "好"))
    ]
    assert reviews("\n".join([head, *rows, ""])) == [("1", None, ""), ("2", None, None), ("3", "O1", "好")]


def test_json_null_and_empty_text_are_kept_apart_too(
    reviews: Callable[..., list[tuple[object, ...]]],
) -> None:
    rest = f'"product_id": "P1", "rating": 5, "created_at": "{DAY} 10:00"'
    rows = [f'{{"review_id": "{n}", "text": {text}, {rest}}}\n' for n, text in ((1, '""'), (2, "null"))]
    assert reviews("".join(rows), "jsonl") == [
        ("1", None, ""),
        ("2", None, None),
    ]


@pytest.mark.parametrize(
    ("column", "nulls"),
    [
        ("order_id", ("NULL",)),
        ("review_id", ("", "NULL")),
        ("source_customer_id", ("", "NULL")),
        ("platform", ("-",)),
        ("rating", ("", "NULL")),
    ],
)
def test_empty_is_null_wherever_it_cannot_be_an_answer(column: str, nulls: tuple[str, ...]) -> None:
    columns = dict(FEEDS["reviews"].columns)
    columns["platform"] = columns["platform"].model_copy(update={"null_values": ("-",)})
    contract = FEEDS["reviews"].model_copy(update={"null_values": ("NULL",), "columns": columns})
    assert contract.nulls_of(column) == nulls


# What is generated


def test_the_generated_files_are_current() -> None:
    assert generated.write_all(check=True) == [], "run `strata feeds generate`"


def test_dbt_reads_exactly_the_feeds_that_have_a_staging_model() -> None:
    tables = yaml.safe_load(generated.SOURCES.read_text(encoding="utf-8"))["sources"][0]["tables"]
    models = {p.stem.split("__")[1] for p in generated.STAGING.glob("*/stg_*__*.sql")}
    assert {t["name"] for t in tables} == models
    for table in tables:
        assert [c["name"] for c in table["columns"]] == list(FEEDS[table["name"]].raw_schema())


@pytest.mark.parametrize("feed", FEEDS)
def test_a_staging_skeleton_selects_what_raw_holds(feed: str) -> None:
    sql = jinja2.Template(generated.staging_sql(FEEDS[feed])).render(
        source=lambda _, name: f"raw_{name}",
        ref=lambda name: name,
        looked_up_date=lambda at, zone, days: f"cast({at} as date)",
        join_local_days=lambda *_: "",
    )
    con = duckdb.connect()
    columns = ", ".join(f'"{n}" {kind}' for n, kind in FEEDS[feed].raw_schema().items())
    con.execute(f"create table raw_{feed} ({columns})")
    con.execute(
        "create table deliveries_in_force (delivery varchar, source varchar, zone varchar, dt date, rev int, "
        "is_in_force boolean)"
    )
    names = [c[0] for c in con.execute(sql).description]
    assert len(names) == len(set(names))
    kept = {
        n for n in FEEDS[feed].raw_schema() if not n.startswith("_") and not n.endswith("_offset_minutes")
    }
    assert kept - set(names) <= {"source", "group"}
    described = yaml.safe_load(generated.staging_yaml(FEEDS[feed]))[0]
    assert described["name"].endswith(f"__{feed}") and described["description"]


def test_the_dictionary_has_every_column_of_every_feed() -> None:
    text = generated.DICTIONARY.read_text(encoding="utf-8")
    for feed, contract in FEEDS.items():
        section = text.split(f"\n## {feed}\n")[1].split("\n## ")[0]
        for name, column in contract.columns.items():
            row = next(line for line in section.splitlines() if line.startswith(f"| `{name}` |"))
            assert (column.pii or "|") in row and (column.unit or "|") in row
            assert all(alias in row for alias in column.aliases)
