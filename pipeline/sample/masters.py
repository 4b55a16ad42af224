"""Master data as the sources deliver them: customers, consents, channels, stores, products, costs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from . import labels
from .catalog import CATALOG, HOUSEHOLDS
from .company import CHANNELS, DAY, NEVER, STORES, Calendar, Products
from .draws import Draws
from .files import NULL, Column, Table, chinese_headers
from .people import People, address, email_spelling, phone_spelling

UPDATED_PER_YEAR = 0.12
# purpose, channel, share that grants it on joining; service is the contract itself.
APP_CONSENTS = (
    ("service", "all", 0.99),
    ("profiling", "all", 0.86),
    ("marketing", "push", 0.78),
    ("marketing", "sms", 0.58),
    ("marketing", "wechat", 0.62),
    ("marketing", "email", 0.25),
    ("marketing", "ads", 0.30),
    ("survey", "all", 0.50),
    ("third_party", "all", 0.10),
)
CRM_CONSENTS = (
    ("service", "all", 0.99),
    ("profiling", "all", 0.75),
    ("marketing", "sms", 0.66),
    ("marketing", "call", 0.15),
    ("marketing", "email", 0.20),
    ("survey", "all", 0.60),
)
WITHDRAWN, WITHDRAWN_BY_LEAVERS, GRANTED_AGAIN, WITHDRAWS_ALL_MARKETING = 0.06, 0.22, 0.15, 0.03


def text_column(name: str, values: Sequence[str | None], header: str = "") -> Column:
    column = np.empty(len(values), dtype=object)
    column[:] = list(values)
    return Column(name, "s", column, header)


def registration_second(people: People, kind: int, cal: Calendar, draws: Draws) -> np.ndarray:
    """Local seconds of the registration of each person's account of a kind."""
    second = 8 * 3600 + draws.below(f"account.second.{kind}", people.n, 12 * 3600)
    return cal.seconds(np.minimum(people.registered[:, kind], cal.days)) + second


def customer_tables(people: People, cal: Calendar, draws: Draws) -> list[Table]:
    return [
        _customers("app", "jsonl", (0,), people, cal, draws),
        _customers("marketplace", "csv_bom", (2, 3), people, cal, draws),
        _customers("crm", "csv", (1,), people, cal, draws),
    ]


def _customers(
    source: str, format: str, kinds: Sequence[int], people: People, cal: Calendar, draws: Draws
) -> Table:
    """First row on the day of registration (old accounts: first day), a second row when something changed."""
    parts = []
    for kind in kinds:
        registered = people.registered[:, kind]
        rows = np.flatnonzero(registered < cal.days)
        at = registration_second(people, kind, cal, draws)
        first = np.maximum(registered, 0)
        change = draws.unit(f"account.change.{kind}", 2 * people.n).reshape(2, -1)
        changed_day = (
            first + 1 + (change[0] / (UPDATED_PER_YEAR * cal.days / 365) * (cal.days - first)).astype(int)
        )
        changed = np.flatnonzero((registered < cal.days) & (changed_day < cal.days))
        later = cal.seconds(changed_day) + 9 * 3600 + (change[1] * 36000).astype(np.int64)
        parts.append(
            (np.full(len(rows), kind), rows, first[rows], at[rows], at[rows], np.zeros(len(rows), int))
        )
        parts.append(
            (
                np.full(len(changed), kind),
                changed,
                changed_day[changed],
                at[changed],
                later[changed],
                np.ones(len(changed), int),
            )
        )
    kind, person, day, registered_at, updated_at, version = (
        np.concatenate(x) for x in zip(*parts, strict=True)
    )
    columns = _customer_columns(source, people, person, kind, version, draws)
    columns["registered_at"] = Column("registered_at", "ts", registered_at)
    columns["updated_at"] = Column("updated_at", "ts", updated_at)
    wanted = {
        "app": (
            "source_customer_id name phone email birth_date gender household_size has_children province city "
            "address postcode language registered_at updated_at is_test is_employee"
        ),
        "marketplace": (
            "source_customer_id name phone email gender province city address postcode registered_at "
            "updated_at"
        ),
        "crm": (
            "source_customer_id name phone email birth_date gender occupation income_band "
            "income_declared_month education household_size has_children province city address "
            "registered_at updated_at is_employee"
        ),
    }[source]
    return Table(source, "customers", format, [columns[c] for c in wanted.split()], day).sorted(
        kind, person, updated_at
    )


def account_style(source: str, people: People, draws: Draws) -> np.ndarray:
    """A word per person: how a source spells them and what it does not know."""
    return draws.words(f"customers.style.{source}", people.n)


def lacks_phone(style: int) -> bool:
    return style // 8 % 100 < 4


def _customer_columns(source, people: People, person, kind, version, draws: Draws) -> dict[str, Column]:
    n, style = len(person), account_style(source, people, draws)
    new = draws.words(f"customers.version.{source}", people.n)
    who, ver, sty = person.tolist(), version.tolist(), [int(x) for x in style[person]]
    ids = np.array([None] * n, dtype=object)
    for k in np.unique(kind):
        ids[kind == k] = people.account_id[k][person[kind == k]]
    # The app checks numbers on entry; the others keep what was typed.
    phone = [
        phone_spelling(people.phone[p], 0 if source == "app" else s % 5)
        for p, s in zip(who, sty, strict=True)
    ]
    phone = [None if lacks_phone(s) else x for x, s in zip(phone, sty, strict=True)]
    email = [email_spelling(people.email[p], s // 1024 % 4) for p, s in zip(who, sty, strict=True)]
    moved = [
        address(int(new[p]), int(people.city[p]), bool(people.english[p])) if v else people.address[p]
        for p, v in zip(who, ver, strict=True)
    ]
    gender = [
        None if s // 4096 % 20 == 0 else ("male", "female")[people.gender[p]]
        for p, s in zip(who, sty, strict=True)
    ]
    cities = [labels.CITIES[c] for c in people.city[person].tolist()]
    birth = np.where(style[person] // np.uint64(2**20) % np.uint64(100) < 12, NULL, people.birth[person])
    number = (style[person] // np.uint64(2**30)).astype(np.int64)
    household = people.household[person]
    job = np.where(household == HOUSEHOLDS.index("senior"), 5, number % 5)
    band = number // 8 % 5
    columns = [
        Column("source_customer_id", "s", ids),
        text_column("name", [people.name[p] for p in who]),
        text_column("phone", phone),
        text_column("email", email),
        Column("birth_date", "d", birth),
        text_column("gender", gender),
        text_column("occupation", [labels.OCCUPATIONS[j] for j in job]),
        text_column("income_band", [labels.INCOME_BANDS[b] for b in band]),
        Column("income_declared_month", "m", np.where(number // 64 % 3 == 0, 300000 + band * 450000, NULL)),
        text_column("education", [labels.EDUCATION[e] for e in number // 256 % 5]),
        Column("household_size", "i", people.size[person]),
        Column("has_children", "b", (household == HOUSEHOLDS.index("family")).astype(np.int64)),
        text_column("province", [c[0] for c in cities]),
        text_column("city", [c[1] for c in cities]),
        text_column("address", moved),
        text_column("postcode", [c[2] for c in cities]),
        text_column("language", ["en" if people.english[p] else "zh" for p in who]),
        Column("is_test", "b", people.is_test[person].astype(np.int64)),
        Column("is_employee", "b", people.is_employee[person].astype(np.int64)),
    ]
    return {c.name: c for c in columns}


def consent_tables(people: People, stopped: np.ndarray, cal: Calendar, draws: Draws) -> list[Table]:
    return [
        _consents("app", "jsonl", 0, APP_CONSENTS, people, stopped, cal, draws),
        _consents("crm", "csv", 1, CRM_CONSENTS, people, stopped, cal, draws),
    ]


def _consents(source, format, kind, pairs, people: People, stopped, cal: Calendar, draws: Draws) -> Table:
    """Grants on registration; withdrawals at any later time, more often by those who stop buying."""
    n, registered = people.n, people.registered[:, kind]
    member = registered < cal.days
    joined = registration_second(people, kind, cal, draws)
    end = int(cal.seconds(np.array([cal.days]))[0])
    leave = np.where(stopped < cal.days, WITHDRAWN_BY_LEAVERS, WITHDRAWN)
    parts: list[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]] = []

    def add(who: np.ndarray, pair: int, action: int, at: np.ndarray) -> None:
        parts.append((who, np.full(len(who), pair), np.full(len(who), action), at))

    for k, (purpose, channel, share) in enumerate(pairs):
        u = draws.unit(f"consent.{source}.{purpose}.{channel}", 5 * n).reshape(5, n)
        granted = member & (u[0] < share)
        who = np.flatnonzero(granted)
        add(who, k, 0, joined[who] + 60 + k)
        lapse = np.where(purpose == "service", 0.004, leave)
        at = joined + 3600 + (np.sqrt(u[2]) * np.maximum(end - joined - 7200, 0)).astype(np.int64)
        gone = np.flatnonzero(granted & (u[1] < lapse) & (at < end))
        add(gone, k, 1, at[gone])
        again = at + 86400 + (u[4] * 60 * DAY).astype(np.int64)
        back = np.flatnonzero(granted & (u[1] < lapse) & (u[3] < GRANTED_AGAIN) & (again < end))
        add(back, k, 0, again[back])
    u = draws.unit(f"consent.{source}.all", 2 * n).reshape(2, n)
    at = joined + 7200 + (u[1] * np.maximum(end - joined - 7200, 0)).astype(np.int64)
    gone = np.flatnonzero(member & (u[0] < WITHDRAWS_ALL_MARKETING) & (at < end))
    add(gone, len(pairs), 1, at[gone])
    who, pair, action, at = (np.concatenate(x) for x in zip(*parts, strict=True))
    names = [*[p[:2] for p in pairs], ("marketing", "all")]
    day = np.maximum(at // DAY - int(cal.epoch_day[0]), 0)
    order = np.lexsort((pair, who, at, day))
    who, pair, action, at, day = who[order], pair[order], action[order], at[order], day[order]
    m, prefix = len(who), source[0].upper()
    return Table(
        source,
        "consents",
        format,
        [
            text_column("consent_id", [f"CN{prefix}{k:08d}" for k in range(1, m + 1)]),
            Column("source_customer_id", "s", people.account_id[kind][who]),
            text_column("purpose", [names[k][0] for k in pair]),
            text_column("channel", [names[k][1] for k in pair]),
            text_column("action", [("grant", "withdraw")[a] for a in action]),
            Column("at", "ts", at),
            text_column("legal_basis", ["contract" if names[k][0] == "service" else "consent" for k in pair]),
            text_column("text_version", ["2026-01" if d >= cal.days - 181 else "2024-03" for d in day]),
            text_column(
                "proof",
                [
                    ("app_form", "settings_page")[a] if kind == 0 else ("paper_form", "hotline")[a]
                    for a in action
                ],
            ),
        ],
        day,
    )


def store_table() -> Table:
    headers = chinese_headers("stores", ("store_id", "region", "opened_on", "area"))
    return Table(
        "store_master",
        "stores",
        "xlsx",
        [
            text_column("store_id", [s[0] for s in STORES], headers["store_id"]),
            text_column("region", [labels.CITIES[s[1]][3] for s in STORES], headers["region"]),
            Column(
                "opened_on",
                "d",
                np.array([s[3] for s in STORES], dtype="datetime64[D]").astype(np.int64),
                headers["opened_on"],
            ),
            Column("area", "q", np.array([s[2] * 1000 for s in STORES]), headers["area"]),
        ],
        np.zeros(len(STORES), np.int64),
        daily=False,
    )


def channel_table() -> Table:
    names = ("channel_id", "name", "group", "mode", "role", "cost_per_contact")
    columns = [text_column(name, [row[k] for row in CHANNELS]) for k, name in enumerate(names)]
    return Table("erp", "channels", "csv", columns, np.zeros(len(CHANNELS), np.int64), daily=False)


def product_table(products: Products, cal: Calendar) -> Table:
    """The whole range on the first day and on every first of a month, without what is not launched yet."""
    days = [d for d in range(cal.days) if d == 0 or cal.dates[d].day == 1]
    rows = [(d, p) for d in days for p in range(len(products.ids)) if products.launch[p] <= d]
    # A launch between two full deliveries comes in a file of its own.
    rows += [(int(d), p) for p, d in enumerate(products.launch) if 0 < d < cal.days and d not in days]
    day, p = (np.array(x, dtype=np.int64) for x in zip(*rows, strict=True))
    start = int(cal.epoch_day[0])
    group = [CATALOG[g] for g in products.group[p]]
    retired = (products.retire[p] < NEVER) & (products.retire[p] <= day)
    launch = np.where(products.launch[p] > -NEVER, products.launch[p] + start, start - 900)
    return Table(
        "erp",
        "products",
        "parquet",
        [
            Column("product_id", "s", products.ids[p]),
            text_column("name", [products.names[k] for k in p]),
            text_column("brand", [products.brand[k] for k in p]),
            text_column("category_l1", [g.l1 for g in group]),
            text_column("category_l2", [g.l2 for g in group]),
            text_column("category_l3", [products.names[k].split(" ", 1)[-1] for k in p]),
            text_column("line", ["自营服务" if g.unit == "job" else "商品" for g in group]),
            Column("is_service", "b", products.service[p].astype(np.int64)),
            text_column("price_role", [g.role for g in group]),
            Column("premium_tier", "i", products.tier[p].astype(np.int64) * 2),
            text_column("portion", [products.portion[k] for k in p]),
            Column("launch_date", "d", launch),
            Column("retire_date", "d", np.where(retired, products.retire[p] + start, NULL)),
            text_column("status", ["retired" if r else "active" for r in retired]),
            Column("tax_rate", "m", products.tax[p].astype(np.int64)),
        ],
        day,
        daily=False,
    ).sorted(p)


def cost_table(products: Products, cal: Calendar) -> Table:
    """All costs known on the first day; later a file on each day a cost begins (it closes the last one)."""
    start = int(cal.epoch_day[0])
    rows = []
    for p, first, last, fen in products.costs:
        known = max(first, 0)
        rows.append((known, p, first, NULL, fen))
        if last is not None and last + 1 <= known:
            rows[-1] = (known, p, first, last + start, fen)
        elif last is not None:
            rows.append((last + 1, p, first, last + start, fen))
    day, p, first, last, fen = (np.array(x, dtype=np.int64) for x in zip(*rows, strict=True))
    return Table(
        "erp",
        "product_costs",
        "parquet",
        [
            Column("product_id", "s", products.ids[p]),
            Column("valid_from", "d", first + start),
            Column("valid_to", "d", last),
            Column("unit_cost", "m", fen),
        ],
        day,
        daily=False,
    ).sorted(first, p)
