"""What a spreadsheet reader passes over in silence: which sheet is seen, cells without a value, rows that stand twice.

The values themselves come from calamine. It gives an empty text for an error (#N/A) and for a formula whose result is
not saved, and of two rows with one number it keeps the last: both are found here, in the XML of the sheet.
"""

import io
import zipfile
from posixpath import normpath
from typing import IO
from xml.etree import ElementTree
from xml.parsers import expat

from python_calamine import CalamineError, CalamineSheet, CalamineWorkbook, SheetTypeEnum, SheetVisibleEnum

from pipeline.ingest.reading.content import FileRejected

_BLOCK = 1024 * 1024
_MAX_COLUMNS = 16_384


class Workbook:
    """An opened workbook whose archive has been looked at (see read_workbook).

    Attributes:
        sheet: the first sheet that a reader of the file sees.
        others: its other work sheets, hidden ones included.
        unread: row index of `sheet` → bit mask of the columns that hold an error or a formula without its result.

    Raises:
        FileRejected: `wrong_format` for what is no workbook, has no visible sheet, or numbers rows or cells twice.
    """

    sheet: CalamineSheet
    others: list[CalamineSheet]
    unread: dict[int, int]

    def __init__(self, data: bytes) -> None:
        try:
            book = CalamineWorkbook.from_filelike(io.BytesIO(data))
            pages = [s for s in book.sheets_metadata if s.typ == SheetTypeEnum.WorkSheet]
            seen = next((s for s in pages if s.visible == SheetVisibleEnum.Visible), None)
            if seen is None:
                raise FileRejected("wrong_format", "the workbook has no visible sheet")
            self.sheet = book.get_sheet_by_name(seen.name)
            self.others = [book.get_sheet_by_name(s.name) for s in pages if s.name != seen.name]
            with zipfile.ZipFile(io.BytesIO(data)) as archive, archive.open(_part(archive, seen.name)) as xml:
                self.unread = _unread(xml)
        except (CalamineError, ValueError, KeyError, ElementTree.ParseError, expat.ExpatError) as error:
            # Its own words may quote a name or a value of the file.
            raise FileRejected(
                "wrong_format", f"the workbook cannot be opened ({type(error).__name__})"
            ) from None


def _part(archive: zipfile.ZipFile, sheet: str) -> str:
    """Name of the archive's member that holds a sheet. Raises KeyError where there is none."""
    members = {name.lower(): name for name in archive.namelist()}
    book = ElementTree.fromstring(archive.read(members["xl/workbook.xml"]))
    links = ElementTree.fromstring(archive.read(members["xl/_rels/workbook.xml.rels"]))
    targets = {link.get("Id"): link.get("Target", "") for link in links}
    ids = {
        e.get("name"): value
        for e in book.iter()
        if e.tag.endswith("}sheet")
        for key, value in e.items()
        if key.endswith("}id")
    }
    target = targets[ids[sheet]]
    path = target.removeprefix("/") if target.startswith("/") else normpath(f"xl/{target}")
    return members[path.lower()]


def _unread(xml: IO[bytes]) -> dict[int, int]:
    """Rows with cells that have no value to read (see Workbook). Raises FileRejected where a place stands twice."""
    found: dict[int, int] = {}
    row = column = -1
    kind = ""
    has_formula = has_value = inside = numbered = False

    def settle() -> None:
        nonlocal has_formula
        if kind == "e" or (has_formula and not has_value and kind != "str"):
            found[row] = found.get(row, 0) | 1 << column
        has_formula = False

    def start(name: str, attributes: dict[str, str]) -> None:
        nonlocal row, column, numbered, kind, has_formula, has_value, inside
        name = name.rpartition(":")[2]
        if name == "sheetData":
            if row >= 0:
                raise FileRejected("wrong_format", "the sheet has its rows in two parts")
            inside = True
        elif not inside:
            return
        elif name == "row":
            settle()
            kind = ""
            at = int(attributes["r"]) - 1 if "r" in attributes else row + 1
            _check_after(at, row, "row")
            row, column, numbered = at, -1, "r" in attributes
        elif name == "c":
            settle()
            at = column + 1
            if "r" in attributes:
                line, at = _place(attributes["r"])
                if line != row and (numbered or column >= 0 or line < row):
                    raise FileRejected(
                        "wrong_format", f"a cell in row {row + 1} says that it is of row {line + 1}"
                    )
                row = line
            _check_after(at, column, f"cell of row {row + 1}")
            column, kind, has_value = at, attributes.get("t", ""), False
        elif name == "f":
            has_formula = True
        elif name == "v" and has_formula:
            parser.CharacterDataHandler = text

    def text(data: str) -> None:
        nonlocal has_value
        has_value = has_value or bool(data.strip())

    def end(name: str) -> None:
        nonlocal inside, kind
        name = name.rpartition(":")[2]
        if name == "v":
            parser.CharacterDataHandler = None
        elif name == "sheetData":
            settle()
            inside, kind = False, ""

    parser = expat.ParserCreate()
    parser.StartElementHandler, parser.EndElementHandler = start, end
    while block := xml.read(_BLOCK):
        parser.Parse(block, False)
    parser.Parse(b"", True)
    return found


def _check_after(at: int, before: int, what: str) -> None:
    if at <= before:
        raise FileRejected(
            "wrong_format", f"a {what} stands twice or out of order, so one of two would be lost"
        )


def _place(reference: str) -> tuple[int, int]:
    """(row index, column index) of a cell reference such as BC12. Raises ValueError for what is none."""
    letters = reference.rstrip("0123456789")
    number = 0
    for letter in letters:
        number = number * 26 + ord(letter) - 64
    if not 0 < number <= _MAX_COLUMNS:
        raise ValueError(f"{reference[:20]!r} is no cell")
    return int(reference[len(letters) :]) - 1, number - 1
