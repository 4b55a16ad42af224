"""The reader against the csv module and against noise. Sizes are small; STRATA_FUZZ_EXAMPLES raises them."""

import contextlib
import csv
import io
import os
import unicodedata

import pytest
from hypothesis import HealthCheck, assume, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from pipeline.ingest.contracts import Column, Contract, load_contracts
from pipeline.ingest.reader import FileRejected, check_file, read_text_file

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
    records = read_text_file(
        data, "csv", CONTRACT, "utf-8" if encoding.startswith("utf") else encoding, delimiter
    )
    read = list(zip(records.columns["id"], records.columns["a"], records.columns["b"], strict=True))
    assert read == [row for row in expected if row != ("id", "a", "b")]
    assert {r.code for r in records.rejects} <= {"repeated_header"}
    assert records.rows_read == len(expected)
    size = len(data.decode("utf-16").encode()) if encoding == "utf-16" else len(data)
    assert records.header_bytes + records.blank_bytes + records.record_bytes == size


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


def accounted(data: bytes, ext: str, contract: Contract, encoding: str) -> None:
    """Reads or refuses; an accepted file has every byte and every record in one place."""
    try:
        records = read_text_file(data, ext, contract, encoding, ",")
    except FileRejected:
        return
    assert records.table(list(contract.columns)).num_rows == len(records.row_no)
    numbers = sorted([*records.row_no, *(r.record_no for r in records.rejects)])
    assert numbers == list(range(1, records.rows_read + 1))
    assert {len(values) for values in records.columns.values()} <= {len(records.row_no)}
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        data = data.decode("utf-16").encode()
    assert records.header_bytes + records.blank_bytes + records.record_bytes == len(data)
    spans = sorted((r.byte_start, r.byte_end) for r in records.rejects)
    assert all(end <= start for (_, end), (start, _) in zip(spans, spans[1:], strict=False))


@small
@given(nearly_csv, st.sampled_from(["utf-8", "gb18030"]), st.booleans())
def test_noise_never_breaks_the_csv_reader(data: bytes, encoding: str, with_header: bool) -> None:
    accounted((b"id,a,b\n" if with_header else b"") + data, "csv", CONTRACT, encoding)


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
@given(nearly_json)
def test_noise_never_breaks_the_json_reader(data: bytes) -> None:
    accounted(data, "jsonl", CONTRACT, "utf-8")


@small
@given(st.binary(max_size=200), st.integers(0, 4000), st.binary(min_size=1, max_size=6))
def test_noise_never_breaks_the_workbook_reader(tail: bytes, at: int, patch: bytes) -> None:
    whole = _workbook()
    for data in (b"PK\x03\x04" + tail, whole[:at], whole[:at] + patch + whole[at + len(patch) :]):
        with contextlib.suppress(FileRejected):
            read_text_file(data, "xlsx", load_contracts()["stores"], "utf-8", ",")


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
    data = b'id,a,b\n1,"x,1\n2,y,2\n3,z"z,3\n4,w,4\n'
    records = read_text_file(data, "csv", CONTRACT, "utf-8", ",")
    assert [(r.record_no, r.code) for r in records.rejects] == [(1, "bare_quote"), (3, "bare_quote")]
    assert records.columns["id"] == ["2", "4"]


def test_white_space_is_kept_inside_quotes_and_lines_keep_their_numbers() -> None:
    records = read_text_file(b'id,a,b\n\n1," x ","\n"\n\n2,,\n', "csv", CONTRACT, "utf-8", ",")
    assert (records.row_no, records.columns["a"], records.columns["b"]) == ([1, 2], [" x ", ""], ["\n", ""])


@pytest.mark.parametrize("head", [b"PK\x03\x04", b"PAR1", b"\x1f\x8b", b"<html>", b"  \n<?xml"])
def test_content_is_judged_by_its_first_bytes(tmp_path: object, head: bytes) -> None:
    path = tmp_path / "2024-05-06.csv"  # type: ignore[operator]
    path.write_bytes(head)
    with pytest.raises(FileRejected, match="wrong_format"):
        check_file(path, head, "csv")
