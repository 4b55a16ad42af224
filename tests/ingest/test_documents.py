"""Feeds without a key: a document that came before, line for line, is a duplicate; a repeated line is not."""

import csv
import os
import shutil
from datetime import date
from pathlib import Path

import pytest

from pipeline.errors import StrataError
from pipeline.ingest import ledger
from pipeline.ingest.load import sweep
from pipeline.ingest.loader import Loader
from pipeline.settings import Settings

HEADER = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n"
FIRST = "1,A,Mug,1,2011-03-01 10:00:00,2.50,17850.0,UK\n1,A,Mug,1,2011-03-01 10:00:00,2.50,17850.0,UK\n"
SECOND = "2,B,Jug,2,2011-03-01 11:00:00,3.00,,UK\n"


def deliver(settings: Settings, name: str, lines: str) -> None:
    path = settings.landing / "online_retail" / "transactions" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(HEADER + lines)


def counts(settings: Settings, as_of: date = date(2011, 3, 10)) -> dict[str, tuple[int, int, int, int]]:
    """(read, loaded, rejected, duplicate) of the readings in force, by file."""
    sweep(settings, as_of, run_id="test", released=None)
    return {
        e.file.rsplit("/", 1)[1]: (e.rows_read, e.rows_loaded, e.rows_rejected, e.rows_duplicate)
        for e in ledger.in_force(ledger.read(settings), as_of)
    }


def test_a_repeated_line_of_one_document_is_a_further_line(settings: Settings) -> None:
    deliver(settings, "2011-03-01.csv", FIRST)
    assert counts(settings) == {"2011-03-01.csv": (2, 2, 0, 0)}


def test_the_same_document_again_is_a_duplicate_whatever_the_order_and_writing_of_its_lines(
    settings: Settings,
) -> None:
    deliver(settings, "2011-03-01.csv", FIRST + SECOND)
    deliver(
        settings, "2011-03-02.csv", "2,B,Jug,2,2011/3/1 11:00,3,,UK\n" + FIRST.replace("17850.0", "17850")
    )
    assert counts(settings) == {"2011-03-01.csv": (3, 3, 0, 0), "2011-03-02.csv": (3, 0, 0, 3)}


def test_a_document_that_comes_again_with_other_lines_is_rejected_whole_and_the_first_one_counts(
    settings: Settings,
) -> None:
    deliver(settings, "2011-03-01.csv", FIRST)
    deliver(settings, "2011-03-02.csv", FIRST + FIRST.splitlines(keepends=True)[0] + SECOND)
    assert counts(settings) == {"2011-03-01.csv": (2, 2, 0, 0), "2011-03-02.csv": (4, 1, 3, 0)}
    (entry,) = (e for e in ledger.read(settings) if e.file.endswith("2011-03-02.csv"))
    assert entry.reject_codes == '{"document_changed": 3}'


def test_the_documents_of_a_sweep_that_died_are_not_believed_when_the_file_was_corrected_since(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    deliver(settings, "2011-03-02.csv", FIRST + SECOND)
    with monkeypatch.context() as patch:
        patch.setattr(ledger, "append", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            counts(settings)
    deliver(settings, "2011-03-01.csv", "9,Z,Pan,1,2011-03-01 09:00:00,5.00,,UK\n")
    deliver(settings, "2011-03-02.csv", FIRST)
    deliver(settings, "2011-03-03.csv", SECOND)
    found = counts(settings)
    assert (found["2011-03-02.csv"], found["2011-03-03.csv"]) == ((2, 2, 0, 0), (1, 1, 0, 0))


def test_a_later_run_knows_the_documents_of_an_earlier_one(settings: Settings) -> None:
    deliver(settings, "2011-03-01.csv", FIRST + SECOND)
    counts(settings)
    deliver(settings, "2011-03-02.csv", SECOND + "3,C,Cup,1,2011-03-02 09:00:00,1.00,,UK\n")
    assert counts(settings)["2011-03-02.csv"] == (2, 1, 0, 1)


def test_a_document_that_its_first_file_takes_back_counts_where_it_came_again(settings: Settings) -> None:
    deliver(settings, "2011-03-01.csv", FIRST + SECOND)
    deliver(settings, "2011-03-02.csv", SECOND)
    assert counts(settings)["2011-03-02.csv"] == (1, 0, 0, 1)
    deliver(settings, "2011-03-01.csv", FIRST)
    assert counts(settings) == {"2011-03-01.csv": (2, 2, 0, 0), "2011-03-02.csv": (1, 1, 0, 0)}
    assert counts(settings) == {"2011-03-01.csv": (2, 2, 0, 0), "2011-03-02.csv": (1, 1, 0, 0)}


def test_a_sweep_that_died_before_it_counted_the_document_again_is_made_good(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    deliver(settings, "2011-03-01.csv", FIRST + SECOND)
    deliver(settings, "2011-03-02.csv", SECOND)
    counts(settings)
    deliver(settings, "2011-03-01.csv", FIRST)
    with monkeypatch.context() as patch:
        patch.setattr(Loader, "_leaning_on_corrected", lambda *_: set())
        assert counts(settings)["2011-03-02.csv"] == (1, 0, 0, 1)
    assert counts(settings)["2011-03-02.csv"] == (1, 1, 0, 0)


def test_where_the_later_file_is_gone_the_run_says_which_one_must_come_back(settings: Settings) -> None:
    deliver(settings, "2011-03-01.csv", FIRST + SECOND)
    deliver(settings, "2011-03-02.csv", SECOND)
    counts(settings)
    deliver(settings, "2011-03-01.csv", FIRST)
    (settings.landing / "online_retail" / "transactions" / "2011-03-02.csv").unlink()
    with pytest.raises(StrataError, match="put online_retail/transactions/2011-03-02.csv back into landing"):
        counts(settings)


@pytest.mark.soak
def test_the_two_sheets_of_online_retail_overlap_on_22_523_rows(settings: Settings, real_data: Path) -> None:
    """The days on which they overlap, and two more; STRATA_SOAK=1 takes all 305, 1,067,370 rows."""
    folder = settings.landing / "online_retail" / "transactions"
    folder.mkdir(parents=True)
    days = sorted((real_data / "online_retail_by_day").iterdir())
    days = days if os.environ.get("STRATA_SOAK") else days[:10]
    rows = 525_461
    for path in days:
        shutil.copy(path, folder)
        with path.open(encoding="utf-8", newline="") as file:
            rows += sum(1 for _ in csv.reader(file)) - 1
    shutil.copy(
        real_data / "online_retail_2" / "online_retail_2009_2010.parquet",
        folder / "2010-12-09.sheet1.parquet",
    )
    found = counts(settings, date(2011, 12, 10))
    read, loaded, rejected, duplicate = (sum(row) for row in zip(*found.values(), strict=True))
    assert (read, loaded, rejected, duplicate) == (rows, rows - 22_523, 0, 22_523)
    assert rows == 1_067_370 or len(days) == 10
