"""Business customers of the chain: canteens, hotels, offices, workshops; their contacts and roles."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from . import labels
from .company import DAY, Calendar
from .draws import Draws
from .files import NULL, Column, Table
from .masters import text_column

SOURCE = "b2b_crm"
PER_HUNDRED_PERSONS = 4
# Section and division of GB/T 4754 as the sales force types it, name of such a firm, group, weight.
INDUSTRIES = (
    ("C14", "食品厂", "manufacturing", 3),
    ("C35", "机械厂", "manufacturing", 2),
    ("H62", "餐饮", "services", 4),
    ("H61", "酒店", "services", 3),
    ("P83", "幼儿园", "services", 2),
    ("I65", "软件园", "services", 2),
    ("A01", "农场", "other", 1),
    ("E47", "建筑公司", "other", 1),
    ("XX", "贸易行", "unknown", 1),
)
ROLES = ("purchasing", "technical", "management", "other")
ROLE_HELD = (0.85, 0.45, 0.55, 0.30)
LEFT = 0.20
PAINS = ("成本控制", "效率提升", "合规要求", "停车难")
PAIN_GROUPS = ("cost_control", "efficiency", "compliance", "other")
REGIONS = ("浙北", "浙东", "苏南")


class Account(NamedTuple):
    """One business customer; days are indexes of the calendar. `industry` indexes INDUSTRIES."""

    id: str
    industry: int
    employees: int | None
    revenue: int | None  # yuan a year
    parent: str | None
    owner: str | None
    since: int
    pains: tuple[int, ...]
    pains_later: tuple[int, ...]
    changed: int  # day of a second row with other pains; −1 = none


class Contact(NamedTuple):
    """One person at an account; `left` is None while the person is there."""

    id: str
    account: str
    role: str
    joined: int
    left: int | None


def make_accounts(persons: int, cal: Calendar, draws: Draws) -> tuple[list[Account], list[Contact]]:
    """Accounts in proportion to the company, four at least, and one to four contacts of each."""
    n = max(4, persons * PER_HUNDRED_PERSONS // 100)
    u = draws.unit("b2b", 9 * n).reshape(9, n)
    industry = draws.choice("b2b.industry", n, [i[3] for i in INDUSTRIES])
    pains = draws.unit("b2b.pains", 2 * n * len(PAINS)).reshape(2, n, len(PAINS)) < 0.35
    accounts: list[Account] = []
    for k in range(n):
        since = -1 - int(900 * u[0][k]) if u[0][k] < 0.8 or cal.days == 1 else int(cal.days * u[1][k])
        changed = since + 1 + int(u[2][k] * 4 * cal.days)
        first, later = (tuple(np.flatnonzero(pains[i][k]).tolist()) for i in range(2))
        accounts.append(
            Account(
                id=f"B{k + 1:05d}",
                industry=int(industry[k]),
                employees=None if u[3][k] < 0.12 else 3 + int(2500 * u[3][k] ** 6),
                revenue=None if u[4][k] < 0.3 else 200_000 + int(9e8 * u[4][k] ** 9),
                parent=f"B{int(u[5][k] * k) + 1:05d}" if k and u[6][k] < 0.10 else None,
                owner=None if u[7][k] < 0.15 else f"E{int(u[8][k] * 12) + 1:03d}",
                since=since,
                pains=first,
                pains_later=later,
                changed=changed if 0 < changed < cal.days and later != first else -1,
            )
        )
    return accounts, _contacts(accounts, cal, draws)


def _contacts(accounts: list[Account], cal: Calendar, draws: Draws) -> list[Contact]:
    n, m = len(accounts), len(ROLES)
    u = draws.unit("b2b.contact", 3 * n * m).reshape(3, n, m)
    out: list[Contact] = []
    for k, account in enumerate(accounts):
        held = [r for r in range(m) if u[0][k][r] < ROLE_HELD[r]] or [3]
        for r in held:
            joined = max(account.since, -1)
            left = joined + 2 + int(u[2][k][r] * cal.days) if u[1][k][r] < LEFT else None
            out.append(Contact(f"BC{len(out) + 1:06d}", account.id, ROLES[r], joined, left))
    return out


def account_tables(
    accounts: list[Account], contacts: list[Contact], cal: Calendar, draws: Draws
) -> list[Table]:
    """Accounts and contacts on the day on which the sales force entered or changed them."""
    return [_account_table(accounts, cal), _contact_table(accounts, contacts, cal, draws)]


def _account_table(accounts: list[Account], cal: Calendar) -> Table:
    rows = [(max(a.since, 0), a, a.pains, 0) for a in accounts]
    rows += [(a.changed, a, a.pains_later, 1) for a in accounts if a.changed >= 0]
    rows.sort(key=lambda r: (r[0], r[1].id, r[3]))
    day, own, pains, _ = zip(*rows, strict=True)
    start = int(cal.epoch_day[0])
    text = ["[" + ", ".join(f'"{PAINS[p]}"' for p in some) + "]" if some else None for some in pains]
    columns = [
        text_column("source_account_id", [a.id for a in own]),
        text_column("legal_name", [_name(a) for a in own]),
        text_column("reg_no", [f"91330100MA{a.id[1:]}XX" for a in own]),
        text_column("industry_code", [INDUSTRIES[a.industry][0] for a in own]),
        Column("employees", "i", np.array([NULL if a.employees is None else a.employees for a in own])),
        Column("revenue_year", "m", np.array([NULL if a.revenue is None else a.revenue * 100 for a in own])),
        text_column("parent_account_id", [a.parent for a in own]),
        text_column("owner_employee_id", [a.owner for a in own]),
        Column("since_date", "d", np.array([a.since + start for a in own])),
        text_column("region", [REGIONS[int(a.id[1:]) % len(REGIONS)] for a in own]),
        Column("pain_points", "j", text_column("", text).values),
        Column("updated_at", "ts", cal.seconds(np.array(day)) + 10 * 3600),
    ]
    return Table(SOURCE, "accounts", "csv", columns, np.array(day), daily=False)


def _name(account: Account) -> str:
    estate = labels.ESTATES[int(account.id[1:]) % len(labels.ESTATES)]
    return f"{estate}{INDUSTRIES[account.industry][1]}有限公司"


def _contact_table(accounts: list[Account], contacts: list[Contact], cal: Calendar, draws: Draws) -> Table:
    """A contact comes twice when the person leaves: the second row has the last day."""
    words = [int(w) for w in draws.words("b2b.name", len(contacts))]
    start = int(cal.epoch_day[0])
    rows = [(max(c.joined, 0), k, c, NULL) for k, c in enumerate(contacts)]
    rows += [
        (c.left, k, c, c.left + start)
        for k, c in enumerate(contacts)
        if c.left is not None and c.left < cal.days
    ]
    rows.sort(key=lambda r: (r[0], r[1]))
    day, place, own, until = zip(*rows, strict=True)
    given = labels.GIVEN["male"] + labels.GIVEN["female"]
    columns = [
        text_column("contact_id", [c.id for c in own]),
        text_column("source_account_id", [c.account for c in own]),
        text_column(
            "name", [labels.SURNAMES[words[k] % 40] + given[words[k] // 64 % len(given)] for k in place]
        ),
        text_column("role", [c.role for c in own]),
        Column("influence", "i", np.array([words[k] // 4096 % 5 + 1 for k in place])),
        text_column("phone", [f"199{words[k] // 2**20 % 10**8:08d}" for k in place]),
        text_column("email", [f"contact{k + 1}@example.org" for k in place]),
        Column("valid_from", "d", np.array([c.joined + start for c in own])),
        Column("valid_to", "d", np.array(until)),
    ]
    return Table(SOURCE, "account_contacts", "csv", columns, np.array(day), daily=False)


def updated_day(account: Account, cal: Calendar) -> str:
    """ISO date of the account's last row."""
    last = account.changed if account.changed >= 0 else max(account.since, 0)
    return str(np.datetime64(int(cal.seconds(np.array([last]))[0] // DAY), "D"))
