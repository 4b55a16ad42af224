"""An independent reader and judge of delivered files: contracts from their YAML, no code of the generator."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal, InvalidOperation
from functools import cache, cached_property
from pathlib import Path

import pyarrow.parquet as pq
import yaml
from python_calamine import CalamineWorkbook

import pipeline

# 150 days end on 2026-06-30: they hold 春节 (17 February) and 618.
CUSTOMERS, DAYS, SEED = 500, 150, 11
CONTRACTS = Path(pipeline.__file__).parent / "ingest" / "contracts"
SHANGHAI = timezone(timedelta(hours=8))
FIRST_INSTANT = datetime(2000, 1, 1, tzinfo=SHANGHAI)


@cache
def contracts() -> dict[str, dict]:
    loaded = (yaml.safe_load(p.read_text(encoding="utf-8")) for p in sorted(CONTRACTS.rglob("*.yml")))
    return {c["feed"]: c for c in loaded}


@dataclass
class Delivery:
    """One file: `rows` by contract column, None where a row has the wrong number of fields."""

    path: str
    source: str
    feed: str
    day: date
    headers: list[str]
    rows: list[dict | None] = field(default_factory=list)
    raw: list[tuple] = field(default_factory=list)

    @cached_property
    def verdicts(self) -> list[str | None]:
        """Per record: why it cannot be loaded, `duplicate`, or None."""
        seen: set[tuple] = set()
        out: list[str | None] = []
        for row, raw in zip(self.rows, self.raw, strict=True):
            reason = judge(self.feed, row, self.day)
            if reason is None and raw in seen:
                reason = "duplicate"
            seen.add(raw)
            out.append(reason)
        return out

    def accepted(self) -> list[dict]:
        return [r for r, v in zip(self.rows, self.verdicts, strict=True) if v is None]


def column_names(feed: str) -> dict[str, str]:
    """Header as delivered → contract column."""
    columns = contracts()[feed]["columns"]
    return {h: name for name, spec in columns.items() for h in (name, *spec.get("aliases", ()))}


def read_deliveries(root: Path) -> list[Delivery]:
    files = [p for p in sorted(root.rglob("*.*")) if not p.relative_to(root).parts[0].startswith("_")]
    return [read_delivery(root, p) for p in files]


def read_delivery(root: Path, path: Path) -> Delivery:
    source, feed, name = path.relative_to(root).parts
    headers, raw = READERS[path.suffix](path)
    names = column_names(feed)
    known = [names.get(h, h) for h in headers]
    rows = [dict(zip(known, r, strict=True)) if len(r) == len(known) else None for r in raw]
    return Delivery(
        f"{source}/{feed}/{name}", source, feed, date.fromisoformat(name[:10]), headers, rows, raw
    )


def _read_csv(path: Path) -> tuple[list[str], list[tuple]]:
    content = path.read_bytes()
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("gb18030")
    lines = list(csv.reader(io.StringIO(text, newline="")))
    return lines[0], [tuple(x or None for x in line) for line in lines[1:]]


def _read_jsonl(path: Path) -> tuple[list[str], list[tuple]]:
    lines = path.read_text(encoding="utf-8").splitlines()
    records = [json.loads(line, parse_float=Decimal) for line in lines]
    freeze = {id(r): tuple(json.dumps(v) if isinstance(v, dict) else v for v in r.values()) for r in records}
    return list(records[0]), [freeze[id(r)] for r in records]


def _read_xlsx(path: Path) -> tuple[list[str], list[tuple]]:
    book = CalamineWorkbook.from_path(path)
    head, *rows = book.get_sheet_by_index(0).to_python()
    return head, [tuple(None if x == "" else x for x in r) for r in rows]


def _read_parquet(path: Path) -> tuple[list[str], list[tuple]]:
    table = pq.read_table(path)
    return table.column_names, [tuple(r.values()) for r in table.to_pylist()]


READERS = {".csv": _read_csv, ".jsonl": _read_jsonl, ".xlsx": _read_xlsx, ".parquet": _read_parquet}


def judge(feed: str, row: dict | None, day: date) -> str | None:
    """Reason why a record breaks its contract, or None."""
    if row is None:
        return "field_count"
    end = datetime.combine(day + timedelta(days=1), datetime.min.time(), SHANGHAI)
    contract = contracts()[feed]
    typed: dict[str, object] = {}
    for name, spec in contract["columns"].items():
        value = row.get(name)
        if value is None:
            if spec.get("required"):
                return f"missing:{name}"
            continue
        try:
            typed[name] = value = convert(spec["type"], value)
        except (ValueError, InvalidOperation, TypeError):
            return f"type:{name}"
        if "values" in spec and value not in spec["values"]:
            return f"values:{name}"
        if "min" in spec and value < spec["min"] or "max" in spec and value > spec["max"]:
            return f"range:{name}"
        if spec["type"] == "ts" and not FIRST_INSTANT <= value < end:
            return f"time:{name}"
    if feed == "order_lines" and typed["qty"] < 0 and typed["unit_price_paid"] != 0:
        return "negative_quantity"
    if feed == "order_lines" and typed["qty"] == 0:
        return "zero_quantity"
    return None


def convert(kind: str, value: object) -> object:
    """Typed value of a contract type; times without offset are Shanghai's."""
    match kind:
        case "s" | "j":
            return str(value)
        case "i":
            number = Decimal(str(value))
            if number != int(number):
                raise ValueError(value)
            return int(number)
        case "m" | "q" | "r":
            if isinstance(value, bool):
                raise ValueError(value)
            return Decimal(str(value))
        case "b":
            return {"true": True, "false": False}[str(value).lower()]
        case "d":
            return value if isinstance(value, date) else date.fromisoformat(str(value))
        case "ts":
            moment = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
            return moment if moment.tzinfo else moment.replace(tzinfo=SHANGHAI)
    raise ValueError(kind)
