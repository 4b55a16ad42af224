"""One order: every delivered row of it, what became of each, the facts that they made, and the person behind them."""

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import duckdb

from pipeline import duck
from pipeline.errors import StrataError
from pipeline.ingest import ledger, quarantine
from pipeline.ingest.contracts import load_contracts
from pipeline.ingest.ledger import Entry
from pipeline.lock import run_lock
from pipeline.settings import Settings
from pipeline.trace.books import FACTS, Books, order_feeds, plain, words_of
from pipeline.words import counted

_SEGMENTS = {
    "rfm": ("customer_rfm", "rfm_segment", ("r_score", "f_score", "m_score", "monetary")),
    "abc": ("customer_abc", "abc_class", ("profit_365",)),
    "value": ("customer_value", "value_tier", ()),
    "lifecycle": ("customer_lifecycle", "stage", ()),
}


def trace_order(settings: Settings, order_id: str, source: str | None = None) -> dict[str, Any]:
    """Everything that the home knows of one order id, by source system.

    Raises StrataError where no source knows it, saying where was looked.
    """
    books = Books(settings)
    rows = _raw_rows(books, order_id, source)
    left_out, unseen = books.left_out_with(order_id, source)
    refused = books.refused_with(order_id, source)
    sources = sorted(
        {str(books.by_delivery[r["_delivery"]].source) for r in rows} | {str(e.source) for e, _ in left_out}
    )
    if not sources:
        raise StrataError(_nowhere(books, order_id, source, refused, unseen))
    facts = _facts(settings, order_id, sources)
    books.built = facts["built"]
    newer = books.built is not None and not books.in_force <= books.built
    return {
        "order_id": order_id,
        "release": books.release["release"] if books.release else None,
        "as_of_date": books.as_of,
        "sources": [
            {
                "source": name,
                "delivered": _delivered(books, name, rows, left_out),
                "facts": facts["by_source"].get(name),
                "customer": _customer(books, facts["by_source"].get(name)),
            }
            for name in sources
        ],
        "facts_from": facts["from"]
        + (", built before what was taken in since: `strata run`" if newer else ""),
        "refused_files": [{"file": e.file} | words_of(e.reject_code) for e in refused],
        "rejects_not_looked_into": [e.file for e in unseen],
    }


def _raw_rows(books: Books, order_id: str, source: str | None) -> list[dict[str, Any]]:
    """Rows of raw that name the order. A return document of a mapped source has its own number and a line behind it."""
    rows = []
    for feed in order_feeds():
        if feed == "returns":
            rows += books.raw(
                feed,
                "order_id = ? or return_id = ? or starts_with(return_id, ? || '-')",
                [order_id, order_id, order_id],
            )
        else:
            rows += books.raw(feed, "order_id = ?", [order_id])
    return [r for r in rows if source in (None, books.by_delivery[r["_delivery"]].source)]


def _nowhere(
    books: Books, order_id: str, source: str | None, refused: list[Entry], unseen: list[Entry]
) -> str:
    """Why an order is not found, and where was looked."""
    if refused:
        words = words_of(refused[0].reject_code)
        return (
            f"order {order_id} is only in a refused file: {refused[0].file} ({words['code']}: {words['means']}; "
            f"{words['to_do']})"
        )
    pending = books.pending_with(order_id, source)
    if pending:
        return (
            f"order {order_id} is only in {pending[0].file}, which is not taken in yet: `strata run` does it"
        )
    files = [
        e for e in ledger.last_readings(books.entries) if e.status == "loaded" and source in (None, e.source)
    ]
    rejects = sum(e.rows_rejected for e in files)
    looked = (
        f"looked in {counted(len(files), 'loaded file')}{' of ' + source if source else ''} (feeds {', '.join(order_feeds())}), "
        f"{counted(rejects, 'rejected record')}, refused files and what waits in {books.settings.landing}"
    )
    gone = f"; the rejects of {counted(len(unseen), 'file')} could not be searched: no longer in landing"
    return f"order {order_id} is unknown in {books.settings.home}: {looked}{gone if unseen else ''}"


# What was delivered


def _delivered(
    books: Books, source: str, rows: list[dict[str, Any]], left_out: list[tuple[Entry, int]]
) -> list[dict[str, Any]]:
    """One item per delivered row, the latest delivery last, each with the state in which it ended."""
    mine = [r for r in rows if books.by_delivery[r["_delivery"]].source == source]
    winners = _winners(books, mine)
    places: dict[str, dict[int, tuple[int, int, int]]] = {}
    wanted: dict[str, set[int]] = defaultdict(set)
    items: list[dict[str, Any]] = []

    def add(entry: Entry, record_no: int, feed: str, state: dict[str, Any], row: Mapping[str, Any]) -> None:
        wanted[entry.delivery].add(record_no)
        shown = load_contracts()[feed].stored if feed in load_contracts() else {}
        values = {n: plain(row[n]) for n, c in shown.items() if not c.pii and row.get(n) is not None}
        items.append(describe(entry, record_no, feed) | state | {"values": values})

    seen = set()
    for row in mine:
        entry = books.by_delivery[row["_delivery"]]
        again = books.last_reading(entry)
        if again is not entry:
            # The same bytes were read again: what they came to then is told by that reading.
            reject = books.rejects(again).get(row["_row"])
            if reject and (again.delivery, row["_row"]) not in seen:
                seen.add((again.delivery, row["_row"]))
                add(again, row["_row"], row["_feed"], rejected_state(reject), {})
            continue
        add(entry, row["_row"], row["_feed"], _state(books, row, winners), row)
    for entry, no in left_out:
        reject = books.rejects(entry).get(no)
        if (entry.delivery, no) not in seen and entry.source == source and reject:
            seen.add((entry.delivery, no))
            add(entry, no, entry.feed or "", rejected_state(reject), {})
    named = {(entry.delivery, no) for entry, no in left_out}
    suspects = {*wanted, *(e.delivery for e, _ in left_out if e.source == source)}
    for delivery, numbers in [(d, set(wanted[d])) for d in sorted(suspects)]:
        entry = books.by_delivery[delivery]
        for repeat in books.repeats(entry):
            # Known by the record that it repeats, or by the order that it names in the delivered file.
            no, of = repeat["record_no"], repeat["of_record_no"]
            if (repeat["of_delivery"] == delivery and of in numbers) or (delivery, no) in named:
                add(entry, no, entry.feed or "", repeated_state(books, repeat), {})
        for twin in books.entries:
            if twin.status == "duplicate" and twin.sha256 == entry.sha256 and twin.feed == entry.feed:
                for no in sorted(numbers):
                    by = {"delivery": delivery, "file": entry.file, "record_no": no}
                    state = {"state": "duplicate", "reason": "the same file again", "by": by}
                    items.append(describe(twin, no, twin.feed or "") | state | {"values": {}})
    for delivery, numbers in wanted.items():
        places[delivery] = books.places(books.by_delivery[delivery], numbers)
    for item in items:
        item |= place(places.get(item["delivery"], {}).get(item["record_no"]))
    return sorted(items, key=lambda i: (_feed_order(i["feed"]), str(i["dt"]), i["rev"], i["record_no"]))


def _feed_order(feed: str) -> int:
    known = list(FACTS)
    return known.index(feed) if feed in known else len(known)


def describe(entry: Entry, record_no: int, feed: str) -> dict[str, Any]:
    """Which record of which file, and what the ledger says of the file."""
    return {
        "feed": feed,
        "delivered_feed": entry.feed,
        "file": entry.file,
        "delivery": entry.delivery,
        "dt": entry.dt,
        "rev": entry.rev,
        "sha256": entry.sha256,
        "record_no": record_no,
        "file_status": entry.status,
        "loaded_at": plain(entry.loaded_at),
    }


def place(found: tuple[int, int, int] | None) -> dict[str, Any]:
    """Line and byte span as keys of an answer; null where the file is no longer in landing or has no lines."""
    line, start, end = found or (None, None, None)
    return {"line": line, "byte_start": start, "byte_end": end}


def rejected_state(record: quarantine.Record) -> dict[str, Any]:
    """State of a rejected record, in words."""
    return {
        "state": "rejected",
        "reason": record.code,
        "by": None,
        "column": record.column,
        "value": record.value,
    } | words_of(record.code)


def repeated_state(books: Books, repeat: Mapping[str, Any]) -> dict[str, Any]:
    """State of a record that was left out because it came before."""
    other = books.by_delivery.get(repeat["of_delivery"])
    by = {
        "delivery": repeat["of_delivery"],
        "file": other.file if other else None,
        "record_no": repeat["of_record_no"],
    }
    what = "record" if repeat["of_record_no"] else "document"
    return {"state": "duplicate", "reason": f"the same {what} again", "by": by}


def _version(row: Mapping[str, Any], entry: Entry) -> tuple[Any, ...]:
    """Order of the versions of one thing, as the models have it: the last one stands."""
    latest_by = load_contracts()[row["_feed"]].latest_by
    stamp = row.get(latest_by) if latest_by else None
    return stamp is not None, stamp or 0, entry.dt, entry.rev, row["_row"], row["_delivery"]


def _key(row: Mapping[str, Any]) -> tuple[Any, ...]:
    contract = load_contracts()[row["_feed"]]
    return row["_feed"], *(row.get(name) for name in contract.key)


def _winners(books: Books, rows: list[dict[str, Any]]) -> dict[tuple[Any, ...], dict[str, Any]]:
    """The row in force of each key that stands, where the feed's rows replace each other."""
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    for row in rows:
        entry = books.by_delivery[row["_delivery"]]
        if entry.delivery not in books.in_force:
            continue
        best = found.get(_key(row))
        if best is None or _version(row, entry) > _version(best, books.by_delivery[best["_delivery"]]):
            found[_key(row)] = row
    return found


def _state(books: Books, row: Mapping[str, Any], winners: Mapping[tuple[Any, ...], Any]) -> dict[str, Any]:
    """In which state a row of raw ended."""
    entry = books.by_delivery[row["_delivery"]]
    newest = books.current_of(entry)
    if newest is not entry:
        by = {"delivery": newest.delivery, "file": newest.file, "record_no": None}
        return {"state": "superseded", "reason": "the file was delivered again, corrected", "by": by}
    if entry.delivery not in books.in_force:
        return {
            "state": "not_yet",
            "reason": f"known from {entry.known_from}, not for {books.as_of}",
            "by": None,
        }
    best = winners[_key(row)]
    if best["_delivery"] != row["_delivery"] or best["_row"] != row["_row"]:
        other = books.by_delivery[best["_delivery"]]
        by = {"delivery": other.delivery, "file": other.file, "record_no": best["_row"]}
        return {"state": "merged", "reason": "a later row of the same key stands", "by": by}
    fact = FACTS.get(row["_feed"])
    if books.built is not None and entry.delivery not in books.built:
        reason = f"taken in since the warehouse was built, goes to {fact or 'staging'} with the next run"
        return {"state": "next_run", "reason": reason, "by": None}
    return {
        "state": "in_fact" if fact else "staged",
        "reason": fact or "no fact table takes this feed yet",
        "by": None,
    }


# What it became


def _facts(settings: Settings, order_id: str, sources: list[str]) -> dict[str, Any]:
    """Fact rows of the order by source. The warehouse is private to runs, so it is read only where none is at work."""
    if not settings.warehouse.exists():
        return _no_facts("no warehouse has been built yet: `strata run`")
    try:
        with run_lock(settings, wait_seconds=0):
            return _read_facts(settings, order_id, sources)
    except OSError:
        # A home on a read-only disk: nobody can be building there.
        return _read_facts(settings, order_id, sources)
    except duckdb.Error as error:
        return _no_facts(f"the warehouse cannot be read ({str(error).splitlines()[0]})")
    except StrataError:
        return _no_facts("a run is at work in this home: facts are shown when it is done")


def _no_facts(why: str) -> dict[str, Any]:
    return {"from": why, "by_source": {}, "built": None}


def _read_facts(settings: Settings, order_id: str, sources: list[str]) -> dict[str, Any]:
    folders = [settings.warehouse.parent, settings.raw, settings.identity, settings.build]
    with duck.connect(folders, database=settings.warehouse, read_only=True) as con:
        run = _rows(
            con,
            "select as_of_date, rfm_window_start, reporting_currency from intermediate.int_run_policy",
            [],
        )
        built = {
            row["delivery"]
            for row in _rows(con, "select delivery from operations.ingest_ledger where is_in_force", [])
        }
        # A warehouse that an earlier version built counts nothing but the currency of the home.
        own = {"currency": run[0]["reporting_currency"], "exchange_rate": 1}
        by_source = {}
        for source in sources:
            orders = _rows(
                con, "select * from core.fct_orders where source = ? and order_id = ?", [source, order_id]
            )
            lines = _rows(
                con,
                "select line_no, product_id, kind, qty, unit_price_paid, line_amount from core.fct_order_lines "
                "where source = ? and order_id = ? order by line_no",
                [source, order_id],
            )
            returns = _rows(
                con,
                "select * from core.fct_returns where source = ? "
                "and (order_id = ? or return_id = ? or starts_with(return_id, ? || '-')) order by return_id",
                [source, order_id, order_id, order_id],
            )
            by_source[source] = {
                "order": own | orders[0] if orders else None,
                "lines": lines,
                "returns": [own | row for row in returns],
                "counts": _counts(own | orders[0], run[0]) if orders else None,
                "currency": run[0]["reporting_currency"],
            }
    return {"from": f"warehouse as of {run[0]['as_of_date']}", "by_source": by_source, "built": built}


def _rows(con: duckdb.DuckDBPyConnection, sql: str, values: list[Any]) -> list[dict[str, Any]]:
    return con.execute(sql, values).to_arrow_table().to_pylist()


def _counts(order: Mapping[str, Any], run: Mapping[str, Any]) -> dict[str, Any]:
    """Whether the order counts for its customer in the window of RFM, and if not why, first reason first."""
    start, end = run["rfm_window_start"], run["as_of_date"]
    paid = order["paid_date"]
    reasons = [
        (order["is_test"], "it is a test order"),
        (order["status"] == "cancelled", "it is cancelled"),
        (paid is None, "it is not paid"),
        (paid is not None and paid >= end, f"it is paid on {paid}, not before {end}"),
        (
            order["exchange_rate"] is None,
            f"no rate of {order['currency']} on {order['ordered_date']}, so it is set aside: deliver it as feed fx, or "
            "add a row to seeds/policy/exchange_rates.csv, and run again",
        ),
        (not order["is_paid"], f"state {order['status']} is no paid one"),
        (order["customer_key"] is None, "its buyer is a guest, or unknown"),
        (not order["is_valid"], "its customer is staff or a test account"),
        (paid is not None and paid < start, f"it is paid on {paid}, before the window begins on {start}"),
    ]
    why = next((text for holds, text in reasons if holds), None)
    note = None
    if why is None and order["is_fully_returned"]:
        note = "all of it came back: it makes no purchase day, its returns are booked on their own days"
    elif why is None and not order["makes_purchase_day"]:
        note = "it holds no merchandise: it makes no purchase day"
    return {"counts": why is None, "why_not": why, "note": note, "window": [start, end]}


# Whose it is


def _customer(books: Books, facts: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """The person of the order and their classes in the current release."""
    if not facts or not books.release:
        return None
    held = [facts["order"]] if facts["order"] else facts["returns"]
    key = next((row["customer_key"] for row in held if row["customer_key"]), None)
    if key is None:
        return None
    tables = books.settings.releases / books.release["release"] / "tables"
    classes = {}
    with duck.connect([tables]) as con:
        for scheme, (table, column, more) in _SEGMENTS.items():
            rows = _of_key(con, tables / "segments" / f"{table}.parquet", key)
            if rows:
                code = rows[0].get(column)
                classes[scheme] = {"class": code} | _label(con, tables, scheme, code)
                classes[scheme] |= {name: plain(rows[0].get(name)) for name in more}
        member = _of_key(con, tables / "audiences" / "segment_membership.parquet", key)
    return {"customer_key": key, "classes": classes, "may_be_addressed": bool(member)}


def _of_key(con: duckdb.DuckDBPyConnection, path: Path, key: str) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    return _rows(
        con,
        f"select * from read_parquet({duck.literal(str(path))}, hive_partitioning = false) where customer_key = ?",
        [key],
    )


def _label(con: duckdb.DuckDBPyConnection, tables: Path, scheme: str, code: str | None) -> dict[str, Any]:
    path = tables / "audiences" / "segment_summary.parquet"
    found = (
        _rows(
            con,
            "select class_label_zh as label_zh, class_label_en as label_en "
            f"from read_parquet({duck.literal(str(path))}, hive_partitioning = false) where scheme = ? and class = ?",
            [scheme, code],
        )
        if path.exists()
        else []
    )
    return found[0] if found else {"label_zh": code, "label_en": code}
