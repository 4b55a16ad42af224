"""Who buys when and what: orders, their lines, what went wrong, and who stops coming."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from .catalog import AFFINITY, CATALOG, HOUSEHOLDS
from .company import (
    APP,
    DAY,
    DEALER,
    ENTRIES,
    JD,
    MINI,
    NEVER,
    STORE,
    STORES,
    TM,
    Calendar,
    Products,
    season_weight,
)
from .draws import EXPONENTIAL, Draws, choose, choose_rowwise, read_table
from .people import People

# Rate of a purchase by days since the last one / own gap, in tenths: quiet after shopping, then due.
RHYTHM = np.array([0.3, 0.35, 0.45, 0.6, 0.8, 1.0, 1.25, 1.5, 1.7, 1.8] + [1.8] * 8 + [1.5] * 12 + [1.2])
YEARLY_CHURN, CHURN_AFTER_BAD = 0.20, 0.08
SAME_DAY_SECOND = 0.03
# Chance that an order goes wrong, by channel, and the kind (labels.EVENTS) by channel.
BAD = np.array([0.018, 0.06, 0.06, 0.05, 0.05, 0.02])
BAD_KIND = np.array(
    [
        (0, 0, 1, 3, 0.5, 3),
        (0, 5, 2, 1.5, 1.5, 0),
        (0, 5, 2, 1.5, 1.5, 0),
        (0, 4, 3, 0.5, 1.5, 0),
        (0, 3, 3, 0.5, 1.5, 0),
        (0, 2, 1, 1, 1, 1),
    ]
)
LINES_MEAN = np.array([5.2, 3.6, 3.2, 1.3, 1.4, 1.6])
GUESTS_PER_PERSON_DAY = 0.009
GUEST_CHANNEL = (0.88, 0.05, 0.05, 0.0, 0.0, 0.02)
CARD_FORGOTTEN, APP_GUEST, DEALER_UNNAMED = 0.07, 0.02, 0.2
HOUR_WEIGHTS = np.array(
    [
        (0, 0, 0, 0, 0, 0, 0, 0, 3, 6, 7, 6, 4, 3, 3, 4, 6, 8, 9, 8, 5, 3, 0, 0),
        (1.5, 0.5, 0.2, 0.1, 0.1, 0.3, 1, 3, 4, 5, 6, 6, 5, 3, 3, 4, 5, 7, 7, 7, 7, 6, 4, 2.5),
        (2, 1, 0.3, 0.1, 0.1, 0.2, 0.5, 1, 3, 5, 6, 5, 5, 4, 4, 4, 4, 4, 5, 7, 9, 9, 7, 4),
    ]
)
HOUR_CLASS = np.array([0, 1, 1, 2, 2, 0])
SALE, STOCK_MOVEMENT, ADJUSTMENT = range(3)
# qty of a piece line 1 … 6.
PIECES = (0.66, 0.2, 0.06, 0.04, 0.02, 0.02)
FAVOURITES, FAVOURITE_SHARE, OFFER_SHARE, GIFT_SHARE = 5, 0.35, 0.12, 0.04


@dataclass
class Orders:
    """Arrays over orders, sorted by (day, second); money in fen; seconds are local since 1970."""

    day: np.ndarray
    ordered_at: np.ndarray
    person: np.ndarray  # −1 = nobody known
    channel: np.ndarray
    bad: np.ndarray  # index into labels.EVENTS
    kind: np.ndarray
    household: np.ndarray
    customer: np.ndarray  # source_customer_id or None
    order_id: np.ndarray
    store: np.ndarray
    service: np.ndarray
    entry: np.ndarray  # index into ENTRIES for app orders, −1 for others
    first_line: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    gross_e5: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))  # 1/100,000 yuan
    discount: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))


@dataclass
class Lines:
    """Arrays over lines, in the order of their orders; qty in 1/1000."""

    order: np.ndarray
    line_no: np.ndarray
    product: np.ndarray
    qty: np.ndarray
    list_price: np.ndarray
    paid: np.ndarray
    promotion: np.ndarray
    gift: np.ndarray

    def amount_e5(self) -> np.ndarray:
        return self.qty * self.paid


def simulate_visits(people: People, cal: Calendar, draws: Draws) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Day by day: purchases {day, person, channel, bad} and app browsing; day each person stopped (NEVER)."""
    n = people.n
    stopped = np.full(n, NEVER)
    cause_bad = np.zeros(n, dtype=bool)
    since = draws.unit("visit.start", n) * people.gap * 1.3
    # A new member usually comes to buy.
    since = np.where(people.joined >= 0, people.gap * 1.2, since)
    parts: dict[str, list[np.ndarray]] = {k: [] for k in ("day", "person", "channel", "bad")}
    browse: list[np.ndarray] = []
    browse_day: list[np.ndarray] = []
    has_app = people.registered[:, 0]
    for d in range(cal.days):
        u = draws.unit("visit", 3 * n, d).reshape(3, n)
        here = (people.joined <= d) & (stopped > d)
        rhythm = RHYTHM[np.minimum((since / people.gap * 10).astype(np.int64), 30)]
        favourite = np.where(people.weekday == cal.weekday[d], 1.9, 0.85)
        mood = cal.factor[d, STORE] * 0.5 + cal.factor[d, APP] * 0.5
        rate = mood * rhythm * favourite / people.gap
        who = np.flatnonzero(here & people.buys & (u[0] < rate))
        again = who[draws.hits("visit.second", len(who), SAME_DAY_SECOND, d)]
        buyers = np.concatenate([who, again])
        channel = _choose_channel(people, cal, draws, buyers, d)
        bad_u = draws.unit("visit.bad", 2 * len(buyers), d).reshape(2, -1)
        strain = 1 + 0.5 * (mood > 1.3)
        bad = np.where(bad_u[0] < BAD[channel] * strain, choose_rowwise(bad_u[1], BAD_KIND[channel]), 0)
        for key, value in zip(parts, (np.full(len(buyers), d), buyers, channel, bad), strict=True):
            parts[key].append(value)
        hurt = np.zeros(n, dtype=bool)
        hurt[buyers[bad > 0]] = True
        bought = np.zeros(n, dtype=bool)
        bought[who] = True
        leave = np.minimum(0.5, YEARLY_CHURN * people.gap / 365) + np.where(hurt, CHURN_AFTER_BAD, 0)
        gone = bought & ~people.is_test & (u[1] < leave)
        stopped[gone] = d + 1
        cause_bad |= gone & hurt
        since = np.where(bought, 1.0, since + 1)
        looks = here & (has_app <= d) & (u[2] < np.where(people.buys, 1.1 * rate, 0.03))
        browse.append(np.flatnonzero(looks))
        browse_day.append(np.full(int(looks.sum()), d))
    out = {k: np.concatenate(v) for k, v in parts.items()}
    out |= {"browse_day": np.concatenate(browse_day), "browse_person": np.concatenate(browse)}
    out["stopped_after_bad"] = cause_bad
    return out, stopped


def _choose_channel(people: People, cal: Calendar, draws: Draws, who: np.ndarray, d: int) -> np.ndarray:
    reg = people.registered[who] <= d
    usable = np.stack([~people.is_test[who], reg[:, 0], reg[:, 0], reg[:, 2], reg[:, 3], reg[:, 4]], axis=1)
    # A card holder prefers the store; somebody without a card still comes, as a guest.
    weights = people.preference[who] * usable * cal.factor[d]
    weights[:, STORE] *= np.where(reg[:, 1], 1.5, 0.35)
    return choose_rowwise(draws.unit("visit.channel", len(who), d), weights)


def make_orders(
    people: People, cal: Calendar, products: Products, draws: Draws, visits: dict[str, np.ndarray]
) -> tuple[Orders, Lines]:
    guest_day, guest_channel = _guests(people.n, cal, draws)
    extra_day, extra_kind = _bookkeeping(cal, draws)
    k, g, x = len(visits["day"]), len(guest_day), len(extra_day)
    day = np.concatenate([visits["day"], guest_day, extra_day])
    person = np.concatenate([visits["person"], np.full(g + x, -1)])
    channel = np.concatenate([visits["channel"], guest_channel, np.full(x, STORE)])
    bad = np.concatenate([visits["bad"], np.zeros(g + x, np.int64)])
    kind = np.concatenate([np.full(k + g, SALE), extra_kind])
    n = k + g + x
    hour = choose_rowwise(draws.unit("order.hour", n), HOUR_WEIGHTS[HOUR_CLASS[channel]])
    second = hour * 3600 + draws.below("order.second", n, 3600)
    store = _stores(people, person, n, draws)
    order = np.lexsort((person, second, channel, day))
    day, person, channel, bad, kind = day[order], person[order], channel[order], bad[order], kind[order]
    store, second = store[order], second[order]
    household = np.where(
        person >= 0, people.household[person], draws.choice("guest.household", n, (3, 3, 5, 4, 4))
    )
    service = (np.isin(channel, (APP, MINI)) & draws.hits("order.service", n, 0.02)) & (kind == SALE)
    entry = np.where(is_app(channel), draws.choice("order.entry", n, [e.weight for e in ENTRIES]), -1)
    orders = Orders(
        day,
        cal.seconds(day) + second,
        person,
        channel,
        bad,
        kind,
        household,
        _customers(people, day, person, channel, draws),
        _order_ids(cal, day, channel, store),
        store,
        service,
        entry,
    )
    lines = _make_lines(orders, people, cal, products, draws)
    orders.gross_e5 = np.add.reduceat(lines.amount_e5(), orders.first_line)
    orders.discount = _discounts(orders, draws)
    return orders, lines


def _guests(n: int, cal: Calendar, draws: Draws) -> tuple[np.ndarray, np.ndarray]:
    counts = [
        draws.count("guest.count", n * GUESTS_PER_PERSON_DAY * cal.factor[d, STORE], d)
        for d in range(cal.days)
    ]
    day = np.repeat(np.arange(cal.days), counts)
    return day, draws.choice("guest.channel", len(day), GUEST_CHANNEL)


def _bookkeeping(cal: Calendar, draws: Draws) -> tuple[np.ndarray, np.ndarray]:
    """Till records that are no sale: write-offs of stock and corrections, one on about every third day."""
    stock = np.flatnonzero(draws.hits("book.stock", cal.days, 0.22))
    adjust = np.flatnonzero(draws.hits("book.adjust", cal.days, 0.12))
    kinds = np.concatenate([np.full(len(stock), STOCK_MOVEMENT), np.full(len(adjust), ADJUSTMENT)])
    return np.concatenate([stock, adjust]), kinds


def _stores(people: People, person: np.ndarray, n: int, draws: Draws) -> np.ndarray:
    """A store of the person's city, for three in four visits the same one."""
    cities = np.array([s[1] for s in STORES])
    count = np.bincount(cities)
    first = np.array([int(np.flatnonzero(cities == c)[0]) for c in range(len(count))])
    city = np.where(person >= 0, people.city[person], draws.choice("guest.city", n, count.tolist()))
    home = np.where(person >= 0, person, 0)
    u = draws.unit("order.store", 2 * n).reshape(2, n)
    number = np.where(
        (u[0] < 0.75) & (person >= 0), home % count[city], (u[1] * count[city]).astype(np.int64)
    )
    return first[city] + number


def _customers(people: People, day, person, channel, draws: Draws) -> np.ndarray:
    """source_customer_id of each order, None for guests."""
    n = len(day)
    ids = np.full(n, None, dtype=object)
    known = draws.unit("order.known", n)
    account = np.array([1, 0, 0, 2, 3, 4])[channel]
    forgets = np.array([CARD_FORGOTTEN, APP_GUEST, APP_GUEST, 0, 0, DEALER_UNNAMED])[channel]
    # A test account always shows itself: it is what the tests log in with.
    forgets = np.where((person >= 0) & people.is_test[person], 0, forgets)
    named = (person >= 0) & (known >= forgets)
    named &= people.registered[person, account] <= day
    for kind, account_ids in enumerate(people.account_id):
        rows = np.flatnonzero(named & (account == kind))
        ids[rows] = account_ids[person[rows]]
    return ids


def _order_ids(cal: Calendar, day: np.ndarray, channel: np.ndarray, store: np.ndarray) -> np.ndarray:
    """Running number within day and channel; the orders are sorted by (day, channel, second)."""
    n = len(day)
    block = day * 6 + channel
    starts = np.flatnonzero(np.r_[True, block[1:] != block[:-1]]) if n else np.zeros(0, np.int64)
    number = np.arange(n) - np.repeat(starts, np.diff(np.r_[starts, n])) + 1
    stamp = [d.strftime("%Y%m%d") for d in cal.dates]
    prefix = ("", "A", "M", "TM", "JD", "DL")
    ids = [
        f"{STORES[s][0] if c == STORE else prefix[c]}{stamp[d]}{k:06d}"
        for d, c, s, k in zip(day.tolist(), channel.tolist(), store.tolist(), number.tolist(), strict=True)
    ]
    return np.array(ids, dtype=object)


def _make_lines(orders: Orders, people: People, cal: Calendar, products: Products, draws: Draws) -> Lines:
    n = len(orders.day)
    size = np.array((0.7, 0.9, 1.4, 1.1, 0.85))[orders.household]
    own = np.where(orders.person >= 0, people.basket[orders.person], size)
    mean = LINES_MEAN[orders.channel] * (0.4 * size + 0.6 * own)
    count = 1 + (read_table(EXPONENTIAL, draws.unit("basket.lines", n)) * (mean - 0.4)).astype(np.int64)
    count = np.minimum(count, 28)
    count[orders.service | (orders.kind != SALE)] = 1
    gift = (orders.kind == SALE) & (count >= 5) & draws.hits("basket.gift", n, GIFT_SHARE)
    count = count + gift
    first = np.cumsum(count) - count
    order = np.repeat(np.arange(n), count)
    m = len(order)
    line_no = np.arange(m) - first[order] + 1
    is_gift = gift[order] & (line_no == count[order])
    product = _choose_products(orders, order, products, people.n, cal, draws)
    day = orders.day[order]
    kind = orders.kind[order]
    weighed = 150 + (read_table(EXPONENTIAL, draws.unit("basket.weight", m)) * 620).astype(np.int64) // 5 * 5
    pieces = (1 + draws.choice("basket.pieces", m, PIECES)) * 1000
    qty = np.where(products.by_weight[product], np.minimum(weighed, 6000), pieces)
    qty[products.service[product] | is_gift] = 1000
    list_price, paid = products.list_price[product, day], products.paid_price[product, day].copy()
    promotion = products.promotion[product, day].copy()
    stock, adjust = kind == STOCK_MOVEMENT, kind == ADJUSTMENT
    qty[stock] = -(1 + draws.below("book.qty", m, 12)[stock]) * 1000
    qty[adjust] = 1000
    paid[stock | is_gift] = 0
    paid[adjust] = -(100 + draws.below("book.amount", m, 2000)[adjust])
    promotion[stock | adjust | is_gift] = -1
    orders.first_line = first
    return Lines(order, line_no, product, qty, list_price, paid, promotion, is_gift)


def _choose_products(
    orders: Orders, order: np.ndarray, products: Products, persons: int, cal: Calendar, draws: Draws
) -> np.ndarray:
    """By popularity, household type and month; favourites and running offers come up more often."""
    m = len(order)
    household, day = orders.household[order], orders.day[order]
    affinity = np.array(
        [[AFFINITY[CATALOG[g].l1][h] for g in products.group] for h in range(len(HOUSEHOLDS))]
    )
    u = draws.unit("basket.product", m)
    product = np.zeros(m, dtype=np.int64)
    favourites = np.zeros((persons, FAVOURITES), dtype=np.int64)
    taste = draws.unit("person.favourites", persons * FAVOURITES).reshape(persons, FAVOURITES)
    month = cal.month[day]
    for h in range(len(HOUSEHOLDS)):
        for mo in np.unique(cal.month):
            rows = np.flatnonzero((household == h) & (month == mo))
            product[rows] = choose(u[rows], season_weight(products, affinity[h], int(mo)))
        everybody = choose(taste.ravel(), season_weight(products, affinity[h], 3)).reshape(taste.shape)
        mine = np.zeros(persons, dtype=bool)
        mine[orders.person[(orders.household == h) & (orders.person >= 0)]] = True
        favourites[mine] = everybody[mine]
    person = orders.person[order]
    v = draws.unit("basket.habit", 2 * m).reshape(2, m)
    habit = (person >= 0) & (v[0] < FAVOURITE_SHARE)
    product = np.where(habit, favourites[person, (v[1] * FAVOURITES).astype(np.int64)], product)
    offers = [np.flatnonzero(products.promotion[:, d] >= 0) for d in range(cal.days)]
    starts = np.cumsum([0] + [len(o) for o in offers])
    flat = np.concatenate(offers)
    take = v[0] > 1 - OFFER_SHARE
    pick = starts[day] + (v[1] * (starts[day + 1] - starts[day])).astype(np.int64)
    # A staple on offer sells to everybody; baby food only to those who use it anyway.
    suits = affinity[household, flat[pick]] > 0.3
    product = np.where(take & suits, flat[pick], product)
    jobs = np.flatnonzero(products.service)
    service = orders.service[order]
    product[service] = jobs[(u[service] * len(jobs)).astype(np.int64)]
    off = (products.launch[product] > day) | (products.retire[product] <= day)
    return np.where(off, products.substitute[product], product)


def _discounts(orders: Orders, draws: Draws) -> np.ndarray:
    """Threshold coupons: 满99减10 and 满199减25, on the merchandise value, in fen."""
    n = len(orders.day)
    share = np.array([0.08, 0.25, 0.25, 0.35, 0.35, 0.0])[orders.channel]
    used = (orders.kind == SALE) & draws.hits("order.coupon", n, share)
    yuan = orders.gross_e5 // 100_000
    return np.where(used & (yuan >= 199), 2500, np.where(used & (yuan >= 99), 1000, 0))


def is_app(channel: np.ndarray) -> np.ndarray:
    return (channel == APP) | (channel == MINI)


def is_market(channel: np.ndarray) -> np.ndarray:
    return (channel == TM) | (channel == JD)


def is_dealer(channel: np.ndarray) -> np.ndarray:
    return channel == DEALER


def local_day(seconds: np.ndarray, cal: Calendar) -> np.ndarray:
    """Calendar index of local seconds."""
    return seconds // DAY - int(cal.epoch_day[0])
