"""What the reader knows of a clean chunk, and types of it, is what the SQL would have made of the same texts."""

from collections.abc import Sequence
from datetime import date, datetime
from itertools import pairwise
from pathlib import Path
from unittest import mock

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from pipeline import duck
from pipeline.ingest.cast import classified_sql
from pipeline.ingest.contracts import Column, Contract
from pipeline.ingest.reading import csv_chunks
from pipeline.ingest.reading.csv_chunks import NOTHING_KNOWN, Facts, type_of_typed, typed
from pipeline.ingest.reading.key_order import KeyOrder
from pipeline.ingest.reading.reader import read_file

quick = hypothesis_settings(max_examples=120, deadline=None, derandomize=True)
CON = duck.connect([])
DELIVERY = {
    "_delivery": ["d"],
    "_dt": [date(2024, 5, 6)],
    "_earliest": [datetime(2000, 1, 1)],
    "_latest": [datetime(2024, 5, 7)],
}
CON.register("deliveries", pa.table(DELIVERY))


def contract(**kinds: str) -> Contract:
    columns = {name: Column(type=kind) for name, kind in kinds.items()}
    return Contract(feed="t", id="t", description="", key=(), cadence="daily", columns=columns)


def by_sql(table: pa.Table, kind: str, facts: Facts = NOTHING_KNOWN) -> list[tuple[object, ...]]:
    """Value and name of the broken rule of each row."""
    numbered = table.append_column("_row", pa.array(range(len(table)), pa.int64()))
    CON.register("given", numbered)
    sql, rules = classified_sql(
        contract(a=kind),
        "(select *, 'd' as _delivery from given)",
        {"a": type_of_typed(table["a"].type)},
        "deliveries",
        "UTC",
        2025,
        facts=facts,
        alone=True,
    )
    found = CON.execute(f"select a, _rule from ({sql}) order by _row").fetchall()
    return [(value, rule if rule is None else rules[rule]) for value, rule in found]


digits = st.text("0123456789", max_size=15)
plain = st.builds(
    lambda sign, whole, point, behind: f"{sign}{whole}{point}{behind if point else ''}",
    st.sampled_from(["", "-"]),
    digits,
    st.sampled_from(["", "."]),
    st.text("0123456789", max_size=6),
)
money = st.builds(lambda n: f"{n / 100:.2f}", st.integers(-(10**9), 10**9))
odd = st.sampled_from(
    ["", "NULL", "+1", "1e3", "0x1f", "1_0", " 1", "--1", "1-1", "1.2.3", "1,000", "-", ".", "１"]
)


@quick
@given(
    st.sampled_from("imqrx"),
    st.one_of(
        st.lists(money, max_size=5), st.lists(plain, max_size=5), st.lists(st.one_of(plain, odd), max_size=5)
    ),
)
def test_a_number_typed_by_the_reader_is_the_number_of_the_sql(kind: str, texts: list[str]) -> None:
    table = pa.table({"a": pa.array(texts, pa.string())})
    made = typed(table, {"a": kind})
    if made.schema == table.schema:
        return
    assert by_sql(made, kind) == [
        # An empty row is one of this contract's only column.
        row if text else (None, ("blank_row", None))
        for row, text in zip(by_sql(table, kind), texts, strict=True)
    ]


@pytest.mark.parametrize(
    ("kind", "texts", "type_"),
    [
        ("i", ["1", "-7", "0012"], "BIGINT"),
        ("m", ["1.25", "-.5", "3", "5.", ""], "DECIMAL(18,4)"),
        ("q", ["1.125", "2.000"], "DECIMAL(18,3)"),
        ("x", ["7.12345678"], "DECIMAL(18,8)"),
        ("b", ["true", "false"], "BOOLEAN"),
        ("m", ["1.23456"], "VARCHAR"),
        ("m", ["1.2.3"], "VARCHAR"),
        ("i", ["1.0"], "VARCHAR"),
        ("i", ["12345678901234"], "VARCHAR"),
        ("b", ["true", "1"], "VARCHAR"),
        ("s", ["1", "2"], "VARCHAR"),
    ],
)
def test_plain_texts_are_typed_and_others_left_alone(kind: str, texts: list[str], type_: str) -> None:
    """Without this the comparison above would also pass with nothing typed."""
    made = typed(pa.table({"a": texts}), {"a": kind})
    assert type_of_typed(made["a"].type) == type_
    assert by_sql(made, kind) == by_sql(pa.table({"a": texts}), kind)


def facts_of(tmp_path: Path, body: str, **kinds: str) -> Facts:
    path = tmp_path / "file.csv"
    path.write_text(",".join(kinds) + "\n" + body)
    with mock.patch.object(csv_chunks.CsvParser, "_slow", side_effect=AssertionError("not the quick way")):
        return read_file(path, "csv", contract(**kinds)).facts


@pytest.mark.parametrize(
    ("values", "is_plain"),
    [
        (("1.25", "2.5000", "3"), True),
        (("1.25", "2.5"), True),
        # One is too fine, where each has a point, where not, and where two points are in one value.
        (("1.25", "2.50001"), False),
        (("1", "2.50001"), False),
        (("1.0000.1", "2"), False),
        (("1.25", "1e3"), False),
    ],
)
def test_an_amount_is_plain_unless_its_type_would_round_it(
    tmp_path: Path, values: Sequence[str], is_plain: bool
) -> None:
    facts = facts_of(tmp_path, "".join(f"x,{v}\n" for v in values), id="s", a="m")
    assert ("a" in facts.plain) is is_plain


def test_a_file_is_short_unless_a_value_is_longer_than_a_field_may_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(csv_chunks, "MAX_FIELD_BYTES", 40)
    assert facts_of(tmp_path, f"{'x' * 40},y\n" * 3, id="s", a="s").is_short
    assert not facts_of(tmp_path, f"{'x' * 40},y\n{'x' * 41},y\n", id="s", a="s").is_short


def test_a_column_is_filled_where_no_value_can_be_a_null(tmp_path: Path) -> None:
    facts = facts_of(tmp_path, "order-1,null,12345\norder-2,x,\n", id="s", a="s", b="s")
    assert facts.filled == {"id"}
    padded = pa.table({"a": ["  NULL  ", "abcdefgh"]})
    known = Facts(is_clean=False, is_short=True, filled=frozenset("a"))
    assert by_sql(padded, "s", known) == [(None, ("blank_row", None)), ("abcdefgh", None)]


@quick
@given(
    st.lists(st.tuples(st.sampled_from(["a", "ab", "b", "é", "张"]), st.integers(0, 3)), max_size=8),
    st.integers(1, 4),
    st.booleans(),
)
def test_rows_ascend_where_each_key_is_larger_than_the_one_before(
    keys: list[tuple[str, int]], size: int, in_order: bool
) -> None:
    keys = sorted(set(keys)) if in_order else keys
    order = KeyOrder(["a", "n"])
    table = pa.table({"n": pa.array([n for _, n in keys], pa.int64()), "a": [a for a, _ in keys]})
    for start in range(0, len(keys), size):
        order.see(table.slice(start, size))
    assert order.ascends == all(one < other for one, other in pairwise(keys))


def test_a_null_in_a_key_or_no_key_proves_nothing() -> None:
    order = KeyOrder(["a", "n"])
    order.see(pa.table({"a": ["a", "b"], "n": pa.array([1, None], pa.int64())}))
    assert not order.ascends
    assert not KeyOrder([]).ascends
