"""Sheets damaged inside a sound archive: no row is lost, by an independent count of the sheet's XML.

150 sheets; STRATA_SOAK=1 (`make soak`) makes it 5,000. A sheet is a function of its number.
"""

import os
import random
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.ingest.contracts import load_contracts
from pipeline.ingest.reading.content import FileRejected
from pipeline.ingest.reading.reader import read_file
from tests.ingest.bad_inputs import rezipped
from tests.ingest.counter import count

SIZE = 5_000 if os.environ.get("STRATA_SOAK") == "1" else 150
CELL = re.compile(rb"<c [^>]*>.*?</c>|<c [^>]*/>")
ROW = re.compile(rb"<row [^>]*>")

CELLS: tuple[Callable[[bytes, bytes], bytes], ...] = (
    lambda ref, _: b'<c r="%s" t="e"><v>#N/A</v></c>' % ref,
    lambda ref, _: b'<c r="%s"><f>1+1</f></c>' % ref,
    lambda ref, _: b'<c r="%s"><f>1</f><v>3</v></c>' % ref,
    lambda ref, _: b'<c r="%s"/>' % ref,
    lambda ref, _: b'<c r="%s" t="b"><v>1</v></c>' % ref,
    lambda ref, cell: cell.replace(ref, b"Z" + ref[1:]),
    lambda ref, cell: cell.replace(b' r="%s"' % ref, b""),
    lambda _, cell: cell * 2,
    lambda *_: b"",
)


def damaged(rnd: random.Random, xml: bytes) -> bytes:
    """The sheet with one to five cells or rows written another way, moved, doubled or taken out."""
    for _ in range(rnd.choice([1, 1, 2, 3, 5])):
        if rnd.random() < 0.8 and (cells := list(CELL.finditer(xml))):
            found = rnd.choice(cells)
            ref = re.search(rb'r="([A-Z]+\d+)"', found.group())
            new = rnd.choice(CELLS)(ref.group(1) if ref else b"A1", found.group())
        elif rows := list(ROW.finditer(xml)):
            found = rnd.choice(rows)
            new = rnd.choice([b"<row>", b'<row r="%d">' % rnd.randrange(1, 9)])
        else:
            return xml
        xml = xml[: found.start()] + new + xml[found.end() :]
    return xml


@pytest.mark.soak
def test_no_row_of_a_damaged_sheet_is_lost(tmp_path: Path) -> None:
    contract = load_contracts()["order_lines"]
    path = tmp_path / "sheet.xlsx"
    ends: Counter[str] = Counter()
    wrong: list[tuple[int, int, int]] = []
    for number in range(SIZE):
        rnd = random.Random(number)
        rows = tuple([f"o{i}", i, "p", 1, 5] for i in range(rnd.randrange(1, 6)))
        data = rezipped(
            lambda name, xml, rnd=rnd: damaged(rnd, xml) if "worksheets/" in name else xml,  # type: ignore[misc]
            rows=rows,
        )
        path.write_bytes(data)
        try:
            records = read_file(path, "xlsx", contract)
        except FileRejected as rejected:
            ends[rejected.code] += 1
            continue
        ends.update(["loaded", *(r.code for r in records.rejects)])
        counted = count(data, "xlsx")
        if counted is None or counted.records != records.rows_read:
            wrong.append((number, counted.records if counted else -1, records.rows_read))
    assert wrong == [], "sheet, rows that it has, rows that were read"
    # A test in which everything is refused, or nothing, would show nothing.
    assert min(ends["loaded"], ends["wrong_format"]) > SIZE // 5 and ends["unread_cell"] > SIZE // 20
