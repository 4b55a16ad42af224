"""The life of an order as its source delivers it, and what comes back."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from . import labels
from .catalog import CATALOG
from .company import (
    CHANNEL_IDS,
    DAY,
    DEALER,
    DEALERS,
    ENTRIES,
    MINI,
    SOURCES,
    STORE,
    STORES,
    Calendar,
    Products,
)
from .draws import EXPONENTIAL, Draws, read_table
from .files import NULL, Column, Table, chinese_headers
from .people import People
from .trade import SALE, Lines, Orders, is_app, is_dealer, is_market, local_day

STATES = ("created", "paid", "shipped", "completed", "cancelled")
CREATED, PAID, SHIPPED, COMPLETED, CANCELLED = range(5)
UNPAID = np.array([0, 0.025, 0.025, 0.02, 0.02, 0.01])
CANCELLED_AFTER_PAYING = np.array([0.003, 0.01, 0.01, 0.015, 0.015, 0.005])
# Chance per line that it comes back within two weeks, by channel; × by category.
RETURNED = np.array([0.006, 0.008, 0.008, 0.03, 0.03, 0])
RETURN_FACTOR = {"生鲜": 0.6, "家居": 2.0, "母婴": 1.2, "家政服务": 0.0}
SOURCE_FORMAT = {
    "store_pos": "csv_gb18030",
    "app": "jsonl",
    "marketplace": "csv_bom",
    "dealer_portal": "xlsx",
}


@dataclass
class Lives:
    """events: n × 4 local seconds of created, paid, shipped, completed or cancelled (NULL = never)."""

    events: np.ndarray
    last_state: np.ndarray  # n: COMPLETED or CANCELLED, what the fourth event means
    promise_min: np.ndarray
    fulfilment: np.ndarray
    is_test: np.ndarray

    def state_at(self, end: int) -> np.ndarray:
        """State of each order when the clock shows `end` (local seconds)."""
        states = np.tile(np.array([CREATED, PAID, SHIPPED, 0]), (len(self.events), 1))
        states[:, 3] = self.last_state
        seen = (self.events != NULL) & (self.events < end)
        latest = np.where(seen, np.arange(4), 0).max(axis=1)
        return np.take_along_axis(states, latest[:, None], axis=1)[:, 0]

    def paid_before(self, end: int) -> np.ndarray:
        paid = self.events[:, 1]
        return np.where((paid != NULL) & (paid < end), paid, NULL)


def make_lives(orders: Orders, people: People, draws: Draws) -> Lives:
    n, t, c = len(orders.day), orders.ordered_at, orders.channel
    u = draws.unit("life", 4 * n).reshape(4, n)
    wait = read_table(EXPONENTIAL, draws.unit("life.wait", 2 * n)).reshape(2, n)
    sale = orders.kind == SALE
    unpaid = sale & (u[0] < UNPAID[c])
    refused = sale & ~unpaid & (u[0] < UNPAID[c] + CANCELLED_AFTER_PAYING[c])
    late = orders.bad == labels.EVENTS.index("late")
    scale = np.array([40, 240, 240, 600, 600, 900])[c]
    paid = np.where(c == STORE, t, t + 5 + (wait[0] * scale).astype(np.int64))
    promise = np.where(u[1] < 0.6, 60, 120)
    pickup = is_app(c) & (u[2] < 0.22) & ~orders.service
    minutes = np.where(late, promise + 40 + u[3] * 200, promise * (0.4 + 0.55 * u[3]))
    # By channel: at the till · within the promised minutes · picked up · a service on another day · parcel.
    done = np.where(is_app(c), paid + (minutes * 60).astype(np.int64), paid)
    done = np.where(pickup, paid + 3600 + (wait[1] * 5 * 3600).astype(np.int64), done)
    done = np.where(orders.service, paid + ((1 + 4 * u[3]) * DAY).astype(np.int64), done)
    shipped = np.where(is_market(c), paid + ((5 + 30 * u[1]) * 3600).astype(np.int64), NULL)
    parcel = shipped + ((20 + 60 * u[3] + 90 * late) * 3600).astype(np.int64)
    done = np.where(is_market(c), parcel, done)
    done = np.where(is_dealer(c), paid + ((6 + 60 * u[3]) * 3600).astype(np.int64), done)
    cancelled = unpaid | refused
    stop = np.where(unpaid, t + 1800, paid + 600 + (wait[1] * 3600).astype(np.int64))
    events = np.stack(
        [
            t,
            np.where(unpaid, NULL, paid),
            np.where(cancelled, NULL, shipped),
            np.where(cancelled, stop, done),
        ],
        axis=1,
    )
    fulfilment = np.where(c == STORE, 2, np.where(pickup, 1, np.where(orders.service, 3, 0)))
    promise_min = np.where(is_app(c) & (fulfilment == 0), promise, NULL)
    # Half of the test account's orders carry no mark of their own: the account does.
    tester = (orders.person >= 0) & people.is_test[orders.person]
    is_test = tester & draws.hits("life.test", n, 0.5)
    return Lives(events, np.where(cancelled, CANCELLED, COMPLETED), promise_min, fulfilment, is_test)


def deliveries(events: np.ndarray, cal: Calendar) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(row of events, delivery day, updated_at): a thing is delivered on each day it changed.

    events: n × k local seconds, ascending within a row apart from NULL.
    """
    order = np.repeat(np.arange(len(events)), events.shape[1])
    moment = events.ravel()
    keep = moment != NULL
    order, moment = order[keep], moment[keep]
    day = local_day(moment, cal)
    last_of_day = np.r_[(order[1:] != order[:-1]) | (day[1:] != day[:-1]), True]
    keep = last_of_day & (day < cal.days)
    return order[keep], day[keep], moment[keep]


def order_tables(orders: Orders, lives: Lives, cal: Calendar) -> list[Table]:
    order, day, updated = deliveries(lives.events, cal)
    source = np.array(SOURCES, dtype=object)[orders.channel[order]]
    end_of_day = cal.seconds(day) + DAY
    n = len(order)
    events = lives.events[order]
    seen = (events != NULL) & (events < end_of_day[:, None])
    latest = np.where(seen, np.arange(4), 0).max(axis=1)
    status = np.array(STATES[:4], dtype=object)[latest]
    ended = (latest == 3) & (lives.last_state[order] == CANCELLED)
    status[ended] = "cancelled"
    columns = {
        "order_id": ("s", orders.order_id[order]),
        "source_customer_id": ("s", orders.customer[order]),
        "channel_id": ("s", np.array(CHANNEL_IDS, dtype=object)[orders.channel[order]]),
        "store_id": ("s", _store_ids(orders, order)),
        "dealer_id": ("s", np.array(DEALERS, dtype=object)[orders.store[order] % len(DEALERS)]),
        "ordered_at": ("ts", orders.ordered_at[order]),
        "paid_at": ("ts", np.where(seen[:, 1], events[:, 1], NULL)),
        "status": ("s", status),
        "currency": ("s", np.full(n, "CNY", dtype=object)),
        "order_discount": ("m", orders.discount[order]),
        "shipping_fee": ("m", shipping_fee(orders)[order]),
        "coupon_id": ("s", _coupons(orders)[order]),
        "campaign_code": (
            "s",
            np.array([e.campaign for e in ENTRIES] + [None], dtype=object)[orders.entry[order]],
        ),
        "device": ("s", np.array(("android", "ios"), dtype=object)[orders.person[order] % 2]),
        "delivery_promise_min": ("i", lives.promise_min[order]),
        "fulfilment_type": (
            "s",
            np.array(("ship", "pickup", "in_store", "install"), dtype=object)[lives.fulfilment[order]],
        ),
        "is_test": ("b", lives.is_test[order].astype(np.int64)),
        "updated_at": ("ts", updated),
    }
    wanted = {
        "store_pos": [
            "order_id",
            "source_customer_id",
            "channel_id",
            "store_id",
            "ordered_at",
            "paid_at",
            "status",
            "currency",
            "order_discount",
            "fulfilment_type",
            "updated_at",
        ],
        "app": [c for c in columns if c != "dealer_id"],
        "marketplace": [
            "order_id",
            "source_customer_id",
            "channel_id",
            "ordered_at",
            "paid_at",
            "status",
            "currency",
            "order_discount",
            "shipping_fee",
            "coupon_id",
            "fulfilment_type",
            "updated_at",
        ],
        "dealer_portal": [
            "order_id",
            "source_customer_id",
            "channel_id",
            "dealer_id",
            "ordered_at",
            "paid_at",
            "status",
            "currency",
            "order_discount",
            "updated_at",
        ],
    }
    return [
        _part(
            name,
            "orders",
            source == name,
            day,
            {k: columns[k] for k in names},
            chinese=name == "store_pos",
        ).sorted(order[source == name], updated[source == name])
        for name, names in wanted.items()
    ]


def _part(
    source: str, feed: str, rows: np.ndarray, day: np.ndarray, columns: dict, *, chinese: bool
) -> Table:
    keep = np.flatnonzero(rows)
    headers = chinese_headers(feed, columns) if chinese else {}
    return Table(
        source,
        feed,
        SOURCE_FORMAT[source],
        [Column(k, kind, v[keep], headers.get(k, "")) for k, (kind, v) in columns.items()],
        day[keep],
    )


def _store_ids(orders: Orders, order: np.ndarray) -> np.ndarray:
    ids = np.array([s[0] for s in STORES], dtype=object)[orders.store[order]]
    # Parcels and dealers have no store; a mini-program order is packed in one.
    ids[orders.channel[order] > MINI] = None
    return ids


def _coupons(orders: Orders) -> np.ndarray:
    names = np.array((None, "CP-99-10", "CP-199-25"), dtype=object)
    return names[np.where(orders.discount == 2500, 2, np.where(orders.discount == 1000, 1, 0))]


def shipping_fee(orders: Orders) -> np.ndarray:
    """Fen: free from 39 yuan in the app and from 59 yuan in the marketplace shops."""
    yuan = orders.gross_e5 // 100_000
    fee = np.where(is_app(orders.channel) & (yuan < 39), 500, 0)
    return np.where(is_market(orders.channel) & (yuan < 59), 800, fee)


def line_tables(orders: Orders, lines: Lines, products: Products) -> list[Table]:
    """Lines come once, with the first delivery of their order."""
    day = orders.day[lines.order]
    source = np.array(SOURCES, dtype=object)[orders.channel[lines.order]]
    promotion = np.array([*products.promotions, None], dtype=object)[lines.promotion]
    saved = np.where(lines.gift, 0, np.maximum((lines.list_price - lines.paid) * lines.qty, 0))
    # Only offers are a discount of the line: not a write-off at price 0 nor a correction.
    saved = np.where(lines.promotion >= 0, (saved + 500) // 1000, 0)
    columns = {
        "order_id": ("s", orders.order_id[lines.order]),
        "line_no": ("i", lines.line_no),
        "product_id": ("s", products.ids[lines.product]),
        "qty": ("q", lines.qty),
        "list_price": ("m", lines.list_price),
        "unit_price_paid": ("m", lines.paid),
        "line_discount": ("m", saved),
        "promotion_id": ("s", promotion),
        "is_gift": ("b", lines.gift.astype(np.int64)),
    }
    tables = []
    for name in SOURCE_FORMAT:
        rows = source == name
        table = _part(name, "order_lines", rows, day, columns, chinese=name == "store_pos")
        tables.append(
            table.sorted(lines.line_no[rows], lines.order[rows], orders.ordered_at[lines.order][rows])
        )
    return tables


@dataclass
class Returns:
    """Arrays over returned positions; refund in fen; `named`: 2 order and line, 1 order, 0 neither."""

    return_id: np.ndarray
    line: np.ndarray
    order: np.ndarray
    qty: np.ndarray
    refund: np.ndarray
    requested_at: np.ndarray
    refunded_at: np.ndarray
    named: np.ndarray
    kind: np.ndarray  # 0 refund, 1 exchange, 2 repair
    day: np.ndarray


def make_returns(
    orders: Orders, lines: Lines, lives: Lives, products: Products, cal: Calendar, draws: Draws
) -> Returns:
    m = len(lines.order)
    o = lines.order
    factor = np.array([RETURN_FACTOR.get(CATALOG[g].l1, 1.0) for g in products.group])[lines.product]
    chance = RETURNED[orders.channel[o]] * factor * np.where(orders.bad[o] > 1, 12, 1)
    # One order in 400 is sent back whole.
    whole = draws.hits("return.whole", len(orders.day), 0.0025)[o]
    back = draws.hits("return.line", m, chance) | whole
    # The dealers' portal has no feed of returns.
    back &= (
        (orders.channel[o] != DEALER)
        & (orders.kind[o] == SALE)
        & ~lines.gift
        & (lives.last_state[o] == COMPLETED)
        & ~lives.is_test[o]
    )
    line = np.flatnonzero(back)
    o, k = o[line], len(line)
    # The wait belongs to the order, so that a whole order comes back on one day.
    wait = read_table(EXPONENTIAL, draws.unit("return.wait", 2 * len(orders.day))).reshape(2, -1)[:, o]
    done = lives.events[o, 3]
    requested = done + 1800 + (np.minimum(wait[0], 5) * 2.5 * DAY).astype(np.int64)
    at_till = orders.channel[o] == STORE
    requested = np.where(at_till, requested - requested % DAY + 9 * 3600 + requested % 36000, requested)
    requested = np.where(requested <= done, requested + DAY, requested)
    u = draws.unit("return", 3 * k).reshape(3, k)
    kind = np.where(whole[line] | (u[0] < 0.88), 0, np.where(u[0] < 0.98, 1, 2))
    refunded = np.where(at_till, requested + 120, requested + 3600 + (wait[1] * DAY).astype(np.int64))
    part = (lines.qty[line] > 1000) & ~products.by_weight[lines.product[line]] & ~whole[line] & (u[1] < 0.5)
    qty = np.where(part, 1000, lines.qty[line])
    # Refund = paid value less its share of the order discount, rounded down: never above what was paid.
    net = orders.gross_e5[o] - orders.discount[o] * 1000
    value = qty * lines.paid[line]
    refund = np.where(
        kind == 0, value * (net // 1000) // np.maximum(orders.gross_e5[o] // 1000, 1) // 1000, 0
    )
    settled = np.where(kind == 0, refunded, requested)
    day = local_day(settled, cal)
    keep = np.flatnonzero(day < cal.days)
    keep = keep[np.lexsort((line[keep], settled[keep], day[keep]))]
    named = np.where(whole[line] | (u[2] < 0.62), 2, np.where(u[2] < 0.8, 1, 0))
    ids = np.array(
        [f"R{cal.dates[d].strftime('%Y%m%d')}{i:05d}" for i, d in enumerate(day[keep].tolist(), 1)],
        dtype=object,
    )
    return Returns(
        ids,
        line[keep],
        o[keep],
        qty[keep],
        refund[keep],
        requested[keep],
        np.where(kind == 0, refunded, NULL)[keep],
        named[keep],
        kind[keep],
        day[keep],
    )


def return_tables(
    returns: Returns, orders: Orders, lines: Lines, products: Products, draws: Draws
) -> list[Table]:
    n = len(returns.day)
    source = np.array(SOURCES, dtype=object)[orders.channel[returns.order]]
    reason = np.array(labels.RETURN_REASONS, dtype=object)[draws.below("return.reason", n, 7)]
    order_id, line_no = orders.order_id[returns.order], lines.line_no[returns.line]
    order_id[returns.named == 0] = None
    columns = {
        "return_id": ("s", returns.return_id),
        "order_id": ("s", order_id),
        "line_no": ("i", np.where(returns.named == 2, line_no, NULL)),
        "source_customer_id": ("s", orders.customer[returns.order]),
        "product_id": ("s", products.ids[lines.product[returns.line]]),
        "currency": ("s", np.full(n, "CNY", dtype=object)),
        "qty": ("q", returns.qty),
        "refund_amount": ("m", returns.refund),
        "requested_at": ("ts", returns.requested_at),
        "refunded_at": ("ts", returns.refunded_at),
        "reason": ("s", reason),
        "type": ("s", np.array(("refund", "exchange", "repair"), dtype=object)[returns.kind]),
    }
    return [
        _part(name, "returns", source == name, returns.day, columns, chinese=name == "store_pos")
        for name in ("store_pos", "app", "marketplace")
    ]
