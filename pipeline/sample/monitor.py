"""The app's own daily self-test: one test order with all its traces, every day.

It gives every app feed at least one record a day (an empty JSONL file would be a broken delivery), and it is
marked everywhere, so that none of it may reach a figure.
"""

from __future__ import annotations

import numpy as np

from .company import Calendar, Products
from .files import NULL, Table

ACCOUNT = "A9999999"
PERSON = "PERMONITOR"


def add_monitor(table: Table, cal: Calendar, products: Products) -> Table:
    """The table of an app feed with one more row per day, at 03:00."""
    if table.source != "app":
        return table
    n = cal.days
    stamps = [d.strftime("%Y%m%d") for d in cal.dates]
    at = cal.seconds(np.arange(n)) + 3 * 3600
    ids = {"order_id": "AM", "return_id": "RM", "session_id": "WM", "event_id": "EM", "consent_id": "CNM"}
    first_price = products.list_price[0, np.arange(n)]
    values: dict[str, object] = {
        "source_customer_id": ACCOUNT,
        "visitor_id": "monitor",
        "name": "系统巡检",
        "email": "monitor@example.com",
        "registered_at": at[0] - 86400 * 365,
        "is_test": 1,
        "is_employee": 0,
        "language": "zh",
        "channel_id": "CH-APP",
        "ordered_at": at,
        "paid_at": at + 5,
        "status": "completed",
        "currency": "CNY",
        "order_discount": 0,
        "shipping_fee": 0,
        "device": "monitor",
        "fulfilment_type": "pickup",
        "updated_at": at + 60,
        "line_no": 1,
        "product_id": products.ids[0],
        "qty": 1000,
        "list_price": first_price,
        "unit_price_paid": first_price,
        "line_discount": 0,
        "is_gift": 0,
        "refund_amount": 0,
        "requested_at": at + 120,
        "reason": "巡检",
        "type": "exchange",
        "started_at": at - 30,
        "ended_at": at + 90,
        "pageviews": 1,
        "landing_page": "/",
        "source": "direct",
        "medium": "none",
        "is_bot": 1,
        "platform": "monitor",
        "event_type": "page_view",
        "occurred_at": at - 20,
        "purpose": "service",
        "channel": "all",
        "action": "grant",
        "at": at,
        "legal_basis": "contract",
        "text_version": "2026-01",
        "proof": "monitor",
    }
    if table.feed == "touchpoints":
        # The event belongs to a session of a bot and must not look like a person's.
        values["source_customer_id"] = None
    for column in table.columns:
        value = values.get(column.name)
        if column.name in ids:
            value = [ids[column.name] + s for s in stamps]
        elif isinstance(value, np.ndarray):
            value = value.tolist()
        else:
            value = [value] * n
        empty = None if column.values.dtype == object else NULL
        extra = np.array([empty if v is None else v for v in value], dtype=column.values.dtype)
        column.values = np.concatenate([column.values, extra])
    table.day = np.concatenate([table.day, np.arange(n)])
    return table.sorted()
