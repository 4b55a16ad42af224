"""The answer of a trace as one screen of text."""

from collections.abc import Iterable, Mapping
from typing import Any

from pipeline.words import counted

_LINES_SHOWN = 8
_STATE = {
    "in_fact": "in {reason}",
    "staged": "in staging ({reason})",
    "merged": "replaced: {reason}",
    "superseded": "out of force: {reason}",
    "not_yet": "not in force: {reason}",
    "next_run": "not built yet: {reason}",
    "duplicate": "left out: {reason}",
    "rejected": "REJECTED: {reason}",
    "refused": "file REFUSED: {reason}",
    "loaded": "{reason}",
}


def told(found: Mapping[str, Any]) -> str:
    """Text of the answer of trace_order or trace_record."""
    return _record(found) if "record" in found else _order(found)


def _order(found: Mapping[str, Any]) -> str:
    release = f"release {found['release']}" if found["release"] else "nothing published yet"
    lines = [f"order {found['order_id']} · {release} · as of {found['as_of_date']}"]
    for source in found["sources"]:
        lines.append(f"source {source['source']}")
        lines += _delivered(source["delivered"], built=source["facts"] is not None)
        lines += _facts(source["facts"], found["facts_from"])
        lines += _customer(source["customer"])
    for refused in found["refused_files"]:
        lines.append(f"  also in a refused file: {refused['file']} ({refused['code']}: {refused['to_do']})")
    if found["rejects_not_looked_into"]:
        lines.append(
            f"  rejects that could not be searched, for they are no longer in landing: "
            f"{', '.join(found['rejects_not_looked_into'][:3])}"
        )
    return "\n".join(lines)


def _delivered(items: Iterable[Mapping[str, Any]], *, built: bool) -> list[str]:
    """Rows of one file and state on one line. `built`: the facts could be read, so what goes there is there."""
    groups: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for item in items:
        by = item["by"] or {}
        key = (item["feed"], item["delivery"], item["state"], item["reason"], by.get("delivery"))
        groups.setdefault(key, []).append(item)
    lines = ["  delivered"]
    for group in groups.values():
        first = group[0]
        mapped = f" (as {first['delivered_feed']})" if first["delivered_feed"] != first["feed"] else ""
        lines.append(
            f"    {first['feed']}{mapped} · {first['file']} · revision {first['rev']} · sha256 {first['sha256'][:12]}"
        )
        state = f"goes to {first['reason']}" if first["state"] == "in_fact" and not built else _became(first)
        lines.append(f"      {_where(group)} · {state}")
        if first["state"] == "rejected":
            lines.append(f"      {_why(first)}")
    return lines


def _where(group: list[Mapping[str, Any]]) -> str:
    numbers = _ranges([item["record_no"] for item in group])
    known = [item["line"] for item in group if item["line"] is not None]
    lines = f" (line{'s' if len(known) > 1 else ''} {_ranges(known)}" if known else ""
    if len(group) == 1 and known:
        lines += f", bytes {group[0]['byte_start']}–{group[0]['byte_end']}"
    return f"record{'s' if len(group) > 1 else ''} {numbers}{lines + ')' if lines else ''}"


def _ranges(numbers: list[int]) -> str:
    """1, 2, 3, 7 as 1–3, 7."""
    parts: list[list[int]] = []
    for n in sorted(set(numbers)):
        if parts and n == parts[-1][1] + 1:
            parts[-1][1] = n
        else:
            parts.append([n, n])
    return ", ".join(str(a) if a == b else f"{a}–{b}" for a, b in parts)


def _became(item: Mapping[str, Any]) -> str:
    text = _STATE[item["state"]].format(reason=item["reason"])
    by = item["by"]
    if not by:
        return text
    number = f" record {by['record_no']}" if by["record_no"] else ""
    return f"{text} → {by['delivery']}{number}"


def _why(item: Mapping[str, Any]) -> str:
    column = f" in {item['column']}" if item.get("column") else ""
    value = f" ({item['value']})" if item.get("value") else ""
    return f"{item['means'] or item['code']}{column}{value}. To do: {item['to_do'] or 'see docs/reject-codes.md'}"


def _facts(facts: Mapping[str, Any] | None, origin: str) -> list[str]:
    if facts is None:
        return [f"  facts: {origin}"]
    lines = [f"  facts ({origin})"]
    order, money = facts["order"], facts["currency"]
    if order:
        profit = "unknown" if order["profit"] is None else order["profit"]
        lines.append(
            f"    fct_orders · {order['status']} · ordered {order['ordered_date']} · paid {order['paid_date'] or '–'} · "
            f"lines {order['sale_amount']} {order['currency']} · net {_in(money, order)} · profit {profit}"
        )
        counts = facts["counts"]
        start, end = counts["window"]
        verdict = (
            f"counts for its customer in {start} … {end} (D itself is not in it)" if counts["counts"] else ""
        )
        lines.append(f"      {verdict or 'does not count: ' + counts['why_not']}")
        if counts["note"]:
            lines.append(f"      {counts['note']}")
    elif facts["lines"]:
        lines.append("    no fct_orders row: lines without their order")
    elif not facts["returns"]:
        lines.append("    none of this order")
    if facts["lines"]:
        lines.append(f"    fct_order_lines · {counted(len(facts['lines']), 'line')}")
        for line in facts["lines"][:_LINES_SHOWN]:
            lines.append(
                f"      {line['line_no']}: {line['product_id']} · {line['kind']} · {line['qty']} × "
                f"{line['unit_price_paid']} = {line['line_amount']}"
            )
        if len(facts["lines"]) > _LINES_SHOWN:
            lines.append(f"      … {len(facts['lines']) - _LINES_SHOWN} more (--json has them all)")
    for row in facts["returns"][:_LINES_SHOWN]:
        booked = (
            "counts"
            if row["is_valid"]
            else "booked for the shop only"
            if row["is_booked"]
            else "set aside"
            if row["exchange_rate"] is None
            else "not booked"
        )
        lines.append(
            f"    fct_returns · {row['return_id']} · {row['type']} · {row['return_date']} · {row['qty']} pieces · "
            f"refund {row['refund_amount']}{_foreign(money, row)} · {booked}"
        )
    if len(facts["returns"]) > _LINES_SHOWN:
        lines.append(f"      … {counted(len(facts['returns']) - _LINES_SHOWN, 'more return')}")
    return lines


def _in(money: str, order: Mapping[str, Any]) -> str:
    """Net revenue of an order, with the rate by which it came to the currency of the home."""
    if order["exchange_rate"] is None:
        return "unknown"
    rate = order["exchange_rate"]
    return (
        f"{order['net_revenue']}"
        if order["currency"] == money
        else f"{order['net_revenue']} {money} at {rate}"
    )


def _foreign(money: str, row: Mapping[str, Any]) -> str:
    """The currency of a refund where it is another than the home's, and its rate."""
    if row["currency"] == money:
        return ""
    rate = row["exchange_rate"]
    return f" {row['currency']}, " + (
        "a currency without a rate on its day" if rate is None else f"at {rate}"
    )


def _customer(customer: Mapping[str, Any] | None) -> list[str]:
    if customer is None:
        return []
    classes = " · ".join(
        f"{scheme} {c['class']} ({c['label_zh']})"
        if c["label_zh"] != c["class"]
        else f"{scheme} {c['class']}"
        for scheme, c in customer["classes"].items()
    )
    may = (
        "may be addressed"
        if customer["may_be_addressed"]
        else "may not be addressed (consent, age or internal)"
    )
    return [
        f"  customer {customer['customer_key']} · {may}",
        f"    {classes or 'in no class of the current release'}",
    ]


def _record(found: Mapping[str, Any]) -> str:
    record = found["record"]
    lines = [
        f"record {record['record_no']} of {record['file']} · revision {record['rev']} · sha256 {record['sha256'][:12]} · "
        f"file {record['file_status']} {record['loaded_at']} UTC"
    ]
    if record["line"] is not None:
        lines.append(
            f"  line {record['line']}, bytes {record['byte_start']}–{record['byte_end']} of the content"
        )
    lines.append(f"  {_became(record)}")
    if record["state"] in ("rejected", "refused"):
        lines.append(f"  {_why(record)}")
        if record.get("detail"):
            lines.append(f"  {record['detail']}")
    for step in found["history"]:
        code = f" ({step['code']})" if step.get("code") else ""
        lines.append(f"  in {step['delivery']}: {step['state']}{code}")
    for row in found["rows"]:
        key = ", ".join(f"{name} {value}" for name, value in row["key"].items())
        lines.append(f"  made a row of {row['feed']}: {key}")
    return "\n".join([*lines, *("\n" + _order(order) for order in found["orders"])])
