"""One delivered record: what became of it, by the name of its file and its number."""

import contextlib
from pathlib import Path
from typing import Any

from pipeline.errors import StrataError
from pipeline.ingest.contracts import load_contracts
from pipeline.ingest.ledger import Entry
from pipeline.ingest.mapping import targets
from pipeline.settings import Settings
from pipeline.trace.books import Books, plain, words_of
from pipeline.trace.orders import describe, place, rejected_state, repeated_state, trace_order
from pipeline.words import counted


def trace_record(settings: Settings, name: str, record_no: str) -> dict[str, Any]:
    """What became of one record of one delivered file.

    Args:
        name: a delivery (`<source>/<feed>/<stem>/rev=N`), or a file by its path below landing or on disk.
        record_no: number of the record after the header, from 1; blank lines do not count.

    Raises StrataError for a file that the ledger does not know and for a number that the file does not have.
    """
    if not record_no.isdecimal() or not int(record_no):
        raise StrataError(f"{record_no!r} is no record number: 1 is the first record after the header")
    number = int(record_no)
    books = Books(settings)
    asked = _entry(books, name)
    entry = books.last_reading(asked) if "/rev=" not in name else asked
    found = describe(entry, number, entry.feed or "")
    found |= place(books.places(entry, [number]).get(number)) | {"values": {}}
    if entry.status == "rejected":
        found |= {"state": "refused", "reason": entry.reject_code, "detail": entry.reject_detail, "by": None}
        return _answer(books, found | words_of(entry.reject_code), [], [])
    if number > entry.rows_read:
        raise StrataError(f"{entry.delivery} has {counted(entry.rows_read, 'record')}, so no record {number}")
    if entry.status == "duplicate":
        twin = next(
            (
                e
                for e in books.entries
                if e.sha256 == entry.sha256 and e.status == "loaded" and e.feed == entry.feed
            ),
            None,
        )
        by = {"delivery": twin.delivery, "file": twin.file, "record_no": number} if twin else None
        found |= {"state": "duplicate", "reason": "the same file again", "by": by}
        return _answer(books, found, [], [])
    history = _history(books, entry, number)
    reject = books.rejects(entry).get(number)
    if reject:
        again = books.last_reading(entry)
        if again is not entry:
            return _answer(books, found | rejected_state(reject), history, _made(books, again, number))
        newest = books.current_of(entry)
        if newest is not entry:
            by = {"delivery": newest.delivery, "file": newest.file, "record_no": None}
            history.append({"delivery": newest.delivery, "state": "corrected", "by": by})
        return _answer(books, found | rejected_state(reject), history, [])
    repeat = next((r for r in books.repeats(entry) if r["record_no"] == number), None)
    if repeat:
        found |= repeated_state(books, repeat)
        return _answer(books, found, history, _made(books, entry, repeat["of_record_no"] or 0))
    made = _made(books, entry, number)
    if made:
        found |= {"state": "loaded", "reason": "written to raw", "by": None}
    else:
        # A mapping may make one row of several records, and names the first of them.
        found |= {
            "state": "loaded",
            "reason": "read, and part of a mapped row that names another record, or of none",
            "by": None,
        }
    return _answer(books, found, history, made)


def _entry(books: Books, name: str) -> Entry:
    if name in books.by_delivery:
        return books.by_delivery[name]
    landing = books.settings.landing
    path = Path(name).expanduser()
    names = {name, name.rstrip("/")}
    if path.is_absolute() or path.exists():
        with contextlib.suppress(ValueError):
            names.add(path.resolve().relative_to(landing.resolve()).as_posix())
    known = [e for e in books.entries if e.file in names or f"{e.source}/{e.feed}/{e.stem}" in names]
    if not known:
        there = next((n for n in names if (landing / n).is_file()), None)
        waits = f"; it lies in {landing} and is not taken in yet: `strata run`" if there else ""
        raise StrataError(
            f"{name} is no delivered file of {books.settings.home}: expected <source>/<feed>/<file>, as "
            f"`strata quarantine list` and operations.ingest_ledger name it{waits}"
        )
    return max(known, key=lambda e: e.rev)


def _history(books: Books, entry: Entry, number: int) -> list[dict[str, Any]]:
    """What earlier and later readings of the same bytes made of the record."""
    chain = [
        e
        for e in books.entries
        if (e.source, e.feed, e.stem, e.sha256) == (entry.source, entry.feed, entry.stem, entry.sha256)
    ]
    told = []
    for reading in sorted(chain, key=lambda e: e.rev):
        if reading is entry:
            continue
        reject = books.rejects(reading).get(number)
        state = "refused" if reading.status == "rejected" else "rejected" if reject else "loaded"
        told.append(
            {
                "delivery": reading.delivery,
                "state": state,
                "code": reject.code if reject else reading.reject_code,
                "at": plain(reading.loaded_at),
            }
        )
    return told


def _made(books: Books, entry: Entry, number: int) -> list[dict[str, Any]]:
    """Rows of raw that name the record."""
    return [
        {
            "feed": feed,
            "key": {name: plain(row.get(name)) for name in load_contracts()[feed].key},
            "order_id": row.get("order_id"),
        }
        for feed in targets(entry.source or "", entry.feed or "")
        for row in books.raw(feed, "_delivery = ? and _row = ?", [entry.delivery, number])
    ]


def _answer(
    books: Books, record: dict[str, Any], history: list[dict[str, Any]], made: list[dict[str, Any]]
) -> dict[str, Any]:
    """The record, and the orders that its rows belong to."""
    orders = sorted({str(row["order_id"]) for row in made if row["order_id"]})
    source = record["file"].split("/")[0]
    return {
        "record": record,
        "history": history,
        "rows": made,
        "release": books.release["release"] if books.release else None,
        "as_of_date": books.as_of,
        "orders": [trace_order(books.settings, order, source) for order in orders],
    }
