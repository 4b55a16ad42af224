"""Every kind of bad input has exactly its own outcome, and each record of an accepted file is accounted for once.

The table is bad_inputs.py. All its files are delivered at once and taken in by the real loader into one home, as a bad
day would bring them. What is in a file is counted by counter.py, which shares nothing with the reader.
"""

import gzip
import json
import os
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from pipeline import settings as settings_module
from pipeline.errors import StrataError
from pipeline.ingest import contracts, ledger, pending
from pipeline.ingest.contracts import delivered_contract, load_sources, source_of
from pipeline.ingest.ledger import Entry
from pipeline.ingest.load import sweep
from pipeline.ingest.reading import content
from pipeline.ingest.reject_codes import DOCS, describe, load_codes, markdown
from pipeline.settings import Settings
from tests.ingest.bad_inputs import (
    A_PARQUET,
    AS_OF,
    CASES,
    DAY,
    ITEMS,
    ORDERS,
    SOURCES,
    Case,
    order,
    packed,
    parquet,
)
from tests.ingest.counter import count

# Items that need more than a file: the test that shows each.
ELSEWHERE = {
    "F14": "test_a_file_that_unpacks_to_too_much_is_refused_while_it_is_unpacked",
    "F19": "test_a_misplaced_file_is_named_with_the_path_that_was_expected",
    "F21": "test_a_misplaced_file_is_named_with_the_path_that_was_expected",
    "F25": "test_a_file_without_permission_is_refused_and_taken_in_once_it_has_it",
}
MAPPED = [c for c in CASES if c.source == "online_retail"]
LOADED = [c for c in CASES if c.outcome == "loaded"]


@dataclass(frozen=True)
class Day:
    settings: Settings
    entries: Mapping[str, Entry]

    def quarantine(self, entry: Entry) -> list[dict[str, Any]]:
        path = self.settings.quarantine / f"{entry.delivery}.parquet"
        return pq.read_table(path).to_pylist() if path.exists() else []

    @cached_property
    def _raw(self) -> Mapping[str, list[dict[str, Any]]]:
        rows: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for file in self.settings.raw.glob("[!_]*/*/*/*/*.parquet"):
            for row in pq.read_table(file).to_pylist():
                rows[row["_delivery"]].append(row)
        return rows

    def raw(self, entry: Entry) -> list[dict[str, Any]]:
        """The loaded records in file order, wherever they were written."""
        return sorted(self._raw.get(entry.delivery, []), key=lambda row: row["_row"])


def _put(settings: Settings, case: Case, data: bytes) -> None:
    path = settings.landing / case.file
    path.parent.mkdir(parents=True, exist_ok=True)
    if case.place:
        case.place(path)
        return
    path.write_bytes(data)
    if case.manifest is not None:
        said = case.manifest if isinstance(case.manifest, bytes) else json.dumps(case.manifest).encode()
        path.with_name(path.name + ".manifest.json").write_bytes(said)


def _without_devices(cases: list[Case]) -> list[Case]:
    """Only root may make a device; the socket stands for it elsewhere."""
    return [c for c in cases if c.name != "device" or os.geteuid() == 0]


@pytest.fixture(scope="module")
def bad_day(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Day]:
    folder = tmp_path_factory.mktemp("bad_day")
    real_read, real_rows = pending.read_file, pending.parquet_rows

    def read(path: Path, *rest: Any) -> Any:
        if "changing" in path.name:
            path.write_bytes(path.read_bytes() + b"\n")
        return real_read(path, *rest)

    def rows(path: Path, contract: contracts.Contract) -> int:
        if "changing" in path.name:
            os.utime(path, (1, 1))
        return real_rows(path, contract)

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STRATA_HOME", str(folder / "home"))
        patch.setenv("STRATA_LANDING", str(folder / "landing"))
        patch.setenv("STRATA_TOKEN_KEY", "ab" * 32)
        patch.delenv("STRATA_TIMEZONE", raising=False)
        declared = {**load_sources(), **SOURCES}
        patch.setattr(contracts, "load_sources", lambda: declared)
        patch.setattr(pending, "read_file", read)
        patch.setattr(pending, "parquet_rows", rows)
        settings = settings_module.load()
        settings.landing.mkdir()
        for case in CASES:
            if case.before is not None:
                _put(settings, case, case.data(case.before))
        sweep(settings, AS_OF, run_id="first", released=None)
        for case in _without_devices(CASES):
            _put(settings, case, case.data())
        sweep(settings, AS_OF, run_id="second", released=None)
        yield Day(settings, {entry.file: entry for entry in ledger.read(settings)})


def test_the_table_has_every_item_of_the_list() -> None:
    assert {case.item for case in CASES} | set(ELSEWHERE) == set(ITEMS)
    assert all(callable(globals()[name]) for name in ELSEWHERE.values())
    assert len({case.file for case in CASES}) == len(CASES)


@pytest.mark.parametrize("case", _without_devices(CASES), ids=lambda case: f"{case.item}-{case.name}")
def test_outcome(case: Case, bad_day: Day) -> None:
    entry = bad_day.entries[case.file]
    assert (entry.status, entry.reject_code) == (case.outcome, case.code), entry.reject_detail
    assert case.detail in (entry.reject_detail or "")
    counts = (entry.rows_read, entry.rows_loaded, entry.rows_rejected, entry.rows_duplicate)
    assert counts == case.counts
    assert tuple((q["record_no"], q["code"]) for q in bad_day.quarantine(entry)) == case.rejects
    assert (entry.extra_columns, entry.rev) == (case.extra, case.rev)
    raw = bad_day.raw(entry)
    if case not in MAPPED:
        assert len(raw) == case.counts[1]
    for column, values in case.sees.items():
        assert [row[column] for row in raw] == values


@pytest.mark.parametrize("case", LOADED, ids=lambda case: f"{case.item}-{case.name}")
def test_both_equations_hold_for_an_independent_count(case: Case, bad_day: Day) -> None:
    entry, data = bad_day.entries[case.file], case.data()
    contract = delivered_contract(SOURCES.get(case.source) or source_of(case.source), case.feed)
    assert contract is not None
    counted = count(
        data, case.ext, contract.encoding, contract.delimiter, contract.quote, contract.skip_lines
    )
    assert counted is not None
    assert (
        entry.rows_read == entry.rows_loaded + entry.rows_rejected + entry.rows_duplicate == counted.records
    )
    assert entry.bytes == len(data)
    if counted.header_bytes is not None:
        unpacked = gzip.decompress(data) if case.ext.endswith(".gz") else data
        ours = (entry.header_bytes, entry.blank_bytes, entry.record_bytes)
        assert ours == (counted.header_bytes, counted.blank_bytes, counted.record_bytes)
        assert sum(n or 0 for n in ours) == entry.content_bytes == len(unpacked)


def test_both_revisions_of_a_corrected_file_are_in_the_ledger(bad_day: Day) -> None:
    file = next(c.file for c in CASES if c.item == "L32")
    entries = [(e.rev, e.status, e.rows_loaded) for e in ledger.read(bad_day.settings) if e.file == file]
    assert entries == [(1, "loaded", 1), (2, "loaded", 2)]


def test_a_credit_note_becomes_a_return(bad_day: Day) -> None:
    entry = bad_day.entries[next(c.file for c in CASES if c.name == "credit-note")]
    (row,) = [r for r in bad_day.raw(entry) if r.get("return_id")]
    assert (row["return_id"], float(row["refund_amount"])) == ("Cx1-1", 2.5)


def test_rejected_csv_records_can_be_found_again(bad_day: Day) -> None:
    case = next(c for c in CASES if c.name == "short-row")
    row = bad_day.quarantine(bad_day.entries[case.file])[0]
    assert case.data()[row["byte_start"] : row["byte_end"]] == b"sr-bad,c,2024-05-06\n"


def test_rejected_values_are_shown_as_delivered_and_cut(bad_day: Day) -> None:
    entry = bad_day.entries[next(c.file for c in CASES if c.name == "unknown-currency")]
    assert [(q["column"], q["value"]) for q in bad_day.quarantine(entry)] == [("currency", "XXX")]
    entry = bad_day.entries[next(c.file for c in CASES if c.name == "oversized")]
    assert [(q["column"], len(q["value"] or "")) for q in bad_day.quarantine(entry)] == [("is_test", 200)]


def test_every_code_that_was_met_is_on_the_closed_list(bad_day: Day) -> None:
    codes = {e.reject_code for e in ledger.read(bad_day.settings)} - {None}
    codes |= {q["code"] for e in bad_day.entries.values() for q in bad_day.quarantine(e)}
    assert codes <= set(load_codes())


# The closed list


def test_codes_of_the_program_and_of_the_contracts_are_the_closed_list() -> None:
    """A code is a string beside a call that rejects; every listed one is used, every used one is listed."""
    folder = Path(pending.__file__).parent
    source = "\n".join(
        path.read_text(encoding="utf-8") for path in folder.rglob("*.py") if path.stem != "reject_codes"
    )
    rules = {rule.code for contract in contracts.load_contracts().values() for rule in contract.row_rules}
    unused = {code for code in load_codes() if f'"{code}"' not in source} - rules
    assert not unused, "on the list and never used"
    assert rules <= set(load_codes())


def test_the_documentation_is_the_closed_list() -> None:
    text = DOCS.read_text(encoding="utf-8")
    for of in ("file", "row"):
        assert markdown(of) in text, (
            f"python -m pipeline.ingest.reject_codes prints the tables of {DOCS.name}"
        )


def test_a_code_is_described_in_both_languages() -> None:
    zh, en, todo = describe("short_row")
    assert (zh, en) == ("字段数少于表头", "fewer fields than the header")
    assert todo.startswith("quote fields")
    with pytest.raises(StrataError, match="no reject code"):
        describe("nonsense")


# Cases that need more than a file

Land = Callable[[str, bytes | str], Path]


def outcome(settings: Settings, file: str) -> tuple[str, str | None]:
    sweep(settings, AS_OF, run_id="test", released=None)
    entry = next(e for e in ledger.read(settings) if e.file == file)
    return entry.status, entry.reject_code


def test_a_file_that_unpacks_to_too_much_is_refused_while_it_is_unpacked(
    settings: Settings, land: Land, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The limit of 1 GB, made smaller; a soak test unpacks a real one."""
    assert (content.MAX_UNPACKED_BYTES, content.MAX_RATIO) == (1_000_000_000, 100)
    monkeypatch.setattr(content, "MAX_UNPACKED_BYTES", 100_000)
    monkeypatch.setattr(content, "BLOCK_BYTES", 10_000)
    text = ORDERS + "".join(order(f"big-{i * 7919}") for i in range(20_000))
    data = packed(text)
    assert len(text) < 100 * len(data), "it is the size that is refused, not the ratio"
    path = land(f"shop/orders/{DAY}.csv.gz", data)
    with content.Content(path, "csv.gz") as file, pytest.raises(content.FileRejected, match="zip_bomb"):
        for _ in file.blocks():
            pass
    assert 0 < file.content_bytes <= 100_000
    assert outcome(settings, f"shop/orders/{DAY}.csv.gz") == ("rejected", "zip_bomb")


@pytest.mark.soak
@pytest.mark.skipif(os.environ.get("STRATA_SOAK") != "1", reason="unpacks 1 GB; make soak")
def test_a_real_gigabyte_is_refused(settings: Settings, land: Land) -> None:
    text = "".join(order(f"gb-{i * 7919}") for i in range(500_000))
    member = packed(text)
    land(f"shop/orders/{DAY}.csv.gz", packed(ORDERS) + member * (1_100_000_000 // len(text)))
    assert outcome(settings, f"shop/orders/{DAY}.csv.gz") == ("rejected", "zip_bomb")


@contextmanager
def _nobody(*owned: Path) -> Iterator[None]:
    """Root may read everything, so root becomes somebody else for a moment."""
    if os.geteuid() != 0:
        yield
        return
    for path in owned:
        os.chown(path, 65534, 65534)
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_a_file_without_permission_is_refused_and_taken_in_once_it_has_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        monkeypatch.setenv("STRATA_HOME", str(folder / "home"))
        monkeypatch.setenv("STRATA_LANDING", str(folder / "landing"))
        monkeypatch.setenv("STRATA_TOKEN_KEY", "ab" * 32)
        settings = settings_module.load()
        path = settings.landing / f"shop/orders/{DAY}.csv"
        path.parent.mkdir(parents=True)
        settings.home.mkdir()
        path.write_text(ORDERS + order("np-1"))
        path.chmod(0)
        with _nobody(folder, settings.home):
            assert outcome(settings, f"shop/orders/{DAY}.csv") == ("rejected", "no_permission")
        path.chmod(0o644)
        with _nobody():
            sweep(settings, AS_OF, run_id="test", released=None)
        assert [(e.rev, e.status) for e in ledger.read(settings)] == [(1, "rejected"), (2, "loaded")]


def test_a_corrected_manifest_lets_the_same_file_in(settings: Settings, land: Land) -> None:
    file = f"shop/orders/{DAY}.csv"
    land(file, ORDERS + order("mf-1"))
    land(f"{file}.manifest.json", '{"rows": 2}')
    assert outcome(settings, file) == ("rejected", "manifest_mismatch")
    assert sweep(settings, AS_OF, run_id="same", released=None).entries == ()
    land(f"{file}.manifest.json", '{"rows": 1}')
    sweep(settings, AS_OF, run_id="again", released=None)
    assert [(e.rev, e.status) for e in ledger.read(settings)] == [(1, "rejected"), (2, "loaded")]


def test_a_delivery_dated_after_tomorrow_is_refused(settings: Settings, land: Land) -> None:
    land("shop/orders/2999-01-01.csv", ORDERS + order("fd-1"))
    assert outcome(settings, "shop/orders/2999-01-01.csv") == ("rejected", "future_delivery")


FORMS = "<YYYY-MM-DD>[.<part>].<csv|csv.gz|jsonl|jsonl.gz|parquet|xlsx>"


@pytest.mark.parametrize(
    ("file", "told", "code", "expected"),
    [
        ("2024-05-06.csv", "", "unexpected_path", f"<source>/<feed>/{FORMS}"),
        ("shop/2024-05-06.csv", "", "unexpected_path", "<source>/<feed>/"),
        ("shop/orders/deep/2024-05-06.csv", "", "unexpected_path", "<source>/<feed>/"),
        ("shop/orders/orders_20240506.csv", "", "unexpected_path", f"shop/orders/{FORMS}"),
        ("shop/orders/2024-05-06.CSV", "", "unexpected_path", f"shop/orders/{FORMS}"),
        ("shop/orders/2024-05-06.csv.zip", "", "unexpected_path", f"shop/orders/{FORMS}"),
        ("shop/orders/2024-05-06.xlsx.gz", "", "unexpected_path", f"shop/orders/{FORMS}"),
        ("shop/orders/2024-02-30.csv", "", "unexpected_path", "a day that exists in place of 2024-02-30"),
        ("shop/oders/2024-05-06.csv", "", "unexpected_path", "shop/<feed>/2024-05-06.csv with a feed of: "),
        ("app/oders/2024-05-06.csv", "", "unexpected_path", "with a feed of: customers, orders"),
        ("shop/orders/2024-05-06.csv.manifest.json", "", "unexpected_path", f"shop/orders/{FORMS}"),
        ("shop/orders/2024-05-06.%2e%2e%2fx.csv", "", "unexpected_path", f"shop/orders/{FORMS}"),
        ("shop/orders/2024-05-06.x\\..\\y.csv", "", "unexpected_path", f"shop/orders/{FORMS}"),
        ("shop/orders/2024-05-06.*.csv", "", "unexpected_path", f"shop/orders/{FORMS}"),
        ("shop/orders/2024-05-06.a'; drop table x; --.csv", "", "unexpected_path", f"shop/orders/{FORMS}"),
        ("shop/orders/2024-05-06.{{ 1/0 }}.csv", "", "unexpected_path", "<feed>"),
        ("*/orders/2024-05-06.csv", "", "unexpected_path", "a source name of letters"),
        ("sh[o]p/orders/2024-05-06.csv", "", "unexpected_path", "a source name of letters"),
        ("sh'op/orders/2024-05-06.csv", "", "unexpected_path", "a source name of letters"),
        ("{{ 1}}/orders/2024-05-06.csv", "", "unexpected_path", "a source name of letters"),
        ("shop/or?ers/2024-05-06.csv", "", "unexpected_path", "with a feed of"),
        ("shop/orders/2024-05-06.a\nb.csv", "shop/orders/2024-05-06.a\\nb.csv", "unsafe_name", "control"),
        ("sh\nop/orders/2024-05-06.csv", "sh\\nop/orders/2024-05-06.csv", "unsafe_name", "control"),
        (
            "shop/orders/2024-05-06.\x1b[2Jb.csv",
            "shop/orders/2024-05-06.\\x1b[2Jb.csv",
            "unsafe_name",
            "control",
        ),
        (
            "shop/orders/2024-05-06.\u202evsc.csv",
            "shop/orders/2024-05-06.\\u202evsc.csv",
            "unsafe_name",
            "control",
        ),
    ],
)
def test_a_misplaced_file_is_named_with_the_path_that_was_expected(
    settings: Settings, land: Land, file: str, told: str, code: str, expected: str
) -> None:
    """A name cannot hold NUL or a slash; what stands for them elsewhere (%2f, a backslash) is no delivery."""
    land(file, ORDERS + order("mp-1"))
    if "/" in file:
        land("shop/orders/.keep", "")
    assert outcome(settings, told or file) == ("rejected", code)
    assert expected in ledger.read(settings)[0].reject_detail
    assert sweep(settings, AS_OF, run_id="again", released=None).entries == (), "it is named once"


def test_a_file_name_that_is_no_text_is_named_too(settings: Settings, land: Land) -> None:
    land("shop/orders/.keep", "")
    with open(os.fsencode(settings.landing / "shop/orders") + b"/\xff.csv", "wb") as file:  # noqa: PTH123 (a path of bytes)
        file.write(b"x")
    assert outcome(settings, "shop/orders/\\udcff.csv") == ("rejected", "unsafe_name")


def test_hidden_and_underscored_names_are_not_deliveries(settings: Settings, land: Land) -> None:
    land("shop/orders/.2024-05-06.csv", ORDERS)
    land("_truth/persons/2024-05-06.csv", ORDERS)
    assert sweep(settings, AS_OF, run_id="test", released=None).entries == ()


@pytest.mark.parametrize("link", ["linked", "shop", "shop/orders"])
def test_what_is_behind_a_linked_folder_is_not_landing(
    settings: Settings, land: Land, tmp_path: Path, link: str
) -> None:
    behind = tmp_path / "behind"
    for folder in (behind, behind / "orders"):
        folder.mkdir()
        (folder / f"{DAY}.csv").write_text(ORDERS + order("bh-1"))
    (settings.landing / link).parent.mkdir(exist_ok=True)
    (settings.landing / link).symlink_to(behind)
    assert outcome(settings, link) == ("rejected", "not_a_regular_file")
    assert [(e.file, e.rows_loaded, e.sha256) for e in ledger.read(settings)] == [(link, 0, "")]


def test_a_link_that_takes_the_place_of_a_file_is_not_followed(
    settings: Settings, land: Land, tmp_path: Path
) -> None:
    """The kind is asked again when the file is opened, so nobody can swap it in between."""
    path = land(f"shop/orders/{DAY}.csv", ORDERS)
    (tmp_path / "secret.csv").write_text(ORDERS + order("secret"))
    path.unlink()
    path.symlink_to(tmp_path / "secret.csv")
    with pytest.raises(content.FileRejected, match="not_a_regular_file"):
        content.open_regular(path)


def test_landing_and_home_may_have_names_that_mean_something_to_sql_or_a_glob(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STRATA_HOME", str(tmp_path / "o'neill [a] {{ b }}" / "home"))
    monkeypatch.setenv("STRATA_LANDING", str(tmp_path / "o'neill [a]*?{b}; -- {{ c }}" / "landing"))
    monkeypatch.setenv("STRATA_TOKEN_KEY", "ab" * 32)
    settings = settings_module.load()
    path = settings.landing / f"shop/orders/{DAY}.parquet"
    path.parent.mkdir(parents=True)
    path.write_bytes(parquet(A_PARQUET))
    assert outcome(settings, f"shop/orders/{DAY}.parquet") == ("loaded", None)
    assert ledger.read(settings)[0].rows_loaded == 2
