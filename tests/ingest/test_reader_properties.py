"""The reader against the csv module and against noise. Sizes are small; STRATA_FUZZ_EXAMPLES raises them."""

import contextlib
import csv
import io
import os
import tempfile
import unicodedata
from pathlib import Path
from unittest import mock

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, assume, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from pipeline.ingest.contracts import Column, Contract, load_contracts
from pipeline.ingest.reading import content, csv_chunks, reader
from pipeline.ingest.reading.content import FileRejected, check_kind
from pipeline.ingest.reading.csv_chunks import CsvParser
from pipeline.ingest.reading.reader import Records, read_file, record_spans
from tests.ingest.counter import count

EXAMPLES = int(os.environ.get("STRATA_FUZZ_EXAMPLES", "300"))
small = hypothesis_settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize="STRATA_FUZZ_EXAMPLES" not in os.environ,
    suppress_health_check=[HealthCheck.too_slow],
)

CONTRACT = Contract(
    feed="t",
    id="t",
    description="",
    key=(),
    cadence="daily",
    columns={"id": Column(type="s", required=True), "a": Column(type="s"), "b": Column(type="s")},
)
WORK = Path(tempfile.mkdtemp(prefix="reader-"))


def read(data: bytes, ext: str, contract: Contract = CONTRACT, block: int = 8 * 1024 * 1024) -> Records:
    """The records of these bytes, read in blocks of another size."""
    path = WORK / f"file.{ext}"
    path.write_bytes(data)
    with mock.patch.object(content, "BLOCK_BYTES", block):
        return read_file(path, ext, contract)


def columns(records: Records) -> dict[str, list[str | None]]:
    return records.table(["id", "a", "b"]).to_pydict()


# Characters that the reader drops or replaces by rule (zero-width, no-break) are tested by name elsewhere.
_BY_RULE = "\u200b\u200c\u200d\u2060\ufeff\u00a0\u202f"
texts = st.text(
    st.one_of(
        st.sampled_from(list('",;\t|\n\r "' + "aé张龘")), st.characters(exclude_categories=("Cs", "Cc"))
    ),
    max_size=8,
).map(lambda t: "".join(c for c in unicodedata.normalize("NFC", t) if c not in _BY_RULE))


fields = st.tuples(texts, st.booleans())


def written(field: tuple[str, bool], delimiter: str) -> str:
    text, quoted = field
    quoted = quoted or any(c in text for c in f'{delimiter}"\r\n')
    return '"' + text.replace('"', '""') + '"' if quoted else text


@small
@given(
    st.lists(st.tuples(fields, fields, fields), max_size=6),
    st.sampled_from(["utf-8", "utf-8-sig", "gb18030", "utf-16"]),
    st.sampled_from([",", ";", "\t", "|"]),
    st.sampled_from(["\n", "\r\n", "\r"]),
)
def test_a_written_table_is_read_unchanged(
    rows: list[tuple[tuple[str, bool], ...]], encoding: str, delimiter: str, newline: str
) -> None:
    lines = [
        "id,a,b".replace(",", delimiter),
        *(delimiter.join(written(f, delimiter) for f in row) for row in rows),
    ]
    text = newline.join(lines) + newline
    # NFC composes across a field's border and turns one Greek mark into a semicolon: texts that it changes are not meant.
    assume(unicodedata.normalize("NFC", text) == text)
    # A line of white space only is a blank line, whatever the delimiter.
    expected = [
        tuple(value for value, _ in row)
        for row, line in zip(rows, lines[1:], strict=True)
        if line.strip(" \t")
    ]
    opinion = [tuple(row) for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)][1:]
    assert [row for row in opinion if any(row)] == [row for row in expected if any(row)], (
        "two counts of the same file"
    )
    data = text.encode(encoding)
    declared = "utf-8" if encoding.startswith("utf") else encoding
    contract = CONTRACT.model_copy(update={"encoding": declared, "delimiter": delimiter})
    records = read(data, "csv", contract)
    found = columns(records)
    rows_read = list(zip(found["id"], found["a"], found["b"], strict=True))
    assert rows_read == [row for row in expected if row != ("id", "a", "b")]
    assert {r.code for r in records.rejects} <= {"repeated_header"}
    assert records.rows_read == len(expected)
    assert records.header_bytes + records.blank_bytes + records.record_bytes == len(data)


nearly_csv = st.binary(max_size=300) | st.lists(
    st.sampled_from(
        [
            b"id",
            b"a",
            b"b",
            b",",
            b'"',
            b"\n",
            b"\r",
            b"\r\n",
            b"x",
            b" ",
            b"\xff",
            b"\xe5",
            b"\x00",
            b"\x1a",
            b"\xef\xbb\xbf",
            b"\xff\xfe",
            b"\xfe\xff",
            "张".encode(),
            "张".encode("gb18030"),
        ]
    ),
    max_size=60,
).map(b"".join)


def accounted(data: bytes, ext: str, contract: Contract, block: int) -> None:
    """Reads or refuses, the same in blocks of any size; an accepted file has every byte and record in one place."""
    try:
        records = read(data, ext, contract)
    except FileRejected as refused:
        with pytest.raises(FileRejected, match=refused.code):
            read(data, ext, contract, block)
        return
    numbers = sorted([*columns(records)["_row"], *(r.record_no for r in records.rejects)])
    assert numbers == list(range(1, records.rows_read + 1))
    counted = count(data, ext, contract.encoding, contract.delimiter)
    assert counted is not None
    assert (records.rows_read, records.header_bytes, records.blank_bytes, records.record_bytes) == (
        counted.records,
        counted.header_bytes,
        counted.blank_bytes,
        counted.record_bytes,
    )
    spans = sorted((r.byte_start, r.byte_end) for r in records.rejects)
    assert all(end <= start for (_, end), (start, _) in zip(spans, spans[1:], strict=False))
    again = read(data, ext, contract, block)
    assert (columns(again), again.rejects) == (columns(records), records.rejects)
    found = record_spans(WORK / f"file.{ext}", ext, contract, numbers)
    assert sum(end - start for start, end in found.values()) == records.record_bytes


@small
@given(nearly_csv, st.sampled_from(["utf-8", "gb18030"]), st.booleans(), st.integers(1, 40))
def test_noise_never_breaks_the_csv_reader(data: bytes, encoding: str, with_header: bool, block: int) -> None:
    contract = CONTRACT.model_copy(update={"encoding": encoding})
    accounted((b"id,a,b\n" if with_header else b"") + data, "csv", contract, block)


nearly_json = st.binary(max_size=300) | st.lists(
    st.sampled_from(
        [
            b'{"id":',
            b'"x"',
            b"1",
            b"1e999",
            b"NaN",
            b"}",
            b"{",
            b"[",
            b"]",
            b",",
            b'"a":',
            b"\n",
            b"\r\n",
            b"\xff",
            b"null",
            b"\xef\xbb\xbf",
            b"\\ud800",
            b'"',
            b"\xff\xfe",
            b'{"id": "\\ud800"}',
            b'{"id": "\\ud83d\\ude00"}',
        ]
    ),
    max_size=60,
).map(b"".join)


@small
@given(nearly_json, st.integers(1, 40))
def test_noise_never_breaks_the_json_reader(data: bytes, block: int) -> None:
    accounted(data, "jsonl", CONTRACT, block)


@small
@given(st.binary(max_size=200), st.integers(0, 4000), st.binary(min_size=1, max_size=6))
def test_noise_never_breaks_the_workbook_reader(tail: bytes, at: int, patch: bytes) -> None:
    whole = _workbook()
    for data in (b"PK\x03\x04" + tail, whole[:at], whole[:at] + patch + whole[at + len(patch) :]):
        with contextlib.suppress(FileRejected):
            read(data, "xlsx", load_contracts()["stores"])


def _workbook() -> bytes:
    if not _cached:
        import openpyxl

        book = openpyxl.Workbook()
        for row in (["store_id", "region", "opened_on", "area"], ["s1", "北", "2020-01-01", 120.5]):
            book.active.append(row)
        buffer = io.BytesIO()
        book.save(buffer)
        _cached.append(buffer.getvalue())
    return _cached[0]


_cached: list[bytes] = []


def test_a_stray_quote_does_not_swallow_the_records_after_it() -> None:
    """Only a field that is quoted to its end may hold newlines; a lone quote costs its own record."""
    records = read(b'id,a,b\n1,"x,1\n2,y,2\n3,z"z,3\n4,w,4\n', "csv")
    assert [(r.record_no, r.code) for r in records.rejects] == [(1, "bare_quote"), (3, "bare_quote")]
    assert columns(records)["id"] == ["2", "4"]


def test_white_space_is_kept_inside_quotes_and_lines_keep_their_numbers() -> None:
    found = columns(read(b'id,a,b\n\n1," x ","\n"\n\n2,,\n', "csv"))
    assert (found["_row"], found["a"], found["b"]) == ([1, 2], [" x ", ""], ["\n", ""])


@pytest.mark.parametrize(
    "body",
    [
        b"1,x,y\n" * 50,
        b'"1","x ""y""","\n"\n' * 50,
        b"1,x,y\r\n" * 50,
        b'1,"x, y",\xe5\xbc\xa0\n' * 50,
    ],
    ids=["plain", "quoted", "crlf", "commas"],
)
def test_the_quick_way_is_taken_where_a_chunk_is_clean_and_gives_the_same(body: bytes) -> None:
    """Without this the comparisons above would also pass with the quick way switched off."""
    data = b"id,a,b\n" + body
    with mock.patch.object(CsvParser, "_slow", side_effect=AssertionError("not the quick way")):
        quick = read(data, "csv")
    with mock.patch.object(CsvParser, "_quick", return_value=False):
        slow = read(data, "csv")
    assert (columns(quick), quick.record_bytes) == (columns(slow), slow.record_bytes)
    assert quick.rows_read == 50


def test_one_bad_record_costs_its_own_chunk_the_slow_way(tmp_path: Path) -> None:
    data = b"id,a,b\n" + b"1,x,y\n" * 40 + b"short\n" + b"1,x,y\n" * 40
    with mock.patch.object(CsvParser, "_slow", autospec=True, side_effect=CsvParser._slow) as slow:
        records = read(data, "csv", block=60)
    assert slow.call_count == 1
    assert [(r.record_no, r.code) for r in records.rejects] == [(41, "short_row")]


def test_a_large_file_goes_through_a_private_folder_and_leaves_nothing_there_if_it_is_refused(
    tmp_path: Path,
) -> None:
    path, spool = tmp_path / "large.csv", tmp_path / "spool"
    path.write_bytes(b"id,a,b\n" + b"1,x,y\n" * 5_000)
    with mock.patch.object(reader, "SPOOL_BYTES", 10_000), mock.patch.object(content, "BLOCK_BYTES", 4_000):
        records = read_file(path, "csv", CONTRACT, spool)
        assert records.spool and records.spool.parent == spool and not records.tables
        table = pq.read_table(records.spool)
        assert table.column_names == ["id", "a", "b", "_row"]
        assert table["_row"].to_pylist() == list(range(1, 5_001))
        records.discard()
        path.write_bytes(path.read_bytes() + b'"open\n')
        with pytest.raises(FileRejected, match="unbalanced_quote"):
            read_file(path, "csv", CONTRACT, spool)
    assert list(spool.iterdir()) == []


def test_a_line_without_end_is_passed_over_in_bounded_memory() -> None:
    """One record of more than 16 MB, here made smaller."""
    data = b"id,a,b\n1,x,y\n2," + b"x" * 5_000 + b",y\r\n3,x,y\n"
    with (
        mock.patch.object(csv_chunks, "MAX_RECORD_BYTES", 1_000),
        mock.patch.object(reader, "MAX_RECORD_BYTES", 1_000),
    ):
        records = read(data, "csv", block=100)
    assert [(r.record_no, r.code, r.byte_start, r.byte_end) for r in records.rejects] == [
        (2, "oversized_field", 13, 13 + 5_006)
    ]
    assert columns(records)["id"] == ["1", "3"]
    assert records.header_bytes + records.blank_bytes + records.record_bytes == len(data)


@pytest.mark.parametrize(
    "head", [b"PK\x03\x04", b"PAR1", b"\x1f\x8b", b"<html>", b"  \n<?xml", b"\xef\xbb\xbf{"]
)
def test_content_is_judged_by_its_first_bytes(head: bytes) -> None:
    with pytest.raises(FileRejected, match="wrong_format"):
        check_kind(head, "csv")
