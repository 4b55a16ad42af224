"""What customers say: tickets and surveys. Both follow from what happened to that customer."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from . import labels
from .company import DAY, Calendar, Products
from .draws import EXPONENTIAL, NORMAL, Draws, choose, read_table
from .files import NULL, Column, Table
from .masters import text_column
from .orders import Lives, Returns, deliveries
from .people import People
from .personal import Said, add_personal
from .trade import SALE, Lines, Orders, local_day

COMPLAINS, ASKS, RETURN_TICKET = 0.40, 0.008, 0.10
RESOLVED, REOPENED, TICKET_CSAT = 0.94, 0.05, 0.40
NPS_INVITED, NPS_ANSWERED, CSAT_INVITED, CSAT_ANSWERED, CES_ANSWERED = 0.65, 0.45, 0.10, 0.26, 0.30
MEMORY_DAYS = 90
# NPS = base + spread z − first bad event − each further one; CSAT likewise on 1 … 5.
NPS_BASE, NPS_SPREAD, NPS_FIRST_BAD, NPS_MORE_BAD = 8.7, 1.25, 3.2, 1.2
CSAT_BASE, CSAT_SPREAD, CSAT_BAD = 4.5, 0.65, 2.1
QUESTIONS = {
    "NPS": (
        ("NPS", "nps", 0, 10, "您有多大可能把我们推荐给朋友？(0–10)", None),
        ("WHY", "open", None, None, "为什么？", None),
        ("MOTIVE", "motive", None, None, "您来购物主要是因为？", '["need", "interest", "social"]'),
    ),
    "CSAT": (
        ("CSAT", "csat", 1, 5, "您对这次购物满意吗？(1–5)", None),
        ("COMMENT", "open", None, None, "想说点什么？", None),
    ),
    "CES": (("CES", "ces", 1, 7, "解决问题是否轻松？(1–7)", None),),
}
TOUCHPOINT = {
    "NPS": ("relationship", "members with an order in 90 days"),
    "CSAT": ("order", "random orders"),
    "CES": ("ticket", "all resolved tickets"),
}


@dataclass
class History:
    """Sorted keys person·10^5 + day of orders and of bad events, to count within a window."""

    bought: np.ndarray
    bad: np.ndarray

    @staticmethod
    def count(keys: np.ndarray, person: np.ndarray, first: np.ndarray, last: np.ndarray) -> np.ndarray:
        """Events of each person with first ≤ day ≤ last."""
        low = np.searchsorted(keys, person * 100_000 + np.maximum(first, 0), side="left")
        return np.searchsorted(keys, person * 100_000 + last, side="right") - low


def felt_day(orders: Orders, lives: Lives, cal: Calendar) -> np.ndarray:
    """Day on which the customer met what went wrong: when the order arrived, or should have."""
    return local_day(np.where(lives.events[:, 3] == NULL, orders.ordered_at, lives.events[:, 3]), cal)


def make_history(orders: Orders, lives: Lives, cal: Calendar) -> History:
    known = (orders.person >= 0) & (orders.kind == SALE)
    day = felt_day(orders, lives, cal)
    hurt = known & (orders.bad > 0)
    return History(
        np.sort(orders.person[known] * 100_000 + orders.day[known]),
        np.sort(orders.person[hurt] * 100_000 + day[hurt]),
    )


def crm_id(people: People, person: np.ndarray, day: np.ndarray) -> np.ndarray:
    """Card number of a person who has one on that day, else None."""
    return np.where(people.registered[person, 1] <= day, people.account_id[1][person], None)


def make_tickets(
    orders: Orders, lines: Lines, lives: Lives, returns: Returns, people: People, cal: Calendar, draws: Draws
) -> dict[str, np.ndarray]:
    n = len(orders.day)
    u = draws.unit("ticket.why", 2 * n).reshape(2, n)
    named = (orders.person >= 0) & (orders.kind == SALE)
    complaint = np.flatnonzero(named & (orders.bad > 0) & (u[0] < COMPLAINS))
    asks = np.flatnonzero(named & (u[1] < ASKS))
    back = np.flatnonzero(
        (orders.person[returns.order] >= 0) & draws.hits("ticket.return", len(returns.day), RETURN_TICKET)
    )
    order = np.concatenate([complaint, asks, returns.order[back]])
    reason = np.repeat(np.arange(3), [len(complaint), len(asks), len(back)])
    k = len(order)
    v = draws.unit("ticket", 6 * k).reshape(6, k)
    base = np.where(lives.events[order, 3] == NULL, orders.ordered_at[order], lives.events[order, 3])
    base[reason == 2] = returns.requested_at[back]
    created = base + 300 + (read_table(EXPONENTIAL, v[0]) * 6 * 3600).astype(np.int64)
    question = draws.below("ticket.question", k, len(labels.QUESTIONS))
    topics = [labels.COMPLAINTS.get(e, (None, 3))[:2] for e in labels.EVENTS]
    bad = orders.bad[order]
    topic = np.where(
        reason == 0,
        np.array([t[0] for t in topics], dtype=object)[bad],
        np.array([q[0] for q in labels.QUESTIONS], dtype=object)[question],
    )
    kind = np.where(
        reason == 0, "complaint", np.array([q[1] for q in labels.QUESTIONS], dtype=object)[question]
    )
    topic, kind = np.where(reason == 2, "product_function", topic), np.where(reason == 2, "return", kind)
    priority = np.where(reason == 0, np.array([t[1] for t in topics])[bad], 4)
    assigned = created + 120 + (v[1] * 3000).astype(np.int64)
    responded = assigned + 60 + (read_table(EXPONENTIAL, v[2]) * 3600 * priority).astype(np.int64)
    resolved = responded + 600 + (read_table(EXPONENTIAL, v[3]) * 14 * 3600).astype(np.int64)
    resolved = np.where(v[4] < RESOLVED, resolved, NULL)
    reopened = np.where(
        (resolved != NULL) & (v[5] < REOPENED), resolved + DAY + (v[5] / REOPENED * DAY).astype(int), NULL
    )
    slow = (resolved - created) / 3600 > 30
    z = read_table(NORMAL, draws.unit("ticket.csat", k))
    csat = np.clip((4.1 - 1.2 * (reason == 0) - 1.0 * slow + 0.8 * z + 0.5).astype(np.int64), 1, 5)
    answered = (resolved != NULL) & draws.hits("ticket.csat.answered", k, TICKET_CSAT)
    order_sort = np.lexsort((order, created))
    columns = {
        "order": order,
        "person": orders.person[order],
        "kind": kind,
        "topic": topic,
        "priority": priority,
        "question": question,
        "reason": reason,
        "created": created,
        "assigned": assigned,
        "responded": responded,
        "resolved": resolved,
        "reopened": reopened,
        "csat": np.where(answered, csat, NULL),
        "product": lines.product[orders.first_line[order]],
    }
    out = {c: x[order_sort] for c, x in columns.items()}
    keep = local_day(out["created"], cal) < cal.days
    out = {c: x[keep] for c, x in out.items()}
    out["id"] = np.array([f"T{i:07d}" for i in range(1, len(out["order"]) + 1)], dtype=object)
    return out


def ticket_table(
    t: dict, orders: Orders, people: People, products: Products, cal: Calendar, draws: Draws, said: list[Said]
) -> Table:
    """Deliveries of the tickets; what is personal in their texts is added to `said`."""
    events = np.stack([t[c] for c in ("created", "assigned", "responded", "resolved", "reopened")], axis=1)
    row, day, updated = deliveries(events, cal)
    end = cal.seconds(day) + DAY
    shown = np.where(events[row] < end[:, None], events[row], NULL)
    picks = [int(w) for w in draws.words("ticket.text", len(t["order"]))]
    written = [_ticket_text(t, k, int(orders.bad[t["order"][k]]), people, w) for k, w in enumerate(picks)]
    written, personal = add_personal(
        "tickets", t["id"].tolist(), t["person"].tolist(), written, people, draws
    )
    said += personal
    text = np.array([*written, None], dtype=object)[:-1]
    channel = np.array(("call", "wechat", "app", "store"), dtype=object)
    about = np.isin(t["reason"], (0, 2)) & np.isin(t["topic"], ("product_function", "packaging"))
    product = np.where(about, products.ids[t["product"]], None)
    return Table(
        "crm",
        "tickets",
        "csv",
        [
            Column("ticket_id", "s", t["id"][row]),
            Column("source_customer_id", "s", crm_id(people, t["person"], local_day(t["created"], cal))[row]),
            Column("order_id", "s", orders.order_id[t["order"]][row]),
            Column("product_id", "s", product[row]),
            Column("type", "s", t["kind"][row]),
            Column("topic", "s", t["topic"][row]),
            Column("priority", "i", t["priority"][row]),
            Column("channel", "s", channel[np.array([w // 2**20 % 4 for w in picks], dtype=int)][row]),
            *[
                Column(name, "ts", shown[:, k])
                for k, name in enumerate(
                    ("created_at", "assigned_at", "first_response_at", "resolved_at", "reopened_at")
                )
            ],
            Column("csat", "i", np.where(shown[:, 3] != NULL, t["csat"][row], NULL)),
            Column("text", "s", text[row]),
            Column("updated_at", "ts", updated),
        ],
        day,
    ).sorted(row, updated)


def _ticket_text(t: dict, k: int, bad: int, people: People, word: int) -> str | None:
    if t["reason"][k] == 1:
        return labels.QUESTIONS[t["question"][k]][2]
    if bad == 0:
        return ("申请退货, 请安排。", "Please pick up the return.")[int(people.english[t["person"][k]])]
    return complaint_text(labels.EVENTS[bad], bool(people.english[t["person"][k]]), word)


def complaint_text(event: str, english: bool, word: int) -> str:
    texts = labels.COMPLAINTS[event][3 if english else 2]
    return texts[word % len(texts)]


def quarters(cal: Calendar) -> list[tuple[str, int, int]]:
    """(2026Q2, first day, last day + 1) of each quarter within the calendar."""
    names = [f"{d.year}Q{(d.month + 2) // 3}" for d in cal.dates]
    return [(q, names.index(q), cal.days - names[::-1].index(q)) for q in dict.fromkeys(names)]


def survey_table(cal: Calendar) -> Table:
    rows = [
        (first, f"{survey}-{wave}", wave, *question, *TOUCHPOINT[survey])
        for wave, first, _ in quarters(cal)
        for survey, questions in QUESTIONS.items()
        for question in questions
    ]
    day, survey, wave, question, kind, low, high, text, options, touchpoint, sampling = zip(
        *rows, strict=True
    )
    numbers = [np.array([NULL if x is None else x for x in side], dtype=np.int64) for side in (low, high)]
    return Table(
        "crm",
        "surveys",
        "csv",
        [
            text_column("survey_id", survey),
            text_column("question_id", question),
            text_column("wave", wave),
            text_column("type", kind),
            Column("scale_min", "i", numbers[0]),
            Column("scale_max", "i", numbers[1]),
            text_column("text", text),
            text_column("options", options),
            text_column("touchpoint", touchpoint),
            text_column("sampling", sampling),
        ],
        np.array(day),
        daily=False,
    )


def make_answers(
    orders: Orders,
    lives: Lives,
    tickets: dict,
    history: History,
    people: People,
    stopped: np.ndarray,
    cal: Calendar,
    draws: Draws,
) -> dict[str, np.ndarray]:
    """One row per response: survey, wave, person, invited and answered seconds, score, bad events."""
    parts = [
        _nps(w, k, a, b, history, people, stopped, cal, draws) for k, (w, a, b) in enumerate(quarters(cal))
    ]
    parts += [_csat(orders, lives, people, cal, draws), _ces(tickets, people, cal, draws)]
    out = {c: np.concatenate([p[c] for p in parts]) for c in parts[0]}
    day = local_day(out["answered"], cal)
    has_card = people.registered[out["person"], 1] <= local_day(out["invited"], cal)
    keep = np.flatnonzero((day < cal.days) & has_card & ~people.is_test[out["person"]])
    keep = keep[np.lexsort((out["person"][keep], out["answered"][keep]))]
    out = {c: x[keep] for c, x in out.items()}
    out["day"] = day[keep]
    out["id"] = np.array([f"RS{k:08d}" for k in range(1, len(keep) + 1)], dtype=object)
    return out


def _nps(
    wave, number, first, end, history: History, people: People, stopped, cal: Calendar, draws: Draws
) -> dict:
    n = people.n
    u = draws.unit("nps", 4 * n, number).reshape(4, n)
    day = first + (u[0] * (end - first)).astype(np.int64)
    every = np.arange(n)
    orders_n = History.count(history.bought, every, day - MEMORY_DAYS, day - 1)
    bad_n = History.count(history.bad, every, day - MEMORY_DAYS, day - 1)
    answers = NPS_ANSWERED * np.where(stopped <= day, 0.4, 1.0)
    who = np.flatnonzero((u[1] < NPS_INVITED) & (u[2] < answers) & (orders_n > 0))
    z = read_table(NORMAL, draws.unit("nps.score", n, number))
    score = (
        NPS_BASE
        + NPS_SPREAD * z
        + 0.05 * np.minimum(orders_n, 10)
        - NPS_FIRST_BAD * np.minimum(bad_n, 1)
        - NPS_MORE_BAD * np.maximum(bad_n - 1, 0)
    )
    score = np.clip(np.floor(score + 0.5), 0, 10).astype(np.int64)
    invited = cal.seconds(day) + 10 * 3600
    wait = 600 + (u[3] * u[3] * u[3] * 5 * DAY).astype(np.int64)
    m = len(who)
    return {
        "survey": np.full(m, "NPS", dtype=object),
        "wave": np.full(m, wave, dtype=object),
        "person": who,
        "invited": invited[who],
        "answered": (invited + wait)[who],
        "score": score[who],
        "bad": bad_n[who],
    }


def _csat(orders: Orders, lives: Lives, people: People, cal: Calendar, draws: Draws) -> dict:
    n = len(orders.day)
    u = draws.unit("csat", 3 * n).reshape(3, n)
    hurt = orders.bad > 0
    done = lives.events[:, 3]
    asked = (orders.person >= 0) & (orders.kind == SALE) & (lives.last_state == 3) & (u[0] < CSAT_INVITED)
    row = np.flatnonzero(asked & (u[1] < CSAT_ANSWERED + 0.15 * hurt))
    z = read_table(NORMAL, draws.unit("csat.score", n))
    score = np.clip(np.floor(CSAT_BASE + CSAT_SPREAD * z - CSAT_BAD * hurt + 0.5), 1, 5).astype(np.int64)
    invited = done + 1800
    answered = invited + 300 + (u[2] ** 2 * 2 * DAY).astype(np.int64)
    return {
        "survey": np.full(len(row), "CSAT", dtype=object),
        "wave": _wave_of(invited[row], cal),
        "person": orders.person[row],
        "invited": invited[row],
        "answered": answered[row],
        "score": score[row],
        "bad": hurt[row].astype(np.int64),
    }


def _ces(t: dict, people: People, cal: Calendar, draws: Draws) -> dict:
    u = draws.unit("ces", 2 * len(t["order"])).reshape(2, -1)
    row = np.flatnonzero((t["resolved"] != NULL) & (u[0] < CES_ANSWERED))
    hours = (t["resolved"] - t["created"])[row] // 3600
    complained = (t["reason"][row] == 0) * 1
    score = np.clip(6 - hours // 12 + (u[1][row] * 3).astype(np.int64) - 2 * complained, 1, 7)
    invited = t["resolved"][row] + 900
    return {
        "survey": np.full(len(row), "CES", dtype=object),
        "wave": _wave_of(invited, cal),
        "person": t["person"][row],
        "invited": invited,
        "answered": invited + 600 + (u[1][row] * DAY).astype(np.int64),
        "score": score,
        "bad": complained,
    }


def _wave_of(seconds: np.ndarray, cal: Calendar) -> np.ndarray:
    waves = quarters(cal)
    last = np.array([w[2] for w in waves])
    k = np.minimum(np.searchsorted(last, local_day(seconds, cal), side="right"), len(waves) - 1)
    return np.array([w[0] for w in waves], dtype=object)[k]


def answer_table(a: dict[str, np.ndarray], people: People, draws: Draws, said: list[Said]) -> Table:
    """The scored question of each response, and the text or option of some; `said` gets what is personal in them."""
    n = len(a["id"])
    u = draws.unit("answer", 3 * n).reshape(3, n)
    words = [int(w) for w in draws.words("answer.text", n)]
    mode = np.array(("web", "phone", "in_store"), dtype=object)[choose(u[0], (0.8, 0.1, 0.1))]
    low = np.where(a["survey"] == "NPS", a["score"] <= 6, a["score"] <= 2)
    texts = np.flatnonzero((a["survey"] != "CES") & (u[1] < np.where(low, 0.6, 0.3)))
    options = np.flatnonzero((a["survey"] == "NPS") & (u[2] < 0.7))
    row = np.concatenate([np.arange(n), texts, options])
    part = np.repeat(np.arange(3), [n, len(texts), len(options)])
    question = np.where(part == 0, a["survey"][row], np.where(part == 2, "MOTIVE", None))
    question = np.where(part == 1, np.where(a["survey"][row] == "NPS", "WHY", "COMMENT"), question)
    text = [
        _comment(bool(low[r]), int(a["bad"][r]), bool(people.english[a["person"][r]]), words[r])
        if p == 1
        else None
        for r, p in zip(row.tolist(), part.tolist(), strict=True)
    ]
    text, personal = add_personal(
        "survey_responses", a["id"][row].tolist(), a["person"][row].tolist(), text, people, draws
    )
    said += personal
    option = [
        labels.MOTIVES[words[r] // 1024 % 3] if p == 2 else None
        for r, p in zip(row.tolist(), part.tolist(), strict=True)
    ]
    return Table(
        "crm",
        "survey_responses",
        "csv",
        [
            Column("response_id", "s", a["id"][row]),
            Column("question_id", "s", question),
            Column("survey_id", "s", (a["survey"] + "-" + a["wave"])[row]),
            Column("source_customer_id", "s", people.account_id[1][a["person"][row]]),
            Column("answered_at", "ts", a["answered"][row]),
            Column("mode", "s", mode[row]),
            Column("score", "i", np.where(part == 0, a["score"][row], NULL)),
            text_column("option", option),
            text_column("text", text),
            Column("invited_at", "ts", a["invited"][row]),
        ],
        a["day"][row],
    ).sorted(part, row)


def _comment(low: bool, bad: int, english: bool, word: int) -> str:
    if low and bad:
        return complaint_text(labels.EVENTS[1 + word % 5], english, word // 8)
    pool = labels.NEUTRAL if low else labels.PRAISE
    return pool[word % len(pool)]
