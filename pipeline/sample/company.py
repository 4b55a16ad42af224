"""The company: calendar, channels, stores, product range, prices, promotions and costs."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from typing import NamedTuple

import numpy as np

from .catalog import CATALOG, PORTIONS, SEASON
from .draws import Draws

LAST_DAY = date(2026, 6, 30)
FIRST_SUPPORTED_DAY = date(2021, 1, 1)
EPOCH = date(1970, 1, 1)
DAY = 86400

# Lunar calendar: first day of 春节, 端午, 中秋. Fixed data: a library update must not change the sample.
SPRING_FESTIVAL = ("2021-02-12", "2022-02-01", "2023-01-22", "2024-02-10", "2025-01-29", "2026-02-17")
DRAGON_BOAT = ("2021-06-14", "2022-06-03", "2023-06-22", "2024-06-10", "2025-05-31", "2026-06-19")
MID_AUTUMN = ("2021-09-21", "2022-09-10", "2023-09-29", "2024-09-17", "2025-10-06")

# Channel index is used all over the package.
STORE, APP, MINI, TM, JD, DEALER = range(6)
CHANNEL_IDS = ("CH-STORE", "CH-APP", "CH-MINI", "CH-TM", "CH-JD", "CH-DEALER")
SOURCES = ("store_pos", "app", "app", "marketplace", "marketplace", "dealer_portal")
# channel_id, name, group, mode, role, cost_per_contact in yuan
CHANNELS = (
    ("CH-STORE", "门店", "store", "offline", "experience", None),
    ("CH-APP", "自有 App", "own_web", "online", "retention", None),
    ("CH-MINI", "微信小程序", "private_domain", "online", "retention", None),
    ("CH-TM", "平台旗舰店一", "marketplace", "online", "sales_reputation", None),
    ("CH-JD", "平台旗舰店二", "marketplace", "online", "sales_reputation", None),
    ("CH-DEALER", "社区经销点", "dealer", "offline", "reach", None),
    ("CH-SEM", "搜索广告", "paid_search", "online", "reach", "0.6000"),
    ("CH-SOCIAL", "内容社区", "social", "online", "content_interaction", "0.3500"),
    ("CH-SMS", "短信", "private_domain", "online", "retention", "0.0450"),
    ("CH-EMAIL", "邮件", "mail", "online", "retention", "0.0080"),
    ("CH-ORGANIC", "自然搜索", "organic", "online", "reach", None),
    ("CH-DIRECT", "直接访问", "direct", "online", "retention", None),
    ("CH-REFER", "推荐", "referral", "online", "reach", "0.0000"),
)
# Store number → city index of labels.CITIES, area in m², opening day.
STORES = tuple(
    (f"S{k + 1:02d}", city, area, opened)
    for k, (city, area, opened) in enumerate(
        (
            (0, 3200, "2012-05-18"),
            (0, 2400, "2015-09-26"),
            (0, 1800, "2019-12-20"),
            (1, 3600, "2013-10-01"),
            (1, 2100, "2018-04-28"),
            (2, 2600, "2014-06-16"),
            (3, 2300, "2016-11-11"),
            (4, 1900, "2017-05-20"),
            (5, 3100, "2015-01-18"),
            (5, 1700, "2020-08-08"),
            (6, 2500, "2016-09-09"),
            (7, 2000, "2018-12-01"),
        )
    )
)
DEALERS = ("D01", "D02", "D03", "D04")
# code, channel, keywords, clicks per day at 1,500 customers, cost per click in fen
CAMPAIGNS = (
    ("SEM-BRAND", "CH-SEM", ("超市送货", "生鲜配送"), 30, 120),
    ("SEM-CATEGORY", "CH-SEM", ("进口牛奶", "纸尿裤", "猫粮"), 18, 260),
    ("SOC-RECIPES", "CH-SOCIAL", ("自动投放",), 60, 80),
    ("SOC-FESTIVAL", "CH-SOCIAL", ("自动投放",), 35, 95),
)


class Entry(NamedTuple):
    """How a visit to the app or mini-program began."""

    source: str
    medium: str
    channel_id: str
    campaign: str | None
    weight: float


ENTRIES = (
    Entry("direct", "none", "CH-DIRECT", None, 0.42),
    Entry("baidu", "organic", "CH-ORGANIC", None, 0.12),
    Entry("baidu", "cpc", "CH-SEM", "SEM-BRAND", 0.07),
    Entry("baidu", "cpc", "CH-SEM", "SEM-CATEGORY", 0.05),
    Entry("xiaohongshu", "social", "CH-SOCIAL", "SOC-RECIPES", 0.09),
    Entry("douyin", "social", "CH-SOCIAL", "SOC-FESTIVAL", 0.06),
    Entry("sms", "sms", "CH-SMS", "SMS-WEEKLY", 0.08),
    Entry("newsletter", "email", "CH-EMAIL", "MAIL-WEEKLY", 0.03),
    Entry("friend", "referral", "CH-REFER", None, 0.08),
)
WEEKDAY_FACTOR = ((0.86, 0.84, 0.88, 0.92, 1.08, 1.28, 1.22), (1.02, 0.97, 0.97, 1.0, 1.05, 1.0, 1.0))
MONTH_FACTOR = (1.10, 1.04, 0.94, 0.95, 0.98, 1.0, 0.97, 0.97, 1.02, 1.03, 1.05, 1.09)


@dataclass
class Calendar:
    """Business days 0 … days−1; `mean` and `channel` are factors on the rate of orders."""

    days: int
    start: date
    dates: list[date]
    epoch_day: np.ndarray  # days since 1970-01-01
    month: np.ndarray  # 0 … 11
    weekday: np.ndarray  # Monday 0
    factor: np.ndarray  # days × channels
    festival: list[str | None]  # name of the running sales event

    def seconds(self, day: np.ndarray) -> np.ndarray:
        """Local seconds since 1970 of 00:00 of each day."""
        return (day.astype(np.int64) + int(self.epoch_day[0])) * DAY


def make_calendar(days: int) -> Calendar:
    start = LAST_DAY - timedelta(days=days - 1)
    if start < FIRST_SUPPORTED_DAY:
        raise ValueError(f"days: at most {(LAST_DAY - FIRST_SUPPORTED_DAY).days + 1}, got {days}")
    dates = [start + timedelta(days=k) for k in range(days)]
    spring = [date.fromisoformat(x) for x in SPRING_FESTIVAL]
    peaks = {date.fromisoformat(x) for x in DRAGON_BOAT + MID_AUTUMN}
    factor = np.empty((days, 6))
    festival: list[str | None] = []
    for k, day in enumerate(dates):
        growth = 1 + 0.08 * k / 365
        base = MONTH_FACTOR[day.month - 1] * growth
        store, online, market = WEEKDAY_FACTOR[0][day.weekday()], WEEKDAY_FACTOR[1][day.weekday()], 1.0
        market = online
        name = None
        to_spring = min((abs((day - s).days), (day - s).days) for s in spring)[1]
        if -18 <= to_spring < 0:
            store, online, market, name = store * 1.6, online * 1.35, market * 1.2, "CNY"
        elif 0 <= to_spring <= 5:
            store, online, market = store * (0.35 + 0.1 * to_spring), online * 0.4, market * 0.3
        elif day.month == 6 and day.day <= 20:
            peak = 1.0 if day.day == 18 else 0.3
            store, online, market, name = store * 1.05, online * (1 + peak), market * (1 + 1.8 * peak), "618"
        elif day.month == 11 and day.day <= 11:
            peak = 1.0 if day.day == 11 else 0.25
            store, online, market, name = store * 1.05, online * (1 + peak), market * (1 + 2.5 * peak), "1111"
        elif day.month == 10 and day.day <= 7:
            store, name = store * 1.25, "GOLDEN"
        if any(0 < (p - day).days <= 5 for p in peaks):
            store, online = store * 1.2, online * 1.15
        factor[k] = (store * base, online * base, online * base, market * base, market * base, store * base)
        festival.append(name)
    epoch_day = np.array([(d - EPOCH).days for d in dates], dtype=np.int64)
    return Calendar(
        days,
        start,
        dates,
        epoch_day,
        np.array([d.month - 1 for d in dates]),
        np.array([d.weekday() for d in dates]),
        factor,
        festival,
    )


@dataclass
class Products:
    """Product arrays of length p; money in fen with tax; cost without tax."""

    ids: np.ndarray
    names: list[str]
    group: np.ndarray  # index into CATALOG
    brand: list[str]
    tier: np.ndarray
    portion: list[str]
    launch: np.ndarray  # day index; negative = before the first day
    retire: np.ndarray  # day index of the last selling day + 1; large = never
    substitute: np.ndarray  # product sold instead while this one is not on sale
    weight: np.ndarray
    by_weight: np.ndarray
    service: np.ndarray
    list_price: np.ndarray  # p × days
    paid_price: np.ndarray  # p × days
    promotion: np.ndarray  # p × days, index into promotions, −1 = none
    promotions: list[str]
    tax: np.ndarray  # in 1/100
    costs: list[tuple[int, int, int | None, int]]  # product, first day, last day, fen


NEVER = 10**6


def make_products(calendar: Calendar, draws: Draws) -> Products:
    rows = [
        (g, item, price, b)
        for g, group in enumerate(CATALOG)
        for item, price in group.items
        for b in range(len(group.brands))
    ]
    p, days = len(rows), calendar.days
    group = np.array([r[0] for r in rows])
    tier = np.array([r[3] for r in rows])
    units = [CATALOG[g].unit for g in group]
    portion = [PORTIONS[u][k] for u, k in zip(units, _portion_index(units, draws), strict=True)]
    brand = [CATALOG[r[0]].brands[r[3]] for r in rows]
    base = np.array([r[2] * (100 + 28 * r[3]) // 1000 * 10 for r in rows], dtype=np.int64)
    launch, retire = np.full(p, -NEVER), np.full(p, NEVER)
    moves = draws.unit("product.life", p)
    when = draws.below("product.life.day", p, max(days, 1))
    # Only the later brand of an item comes or goes, so its first brand can stand in.
    later = tier > 0
    launch = np.where(later & (moves < 0.05), when, launch)
    retire = np.where(later & (moves > 0.94), when, retire)
    substitute = np.arange(p) - tier
    rank = draws.shaped("product.popularity", p, _POPULARITY)
    weight = np.array([CATALOG[g].weight / len(CATALOG[g].items) for g in group]) * rank / (1 + 0.9 * tier)
    list_price = _list_prices(base, days, draws)
    paid, promotion, promotions = _promotions(list_price, group, calendar, draws)
    names = [f"{brand[k]} {row[1]}" for k, row in enumerate(rows)]
    return Products(
        np.array([f"P{k + 1:04d}" for k in range(p)], dtype=object),
        names,
        group,
        brand,
        tier,
        portion,
        launch,
        retire,
        substitute,
        weight,
        np.array([u == "kg" for u in units]),
        np.array([u == "job" for u in units]),
        list_price,
        paid,
        promotion,
        promotions,
        np.array([round(CATALOG[g].tax * 100) for g in group]),
        _costs(base, group, days, draws),
    )


_POPULARITY = np.array([round(0.25 + 1.9 * (k / 2047) ** 3, 6) for k in range(2048)])


def _portion_index(units: list[str], draws: Draws) -> list[int]:
    u = draws.unit("product.portion", len(units))
    return [int(x * len(PORTIONS[unit])) for x, unit in zip(u, units, strict=True)]


def _list_prices(base: np.ndarray, days: int, draws: Draws) -> np.ndarray:
    """Each product's price moves about twice a year by −4 … +7 %, always to whole 10 fen."""
    prices = np.repeat(base[:, None], days, axis=1)
    for k in range(max(1, round(days / 365 * 2))):
        when = draws.below("price.day", len(base), days, k)
        change = draws.below("price.change", len(base), 12, k) - 4
        for i in range(len(base)):
            new = (prices[i, when[i]] * (100 + change[i]) + 500) // 1000 * 10
            prices[i, when[i] :] = max(new, 100)
    return prices


def _promotions(
    list_price: np.ndarray, group: np.ndarray, calendar: Calendar, draws: Draws
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Weekly offers (Thursday to Wednesday) on 24 products, 60 in a festival; services are never on offer."""
    paid, promotion = list_price.copy(), np.full(list_price.shape, -1)
    names: list[str] = []
    cuts = np.array([10, 15, 20, 25, 30, 40])
    eligible = np.array([CATALOG[g].unit != "job" for g in group])
    for k, day in enumerate(calendar.dates):
        week = (day - timedelta(days=(day.weekday() - 3) % 7)).strftime("%GW%V")
        name = f"{day.year}-{calendar.festival[k]}" if calendar.festival[k] else week
        if name not in names:
            names.append(name)
        number = names.index(name)
        size = 60 if calendar.festival[k] else 24
        rank = np.where(eligible, draws.unit(f"promotion.{name}", len(group)), 2.0)
        chosen = np.argsort(rank, kind="stable")[:size]
        cut = cuts[draws.below(f"promotion.cut.{name}", len(group), len(cuts))[chosen]]
        # At most 20 % off fresh meat and staples: their margin is thin.
        cut = np.where(np.array([CATALOG[g].margin < 0.2 for g in group])[chosen], np.minimum(cut, 20), cut)
        paid[chosen, k] = list_price[chosen, k] * (100 - cut) // 1000 * 10
        promotion[chosen, k] = number
    return paid, promotion, [f"PR-{n}" for n in names]


def _costs(
    base: np.ndarray, group: np.ndarray, days: int, draws: Draws
) -> list[tuple[int, int, int | None, int]]:
    """Costs hold from a day to the day before the next; 3 % of the products have none."""
    p = len(base)
    has_cost = ~draws.hits("cost.missing", p, 0.03)
    changes = draws.below("cost.changes", p, 3)
    # The buyers' price list changes every second week.
    first = 14 * (1 + draws.below("cost.day", p, days // 28 + 1))
    second = first + 14 * (1 + draws.below("cost.day2", p, days // 28 + 1))
    drift = draws.below("cost.drift", 2 * p, 13).reshape(2, p) - 4
    rows: list[tuple[int, int, int | None, int]] = []
    for i in np.flatnonzero(has_cost):
        g = CATALOG[group[i]]
        cost = int(base[i] * round((1 - g.margin) * 100) // (100 + round(g.tax * 100)))
        starts = [-400, int(first[i]), int(second[i])][: changes[i] + 1]
        starts = [s for s in starts if s < days]
        for k, start in enumerate(starts):
            if k:
                cost = cost * (100 + int(drift[k - 1, i])) // 100
            rows.append((int(i), start, starts[k + 1] - 1 if k + 1 < len(starts) else None, cost))
    return rows


def season_weight(products: Products, affinity: np.ndarray, month: int) -> np.ndarray:
    """Popularity of each product for one household type (affinity per product) and month 0 … 11."""
    season = np.array(
        [SEASON[CATALOG[g].l1][month] if CATALOG[g].l1 in SEASON else 1.0 for g in products.group]
    )
    return products.weight * affinity * season
