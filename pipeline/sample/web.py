"""Visits to the app and mini-program, what people did in them, and what advertising cost."""

from __future__ import annotations

import numpy as np

from . import labels
from .company import CAMPAIGNS, DAY, ENTRIES, MINI, Calendar, Products
from .draws import EXPONENTIAL, Draws, choose, read_table
from .files import Column, Table
from .masters import text_column
from .people import People
from .trade import Orders, is_app

LOGGED_IN = 0.8
ANONYMOUS_PER_PERSON_DAY, BOTS_PER_PERSON_DAY = 0.02, 0.006
BROWSE, ORDER, ANONYMOUS, BOT = range(4)
# Events in the order in which they happen: type, chance by kind of visit (BROWSE, ORDER, ANONYMOUS, BOT).
EVENTS = (
    ("page_view", (1.0, 1.0, 1.0, 1.0)),
    ("search", (0.45, 0.55, 0.3, 0.0)),
    ("product_view", (0.8, 0.95, 0.5, 0.9)),
    ("product_view", (0.4, 0.6, 0.2, 0.8)),
    ("like", (0.02, 0.01, 0.0, 0.0)),
    ("share", (0.01, 0.01, 0.0, 0.0)),
    ("add_cart", (0.22, 1.0, 0.04, 0.0)),
    ("add_cart", (0.05, 0.5, 0.0, 0.0)),
    ("checkout_step", (0.06, 1.0, 0.005, 0.0)),
    ("checkout_step", (0.02, 1.0, 0.0, 0.0)),
)


def make_sessions(
    people: People, orders: Orders, visits: dict, cal: Calendar, draws: Draws
) -> dict[str, np.ndarray]:
    """Sessions of browsing members, orders, strangers and bots, sorted by (day, start)."""
    bought = np.flatnonzero(is_app(orders.channel))
    n = people.n
    strangers = _daily(cal, draws, "session.strangers", n * ANONYMOUS_PER_PERSON_DAY)
    bots = _daily(cal, draws, "session.bots", n * BOTS_PER_PERSON_DAY)
    browse = visits["browse_day"]
    sizes = [len(browse), len(bought), len(strangers), len(bots)]
    kind = np.repeat(np.arange(4), sizes)
    m = len(kind)
    person = np.concatenate(
        [visits["browse_person"], orders.person[bought], np.full(sizes[2] + sizes[3], -1)]
    )
    order = np.concatenate([np.full(sizes[0], -1), bought, np.full(sizes[2] + sizes[3], -1)])
    day = np.concatenate([browse, orders.day[bought], strangers, bots])
    u = draws.unit("session", 5 * m).reshape(5, m)
    # Two sums of uniforms: visits thin out early and late in the day.
    start = cal.seconds(day) + ((u[0] + u[1]) / 2 * (DAY - 7200) + 3600).astype(np.int64)
    length = 5 + (read_table(EXPONENTIAL, u[2]) * np.array([240, 600, 90, 20])[kind]).astype(np.int64)
    ordered = np.where(order >= 0, orders.ordered_at[order], start)
    start = np.where(kind == ORDER, np.maximum(ordered - 60 - length, cal.seconds(day)), start)
    # A visit that would run past midnight is cut: its row belongs to this day's delivery.
    end = np.minimum(np.where(kind == ORDER, ordered + 40, start + length), cal.seconds(day) + DAY - 1)
    entry = choose(u[3], [e.weight for e in ENTRIES])
    entry = np.where(kind == ORDER, orders.entry[order], np.where(kind == BOT, 0, entry))
    mini = np.where(kind == ORDER, orders.channel[order] == MINI, u[4] < 0.45)
    named = (kind <= ORDER) & (draws.unit("session.login", m) < np.where(kind == ORDER, 1.0, LOGGED_IN))
    customer = np.where(person >= 0, people.account_id[0][person], None)
    customer = np.where(named, customer, None)
    customer = np.where(kind == ORDER, orders.customer[order], customer)
    sort = np.lexsort((person, start, day))
    keys = {
        "kind": kind,
        "person": person,
        "order": order,
        "day": day,
        "start": start,
        "end": end,
        "entry": entry,
        "mini": mini,
        "customer": customer,
        "ordered": ordered,
    }
    out = {k: v[sort] for k, v in keys.items()}
    out["id"] = _numbered("W", out["day"], cal)
    tail = draws.words("session.visitor", m)
    # A member keeps one device; strangers and bots come and go.
    out["visitor"] = np.array(
        [
            f"v{p:07d}" if p >= 0 else f"x{int(w) >> 24:010x}"
            for p, w in zip(out["person"].tolist(), tail.tolist(), strict=True)
        ],
        dtype=object,
    )
    return out


def _daily(cal: Calendar, draws: Draws, stream: str, mean: float) -> np.ndarray:
    counts = [draws.count(stream, mean * cal.factor[d, 1], d) for d in range(cal.days)]
    return np.repeat(np.arange(cal.days), counts)


def _numbered(prefix: str, day: np.ndarray, cal: Calendar) -> np.ndarray:
    """prefix + date + running number within the day, for rows sorted by day."""
    first = np.searchsorted(day, np.arange(cal.days))
    number = np.arange(len(day)) - first[day] + 1
    stamp = [d.strftime("%Y%m%d") for d in cal.dates]
    return np.array(
        [f"{prefix}{stamp[d]}{k:06d}" for d, k in zip(day.tolist(), number.tolist(), strict=True)],
        dtype=object,
    )


def session_table(s: dict[str, np.ndarray], people: People, draws: Draws) -> Table:
    n = len(s["day"])
    region = np.array([c[3] for c in labels.CITIES] + [None], dtype=object)
    pages = 1 + (s["end"] - s["start"]) // 45
    names = np.array(labels.LANDING_PAGES, dtype=object)
    entries = [
        np.array([getattr(e, k) for e in ENTRIES], dtype=object)[s["entry"]]
        for k in ("source", "medium", "campaign")
    ]
    os = s["person"] % 2
    return Table(
        "app",
        "web_sessions",
        "jsonl",
        [
            Column("session_id", "s", s["id"]),
            Column("visitor_id", "s", s["visitor"]),
            Column("source_customer_id", "s", s["customer"]),
            Column("started_at", "ts", s["start"]),
            Column("ended_at", "ts", s["end"]),
            Column("pageviews", "i", np.minimum(pages, 60)),
            Column("landing_page", "s", names[draws.below("session.landing", n, len(names))]),
            Column("source", "s", entries[0]),
            Column("medium", "s", entries[1]),
            Column("campaign_code", "s", entries[2]),
            Column("device", "s", np.array(("android", "ios"), dtype=object)[os]),
            Column("region", "s", region[np.where(s["person"] >= 0, people.city[s["person"]], -1)]),
            Column("is_bot", "b", (s["kind"] == BOT).astype(np.int64)),
            Column(
                "platform",
                "s",
                np.where(s["mini"], "mini_program", np.where(os == 1, "ios_app", "android_app")).astype(
                    object
                ),
            ),
        ],
        s["day"],
    )


def touchpoint_table(
    s: dict[str, np.ndarray], orders: Orders, lines, products: Products, draws: Draws, cal
) -> Table:
    """The steps of each session in their order; those of an order end before it is placed."""
    n = len(s["day"])
    session, step = [], []
    for k, (name, chance) in enumerate(EVENTS):
        hit = np.flatnonzero(draws.unit(f"event.{k}.{name}", n) < np.array(chance)[s["kind"]])
        session.append(hit)
        step.append(np.full(len(hit), k))
    session, step = np.concatenate(session), np.concatenate(step)
    limit = np.where(s["kind"] == ORDER, s["ordered"], s["end"])
    span = np.maximum(limit - s["start"], 0)[session]
    at = s["start"][session] + span * step // len(EVENTS)
    sort = np.lexsort((step, session, at, s["day"][session]))
    session, step, at = session[sort], step[sort], at[sort]
    m, day = len(session), s["day"][session]
    types = np.array([e[0] for e in EVENTS], dtype=object)
    kind = types[step]
    # What is looked at before an order is bought in it; other visits look at what is popular.
    popular = choose(draws.unit("event.product", m), products.weight)
    order = s["order"][session]
    bought = lines.product[np.where(order >= 0, orders.first_line[order], 0)]
    product = products.ids[np.where(order >= 0, bought, popular)]
    shows = np.isin(
        step, [k for k, e in enumerate(EVENTS) if e[0] in ("product_view", "add_cart", "like", "share")]
    )
    words = np.array(labels.SEARCH_WORDS, dtype=object)[
        draws.below("event.word", m, len(labels.SEARCH_WORDS))
    ]
    checkout = np.array(('{"step": "address"}', '{"step": "pay"}'), dtype=object)[
        (step == len(EVENTS) - 1) * 1
    ]
    return Table(
        "app",
        "touchpoints",
        "jsonl",
        [
            Column("event_id", "s", _numbered("E", day, cal)),
            Column("session_id", "s", s["id"][session]),
            Column("visitor_id", "s", s["visitor"][session]),
            Column("source_customer_id", "s", s["customer"][session]),
            Column("event_type", "s", kind),
            Column("object_id", "s", np.where(shows, product, None)),
            Column("search_term", "s", np.where(kind == "search", words, None)),
            Column(
                "channel_id",
                "s",
                np.array([e.channel_id for e in ENTRIES], dtype=object)[s["entry"][session]],
            ),
            Column("occurred_at", "ts", at),
            Column("value", "j", np.where(kind == "checkout_step", checkout, None)),
        ],
        day,
    )


def ad_spend_table(people: People, cal: Calendar, draws: Draws) -> Table:
    """One row per keyword and day; SOC-FESTIVAL runs only around sales events and on weekends."""
    rows = []
    for k, (code, channel, keywords, clicks, cost) in enumerate(CAMPAIGNS):
        for j, keyword in enumerate(keywords):
            u = draws.unit(f"ads.{code}.{keyword}", 3 * cal.days).reshape(3, -1)
            for d in range(cal.days):
                if code == "SOC-FESTIVAL" and not cal.festival[d] and cal.weekday[d] < 5:
                    continue
                size = clicks / (j + 1) * people.n / 1500 * cal.factor[d, 1] * (0.7 + 0.6 * u[0, d])
                n = int(size) + 1
                fen = n * cost * (85 + int(u[1, d] * 30)) // 100
                rows.append((d, k, j, channel, code, keyword, n * (25 + int(u[2, d] * 40)), n, fen))
    day, k, j, channel, code, keyword, shown, clicked, fen = (list(x) for x in zip(*rows, strict=True))
    dates = np.array(day, dtype=np.int64) + int(cal.epoch_day[0])
    return Table(
        "ads",
        "ad_spend",
        "csv",
        [
            text_column("channel_id", channel),
            text_column("campaign_code", code),
            text_column("keyword", keyword),
            Column("date", "d", dates),
            Column("impressions", "i", np.array(shown)),
            Column("clicks", "i", np.array(clicked)),
            Column("spend", "m", np.array(fen)),
            text_column("currency", ["CNY"] * len(day)),
        ],
        np.array(day),
    ).sorted(np.array(j), np.array(k))
