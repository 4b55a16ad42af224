"""Generated landing folder of one source, `bench`: three years of orders, order lines and returns.

Every value is a keyed hash (SplitMix64) of (seed, attribute, row number) in integer arithmetic, so that a
seed gives the same bytes on every machine, whatever the number of rows written at a time.

    python -m benchmarks.data --rows 1000000 --out landing
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

SOURCE = "bench"
FEEDS = ("orders", "order_lines", "returns")
# The first day of a month: our job freezes the cut points of that day, so all systems score as of the same
# day.
AS_OF = dt.date(2026, 1, 1)
DAYS = 1096
VERSION = 2

LINES_PER_ORDER = 4
CHUNK_ORDERS = 50_000
PRODUCTS = 20_000
# Equal mass per doubling of the rank is Zipf's law with exponent 1; nine doublings give the head about 280
# orders.
OCTAVES = 9
UTC_OFFSET_S = 8 * 3600
DAY_S = 86_400

MONEY = pa.decimal128(18, 4)
QUANTITY = pa.decimal128(18, 3)
INSTANT = pa.timestamp("us", tz="UTC")

ORDERS = pa.schema(
    [
        ("order_id", pa.string()),
        ("source_customer_id", pa.string()),
        ("account_id", pa.string()),
        ("channel_id", pa.string()),
        ("store_id", pa.string()),
        ("dealer_id", pa.string()),
        ("ordered_at", INSTANT),
        ("paid_at", INSTANT),
        ("status", pa.string()),
        ("currency", pa.string()),
        ("order_discount", MONEY),
        ("shipping_fee", MONEY),
        ("coupon_id", pa.string()),
        ("campaign_code", pa.string()),
        ("device", pa.string()),
        ("delivery_promise_min", pa.int64()),
        ("fulfilment_type", pa.string()),
        ("is_test", pa.bool_()),
        ("updated_at", INSTANT),
    ]
)
ORDER_LINES = pa.schema(
    [
        ("order_id", pa.string()),
        ("line_no", pa.int64()),
        ("product_id", pa.string()),
        ("qty", QUANTITY),
        ("list_price", MONEY),
        ("unit_price_paid", MONEY),
        ("line_discount", MONEY),
        ("promotion_id", pa.string()),
        ("is_gift", pa.bool_()),
    ]
)
RETURNS = pa.schema(
    [
        ("return_id", pa.string()),
        ("order_id", pa.string()),
        ("line_no", pa.int64()),
        ("source_customer_id", pa.string()),
        ("product_id", pa.string()),
        ("currency", pa.string()),
        ("qty", QUANTITY),
        ("refund_amount", MONEY),
        ("requested_at", INSTANT),
        ("refunded_at", INSTANT),
        ("reason", pa.string()),
        ("type", pa.string()),
    ]
)
SCHEMAS = {"orders": ORDERS, "order_lines": ORDER_LINES, "returns": RETURNS}
# Identifiers do not repeat enough for a dictionary to pay.
PLAIN = {"order_id", "return_id", "source_customer_id"}


@dataclass(frozen=True)
class Plan:
    """What to generate. `rows` counts order lines, duplicates included, and is met within about 1 %."""

    rows: int
    seed: int = 1
    as_of: dt.date = AS_OF

    @property
    def orders_n(self) -> int:
        return max(1, round(self.rows / LINES_PER_ORDER / 1.01))

    @property
    def customers_n(self) -> int:
        """Ids to draw from; two in three turn up, which leaves one customer per 20 lines."""
        return max(1, self.rows // 13)

    @property
    def delivered_on(self) -> dt.date:
        return self.as_of - dt.timedelta(days=1)

    @property
    def first_day(self) -> int:
        """Days since 1970-01-01, local, of the first day of history."""
        return (self.as_of - dt.date(1970, 1, 1)).days - DAYS

    def manifest(self) -> dict:
        return {**asdict(self), "as_of": self.as_of.isoformat(), "version": VERSION}


def _mix(z: np.ndarray) -> np.ndarray:
    """SplitMix64 finaliser (Steele, Lea, Flood 2014)."""
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


class _Draw:
    """Keyed draws: `draw(attribute, ids, n)` gives integers in [0, n)."""

    def __init__(self, seed: int):
        self.seed = seed

    def __call__(self, attribute: int, ids: np.ndarray, n: int) -> np.ndarray:
        with np.errstate(over="ignore"):
            key = _mix(
                np.array([self.seed * 1_000 + attribute + 1], dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
            )
            z = _mix(ids.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + key)
        return ((z >> np.uint64(1)) % np.uint64(n)).astype(np.int64)


def _zipf(draw: _Draw, attribute: int, ids: np.ndarray, n: int) -> np.ndarray:
    """Ranks in [0, n) under Zipf's law with a flat head of n/511 (uniform inside each doubling)."""
    octave = draw(attribute, ids, OCTAVES)
    inside = draw(attribute + 1, ids, 1 << 20)
    scaled = ((1 << octave) - 1 << 20) + (inside << octave)
    return (scaled * n // ((1 << OCTAVES) - 1)) >> 20


def _customers(draw: _Draw, plan: Plan, ids: np.ndarray, day: np.ndarray) -> np.ndarray:
    """Customer number of each order: a rank whose life covers the day, drawn up to six times."""
    n = plan.customers_n
    chosen = _zipf(draw, 0, ids, n)
    for attempt in range(1, 6):
        start = draw(20, chosen, DAYS + 500) - 500
        length = 30 + draw(21, chosen, 1_400)
        dormant = (day < start) | (day >= start + length)
        if not dormant.any():
            break
        chosen[dormant] = _zipf(draw, 2 * attempt, ids[dormant], n)
    # Ranks must not be adjacent in the id: neighbours in a file are not neighbours in value.
    return (chosen * 1_000_003 + 17) % n if n % 1_000_003 else chosen


def _decimal(values: np.ndarray, kind: pa.DataType, null: np.ndarray | None = None) -> pa.Array:
    """Scaled int64 → DECIMAL without a detour over objects."""
    words = np.empty((len(values), 2), dtype=np.int64)
    words[:, 0] = values
    words[:, 1] = values >> 63
    column = pa.Array.from_buffers(kind, len(values), [None, pa.py_buffer(words)])
    return _nulled(column, null)


def _nulled(column: pa.Array, null: np.ndarray | None) -> pa.Array:
    return column if null is None else pc.if_else(pa.array(~null), column, pa.scalar(None, column.type))


def _name(prefix: str, numbers: np.ndarray, width: int, null: np.ndarray | None = None) -> pa.Array:
    digits = pc.utf8_lpad(pa.array(numbers).cast(pa.string()), width=width, padding="0")
    return _nulled(pc.binary_join_element_wise(prefix, digits, ""), null)


def _choice(values: list[str | None], index: np.ndarray) -> pa.Array:
    return pa.array(values, pa.string()).take(pa.array(index))


def _instant(local_s: np.ndarray, null: np.ndarray | None = None) -> pa.Array:
    """Local seconds since 1970 → UTC instants."""
    utc = pa.array((local_s - UTC_OFFSET_S) * 1_000_000, pa.int64()).cast(INSTANT)
    return _nulled(utc, null)


def _none(n: int) -> pa.Array:
    return pa.nulls(n, pa.string())


def chunk(plan: Plan, low: int, high: int) -> dict[str, pa.Table]:
    """The rows of orders low … high−1 in the three feeds."""
    return rows_of(plan, np.arange(low, high, dtype=np.int64))


def rows_of(
    plan: Plan, ids: np.ndarray, until: int = DAYS, day: np.ndarray | None = None
) -> dict[str, pa.Table]:
    """The rows of these orders in the three feeds.

    Args:
        until: number of the first day on which nothing happens any more; day 0 is the first of history.
        day: on which each order was placed; by its number where None.

    Planted beside the clean rows: cancelled
    orders 2 %, unpaid 0.5 %, test orders 0.1 %, guests 5 %, an older state of the order 0.5 %; lines
    delivered twice 1 %, quantity 0 (rejected) 0.1 %, stock movements 0.05 %, negative prices 0.02 %; whole
    orders back 1 %, single lines back 1.2 %, one return in ten without its order."""
    draw = _Draw(plan.seed)
    n = len(ids)
    # Counted so that the last order falls on the last day at any size: sources must be fresh.
    position = (ids + 1) * DAYS - 1
    if day is None:
        day = position // plan.orders_n
    # 06:00 to 23:30 local: some instants fall on the day before in UTC, and payment stays on the day of the
    # order.
    ordered = (plan.first_day + day) * DAY_S + 21_600 + (position % plan.orders_n) * 63_000 // plan.orders_n
    paid = ordered + draw(30, ids, 900)
    last_second = (plan.first_day + until) * DAY_S - 1
    customer = _customers(draw, plan, ids, day)
    guest = draw(31, ids, 1_000) < 50
    state = draw(32, ids, 1_000)
    status = np.select([state < 20, state < 25, state < 45, state < 70], [4, 0, 1, 2], 3)
    unpaid = (status == 0) | ((status == 4) & (state < 10))
    updated = np.minimum(paid + 60 + draw(33, ids, 5 * DAY_S), last_second)
    test = draw(34, ids, 1_000) == 0

    # Lines
    lines_n = 1 + draw(40, ids, 2 * LINES_PER_ORDER - 1)
    of = np.repeat(np.arange(n), lines_n)
    line_no = np.arange(len(of)) - np.repeat(np.cumsum(lines_n) - lines_n, lines_n) + 1
    line = ids[of] * 16 + line_no
    product = _zipf(draw, 50, line, PRODUCTS)
    quantity = 1 + np.maximum(draw(52, line, 10) - 5, 0)
    list_cents = 100 + 10 * draw(53, product, 1_990) - draw(54, product, 3)
    promoted = draw(55, line, 100) < 15
    price_cents = np.where(promoted, list_cents * 8 // 10, list_cents)
    odd = draw(56, line, 10_000)
    zero, moved, adjusted = odd < 10, (odd >= 10) & (odd < 15), (odd >= 15) & (odd < 17)
    sale = ~(zero | moved | adjusted)
    gross_cents = np.where(sale, quantity * price_cents, 0)
    order_cents = np.bincount(of, weights=gross_cents, minlength=n).astype(np.int64)
    rate = np.select([draw(35, ids, 100) < 4, draw(35, ids, 100) < 10], [10, 5], 0)
    discount_cents = order_cents * rate // 100

    qty = np.where(zero, 0, np.where(moved, -quantity, quantity)) * 1_000
    price = np.where(moved, 0, np.where(adjusted, -price_cents, price_cents)) * 100
    twice = np.flatnonzero(draw(57, line, 100) == 0)
    delivered = np.concatenate([np.arange(len(of)), twice])
    lines_table = pa.table(
        [
            _name("B", ids[of] + 1, 10),
            pa.array(line_no),
            _name("P", product, 5),
            _decimal(qty, QUANTITY),
            _decimal(list_cents * 100, MONEY),
            _decimal(price, MONEY),
            _decimal(np.where(promoted, (list_cents - price_cents) * quantity, 0) * 100, MONEY),
            _choice([None, "PROMO15"], promoted.astype(np.int64)),
            pa.array(np.zeros(len(of), dtype=bool)),
        ],
        schema=ORDER_LINES,
    ).take(pa.array(delivered))

    # Orders
    channel = draw(36, ids, 4)
    orders_table = pa.table(
        [
            _name("B", ids + 1, 10),
            _name("C", customer, 8, guest),
            _none(n),
            _choice(["store", "app", "web", "marketplace"], channel),
            _choice(["S01", None], (channel > 0).astype(np.int64)),
            _none(n),
            _instant(ordered),
            _instant(paid, unpaid),
            _choice(["created", "paid", "shipped", "completed", "cancelled"], status),
            _choice(["CNY"], np.zeros(n, dtype=np.int64)),
            _decimal(discount_cents * 100, MONEY),
            _decimal(np.where(channel > 1, 60_000, 0), MONEY),
            _none(n),
            _choice([None, "CAMPAIGN"], (draw(37, ids, 10) == 0).astype(np.int64)),
            _choice(["ios", "android", None], np.minimum(draw(38, ids, 4), 2)),
            pa.nulls(n, pa.int64()),
            _choice(["in_store", "ship"], (channel > 0).astype(np.int64)),
            pa.array(test),
            _instant(updated),
        ],
        schema=ORDERS,
    )
    # The older state comes after the newer one in the file: only `updated_at` tells which of them holds.
    restated = np.flatnonzero(draw(39, ids, 1_000) < 5)
    older = orders_table.take(pa.array(restated))
    older = older.set_column(8, "status", _choice(["paid"], np.zeros(len(restated), dtype=np.int64)))
    older = older.set_column(7, "paid_at", _instant(paid[restated]))
    older = older.set_column(18, "updated_at", _instant(paid[restated] + 30))

    # Returns: on a later day than the sale, whole or in part, at the price paid less the order's discount
    whole = draw(60, ids, 100) == 0
    single = draw(61, line, 1_000) < 12
    back_day = day[of] + 1 + draw(62, ids[of], 30)
    valid = (status[of] > 0) & (status[of] < 4) & ~test[of]
    back = np.flatnonzero((whole[of] | single) & sale & valid & (back_day < until))
    pieces = np.where(whole[of] | (draw(63, line, 5) > 0), quantity, 1)[back]
    refund_cents = pieces * price_cents[back] * (100 - rate[of][back]) // 100
    loose = ~whole[of][back] & (draw(64, line[back], 10) == 0)
    exchanged = loose & (draw(65, line[back], 2) == 0)
    when = (plan.first_day + back_day[back]) * DAY_S + 36_000 + draw(66, line[back], 28_800)
    m = len(back)
    returns_table = pa.table(
        [
            _name("R", line[back], 11),
            _name("B", ids[of][back] + 1, 10, loose),
            _nulled(pa.array(line_no[back]), loose),
            _name("C", customer[of][back], 8, guest[of][back]),
            _name("P", product[back], 5),
            _choice(["CNY"], np.zeros(m, dtype=np.int64)),
            _decimal(pieces * 1_000, QUANTITY),
            _decimal(np.where(exchanged, 0, refund_cents) * 100, MONEY),
            _instant(when),
            _instant(when + 600),
            _choice(["quality", "size", "other", None], draw(67, line[back], 4)),
            _choice(["refund", "exchange"], exchanged.astype(np.int64)),
        ],
        schema=RETURNS,
    )
    return {
        "orders": pa.concat_tables([orders_table, older]),
        "order_lines": lines_table,
        "returns": returns_table,
    }


def chunks(plan: Plan) -> Iterator[dict[str, pa.Table]]:
    """The whole plan, `CHUNK_ORDERS` orders at a time (about 200,000 lines, 200 MB of working memory)."""
    for low in range(0, plan.orders_n, CHUNK_ORDERS):
        yield chunk(plan, low, min(low + CHUNK_ORDERS, plan.orders_n))


def increment(plan: Plan) -> dict[str, pa.Table]:
    """What the day after the history delivers: about 1/1000 of it. Of its orders six in ten are of the day, one is late by
    up to two years with its returns, one is an old order with another buyer and another quantity of its first line, one
    an old order that is cancelled, and one an old order whose first line comes back."""
    draw = _Draw(plan.seed)
    tenth = max(2, plan.orders_n // 10_000)
    numbers = np.arange(tenth, dtype=np.int64)
    next_day = np.full(6 * tenth, DAYS, dtype=np.int64)
    fresh = rows_of(plan, plan.orders_n + np.arange(6 * tenth, dtype=np.int64), DAYS + 1, next_day)
    late_ids = plan.orders_n * 2 + numbers
    late = rows_of(plan, late_ids, DAYS + 1, DAYS - 1 - draw(80, late_ids, 730))
    # Far apart, and none of them twice.
    old_ids = (numbers * 3 + 1) * (plan.orders_n // (3 * tenth + 1))
    spans = plan.orders_n // (3 * tenth + 1)
    old = [rows_of(plan, old_ids + n * spans + draw(81 + n, numbers, spans)) for n in range(3)]
    when = pc.add(
        pa.array((plan.first_day + DAYS) * DAY_S + 30_000 + numbers % 36_000).cast(pa.int64()), -UTC_OFFSET_S
    )
    updated = pc.multiply(when, 1_000_000).cast(INSTANT)

    def latest(table: pa.Table) -> pa.Table:
        """One row an order, told anew on the day."""
        first = pc.index_in(table["order_id"].unique(), table["order_id"])
        return table.take(first).set_column(18, "updated_at", updated)

    moved = latest(old[0]["orders"])
    moved = moved.set_column(
        1, "source_customer_id", pa.chunked_array([moved["source_customer_id"].combine_chunks()[::-1]])
    )
    cancelled = latest(old[1]["orders"])
    cancelled = cancelled.set_column(8, "status", _choice(["cancelled"], np.zeros(tenth, dtype=np.int64)))
    lines = old[0]["order_lines"]
    corrected = lines.take(pc.index_in(lines["order_id"].unique(), lines["order_id"]))
    corrected = corrected.set_column(3, "qty", _decimal(np.full(tenth, 7_000), QUANTITY))
    sold = old[2]["order_lines"]
    sold = sold.take(pc.index_in(sold["order_id"].unique(), sold["order_id"]))
    buyers = latest(old[2]["orders"])["source_customer_id"]
    back = pa.table(
        [
            _name("RX", numbers, 10),
            sold["order_id"],
            sold["line_no"],
            buyers,
            sold["product_id"],
            _choice(["CNY"], np.zeros(tenth, dtype=np.int64)),
            _decimal(np.full(tenth, 1_000), QUANTITY),
            _decimal(np.full(tenth, 10_000), MONEY),
            updated,
            updated,
            _choice(["quality"], np.zeros(tenth, dtype=np.int64)),
            _choice(["refund"], np.zeros(tenth, dtype=np.int64)),
        ],
        schema=RETURNS,
    )
    return {
        "orders": pa.concat_tables([fresh["orders"], late["orders"], moved, cancelled]),
        "order_lines": pa.concat_tables([fresh["order_lines"], late["order_lines"], corrected]),
        "returns": pa.concat_tables([fresh["returns"], late["returns"], back]),
    }


def write_increment(plan: Plan, landing: Path) -> dict[str, int]:
    """Add landing/bench/<feed>/<day after>.parquet to a written history; rows per feed."""
    tables = increment(plan)
    for feed, table in tables.items():
        pq.write_table(
            table, landing / SOURCE / feed / f"{plan.as_of}.parquet", store_decimal_as_integer=True
        )
    return {feed: table.num_rows for feed, table in tables.items()}


def write(plan: Plan, landing: Path, progress=lambda done, total: None) -> dict[str, int]:
    """Write landing/bench/<feed>/<day>.parquet and return the rows per feed. A folder that already holds this
    very plan is kept. Other contents of landing/bench are replaced."""
    root = landing / SOURCE
    note = landing.with_name(landing.name + ".json")
    if note.exists() and (kept := json.loads(note.read_text()))["plan"] == plan.manifest():
        return kept["rows"]
    note.unlink(missing_ok=True)
    shutil.rmtree(root, ignore_errors=True)
    writers, rows = {}, dict.fromkeys(FEEDS, 0)
    try:
        for feed, schema in SCHEMAS.items():
            (root / feed).mkdir(parents=True)
            writers[feed] = pq.ParquetWriter(
                root / feed / f"{plan.delivered_on}.parquet",
                schema,
                use_dictionary=[c for c in schema.names if c not in PLAIN],
                store_decimal_as_integer=True,
            )
        for done, tables in enumerate(chunks(plan), 1):
            for feed, table in tables.items():
                writers[feed].write_table(table, row_group_size=1 << 18)
                rows[feed] += table.num_rows
            progress(min(done * CHUNK_ORDERS, plan.orders_n), plan.orders_n)
    finally:
        for writer in writers.values():
            writer.close()
    note.write_text(json.dumps({"plan": plan.manifest(), "rows": rows}))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, required=True, help="order lines")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, required=True, help="landing folder")
    args = parser.parse_args()
    print(json.dumps(write(Plan(args.rows, args.seed), args.out)))


if __name__ == "__main__":
    main()
