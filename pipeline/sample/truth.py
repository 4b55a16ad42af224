"""What a correct pipeline must find in the sample, from the generator's own books and not from its files."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from . import labels, monitor
from .accounts import INDUSTRIES, PAIN_GROUPS, Account, Contact
from .company import DAY, DEALER, SOURCES, STORE, Calendar, Products
from .dirt import DUPLICATE, LOAD, REJECT, Defect
from .files import NULL, Table, dates, decimal_text
from .guests import Guests
from .orders import CANCELLED, COMPLETED, PAID, SHIPPED, STATES, Lives, Returns, shipping_fee
from .people import People
from .personal import Said
from .research import SOURCE as RESEARCH
from .research import Study
from .trade import ADJUSTMENT, SALE, STOCK_MOVEMENT, Lines, Orders, local_day


@dataclass
class Company:
    """Everything that happened; the tables delivered are views of it."""

    cal: Calendar
    products: Products
    people: People
    orders: Orders
    lines: Lines
    lives: Lives
    returns: Returns
    stopped: np.ndarray
    stopped_after_bad: np.ndarray
    answers: dict[str, np.ndarray]
    felt: np.ndarray
    said: list[Said]
    study: Study
    accounts: list[Account]
    contacts: list[Contact]
    guests: Guests

    def buyer(self) -> np.ndarray:
        """Whose each order is by what the data say: an agreed guest contact goes before who stood at the till."""
        joined = self.guests.joined(len(self.orders.day))
        return np.where(joined >= 0, joined, self.orders.person)

    def known(self) -> np.ndarray:
        """Orders with a customer, by their id or by an agreed contact."""
        named = np.array([x is not None for x in self.orders.customer], dtype=bool)
        return named | (self.guests.joined(len(named)) >= 0)


@dataclass
class FileLog:
    """Counts per source/feed and the planted rows, filled while files are written."""

    bad: list[tuple[str, int, Defect]] = field(default_factory=list)
    counts: dict[str, Counter] = field(default_factory=dict)

    contents: set[tuple[str, bytes]] = field(default_factory=set)

    def add(self, path: str, content: bytes, records: int, bad: Iterable[tuple[int, Defect]]) -> None:
        scope = path.rsplit("/", 1)[0]
        counter = self.counts.setdefault(scope, Counter())
        counter["files"] += 1
        counter["records"] += records
        # Days without rows, and a product range that did not change, have the bytes of an earlier delivery.
        key = (scope, hashlib.sha256(content).digest())
        if key in self.contents:
            counter["files_repeated"] += 1
            counter["records_repeated"] += records
        self.contents.add(key)
        for number, defect in bad:
            self.bad.append((path, number, defect))
            counter[defect.expected] += 1


def write_truth(out: Path, company: Company, log: FileLog, tables: list[Table], parameters: dict) -> dict:
    """Write <out>/_truth/* and return the totals."""
    folder = out / "_truth"
    folder.mkdir(parents=True, exist_ok=True)
    c = company
    _write(folder / "persons.parquet", _persons(c))
    _write(folder / "contacts.parquet", _contacts(c))
    _write(
        folder / "personal_texts.parquet",
        {n: _text(s[k] for s in c.said) for k, n in enumerate(Said._fields)},
    )
    _write(folder / "bad_rows.parquet", _bad_rows(log))
    _write(folder / "churned.parquet", _churned(c))
    orders = _orders(c)
    _write(folder / "orders.parquet", orders)
    returns = _returns(c)
    _write(folder / "returns.parquet", returns)
    answers = _answers(c)
    _write(folder / "answers.parquet", answers)
    _write(folder / "study.parquet", _study(c))
    _write(folder / "accounts.parquet", _accounts(c))
    _write(folder / "guest_contacts.parquet", _guests(c))
    consents = _consents(tables)
    _write(folder / "consent_states.parquet", consents)
    totals = {
        "parameters": parameters,
        "first_day": c.cal.dates[0].isoformat(),
        "last_day": c.cal.dates[-1].isoformat(),
        "files": _file_counts(log),
        "sales": _sales(c),
        "nps": _nps(answers),
        "persons": _person_counts(c),
        "consents_granted": _granted(consents),
    }
    text = json.dumps(totals, ensure_ascii=False, indent=1)
    (folder / "totals.json").write_text(text + "\n", encoding="utf-8", newline="\n")
    return totals


def _write(path: Path, columns: dict[str, list] | dict[str, pa.Array]) -> None:
    table = pa.table(columns)
    pq.write_table(table, path, compression="NONE", store_schema=False)


def _money(e5: Iterable[int]) -> pa.Array:
    """Amounts in 1/100,000 yuan as decimals."""
    return pa.array([decimal_text(v, 5) for v in e5]).cast(pa.decimal128(18, 5))


def _day(values: np.ndarray) -> pa.Array:
    return pa.array(dates(values)).cast(pa.date32())


def _persons(c: Company) -> dict:
    """Every id that the data can show: registered accounts, and cards and dealer ids seen in orders."""
    rows: list[tuple[str, str, str]] = []
    for kind, source in ((0, "app"), (1, "crm"), (2, "marketplace"), (3, "marketplace")):
        here = np.flatnonzero(c.people.registered[:, kind] < c.cal.days)
        rows += [(c.people.person_id[p], source, c.people.account_id[kind][p]) for p in here]
    # Cards at the till and ids of the dealers' portal have no customers feed: only what orders show.
    seen = zip(c.orders.channel.tolist(), c.orders.person.tolist(), c.orders.customer.tolist(), strict=True)
    rows += sorted(
        {(c.people.person_id[p], SOURCES[ch], i) for ch, p, i in seen if i and ch in (STORE, DEALER)}
    )
    rows += sorted(
        {(c.people.person_id[a.person], RESEARCH, c.people.account_id[1][a.person]) for a in c.study.answers}
    )
    rows.append((monitor.PERSON, "app", monitor.ACCOUNT))
    rows.sort(key=lambda r: (r[1], r[2]))
    names = ("person_id", "source", "source_customer_id")
    return {n: pa.array([r[k] for r in rows]) for k, n in enumerate(names)}


def _contacts(c: Company) -> dict:
    """Clear personal data of every person, for scans that must find it in the vault only."""
    p = c.people
    columns = ("name", "phone", "email", "address")
    return {"person_id": _text(p.person_id)} | {n: _text(getattr(p, n)) for n in columns}


def _bad_rows(log: FileLog) -> dict:
    rows = sorted(log.bad, key=lambda r: (r[0], r[1]))
    return {
        "path": pa.array([r[0] for r in rows], pa.string()),
        "record_no": pa.array([r[1] for r in rows], pa.int64()),
        "reason": pa.array([r[2].reason for r in rows], pa.string()),
        "expected": pa.array([r[2].expected for r in rows], pa.string()),
        "column": pa.array([r[2].column or None for r in rows], pa.string()),
        "value": pa.array([r[2].value for r in rows], pa.string()),
    }


def _churned(c: Company) -> dict:
    who = np.flatnonzero(c.stopped <= c.cal.days)
    start = int(c.cal.epoch_day[0])
    return {
        "person_id": pa.array(c.people.person_id[who].tolist(), pa.string()),
        "churned_on": _day(c.stopped[who] + start),
        "last_purchase_day": _day(c.stopped[who] + start - 1),
        "after_bad_event": pa.array(c.stopped_after_bad[who].tolist(), pa.bool_()),
    }


def _final(c: Company) -> tuple[np.ndarray, np.ndarray]:
    end = int(c.cal.epoch_day[-1] + 1) * DAY
    return c.lives.state_at(end), c.lives.paid_before(end)


def valid_mask(c: Company) -> np.ndarray:
    """G-02 on the last day: paid, not a test or an employee's, customer known, merchandise."""
    state, paid = _final(c)
    o, p = c.orders, c.people
    buyer = c.buyer()
    internal = (buyer >= 0) & (p.is_test[buyer] | p.is_employee[buyer])
    return (
        np.isin(state, (PAID, SHIPPED, COMPLETED))
        & (paid != NULL)
        & (o.kind == SALE)
        & c.known()
        & ~internal
        & ~c.lives.is_test
    )


def _text(values: Iterable) -> pa.Array:
    return pa.array(list(values), pa.string())


def _orders(c: Company) -> dict:
    o, p = c.orders, c.people
    state, paid = _final(c)
    named = o.person >= 0
    return {
        "order_id": _text(o.order_id),
        "source": _text(SOURCES[k] for k in o.channel.tolist()),
        "person_id": _text(p.person_id[k] if k >= 0 else None for k in o.person.tolist()),
        "source_customer_id": _text(o.customer),
        "ordered_on": _day(o.ordered_at // DAY),
        "paid_on": _day(np.where(paid == NULL, NULL, paid // DAY)),
        "final_status": _text(STATES[s] for s in state.tolist()),
        "kind": _text(("sale", "stock_movement", "adjustment")[k] for k in o.kind.tolist()),
        "lines_n": pa.array(np.diff(np.r_[o.first_line, len(c.lines.order)]).tolist(), pa.int64()),
        "gross": _money(o.gross_e5.tolist()),
        "order_discount": _money((o.discount * 1000).tolist()),
        "shipping_fee": _money((shipping_fee(o) * 1000).tolist()),
        "is_test": pa.array((c.lives.is_test | named & p.is_test[o.person]).tolist()),
        "is_employee": pa.array((named & p.is_employee[o.person]).tolist()),
        "internal_known_by": _text(_internal(c)),
        "is_valid": pa.array(valid_mask(c).tolist()),
        "bad_event": _text(labels.EVENTS[b] if b else None for b in o.bad.tolist()),
        "bad_event_on": _day(np.where(o.bad > 0, c.felt + int(c.cal.epoch_day[0]), NULL)),
    }


def _internal(c: Company) -> list[str | None]:
    """Where the data show that an order is a test's or an employee's: own source, card, or identity only."""
    o, p = c.orders, c.people
    buyer, known = c.buyer(), c.known()
    inside = (buyer >= 0) & (p.is_test[buyer] | p.is_employee[buyer])
    named = {"app": "own_source", "store_pos": "card_in_crm"}
    return [
        None
        if not i
        else "nothing"
        if not k
        else "identity"
        if customer is None
        else named.get(SOURCES[ch], "identity")
        for i, k, customer, ch in zip(
            inside.tolist(), known.tolist(), o.customer.tolist(), o.channel.tolist(), strict=True
        )
    ]


def _returns(c: Company) -> dict:
    r, o = c.returns, c.orders
    valid = valid_mask(c)
    return {
        "return_id": _text(r.return_id),
        "order_id": _text(o.order_id[r.order]),
        "line_no": pa.array(c.lines.line_no[r.line].tolist(), pa.int64()),
        "source": _text(SOURCES[k] for k in o.channel[r.order].tolist()),
        "booked_on": _day(np.where(r.refunded_at == NULL, r.requested_at, r.refunded_at) // DAY),
        "qty": pa.array([decimal_text(q, 3) for q in r.qty.tolist()]).cast(pa.decimal128(18, 3)),
        "refund": _money((r.refund * 1000).tolist()),
        "type": _text(("refund", "exchange", "repair")[k] for k in r.kind.tolist()),
        "names": _text(("nothing", "order", "order_and_line")[k] for k in r.named.tolist()),
        "order_is_valid": pa.array(valid[r.order].tolist(), pa.bool_()),
    }


def _answers(c: Company) -> dict:
    a = c.answers
    return {
        "response_id": _text(a["id"]),
        "survey": _text(a["survey"]),
        "wave": _text(a["wave"]),
        "person_id": _text(c.people.person_id[a["person"]]),
        "score": pa.array(a["score"].tolist(), pa.int64()),
        "bad_events_n": pa.array(a["bad"].tolist(), pa.int64()),
        "answered_on": _day(a["answered"] // DAY),
    }


def _study(c: Company) -> dict:
    a = c.study.answers
    return {
        "response_id": _text(x.response for x in a),
        "question_id": _text(x.question for x in a),
        "person_id": _text(c.people.person_id[x.person] for x in a),
        "answered_on": _day(np.array([x.answered // DAY for x in a], dtype=np.int64)),
        "score": pa.array([x.score for x in a], pa.int64()),
        "option": _text(x.option for x in a),
    }


def _guests(c: Company) -> dict:
    """Each contact left at the till, in clear, with whose it is, who bought and whom the order belongs to by C-22."""
    g, o, p = c.guests, c.orders, c.people

    def ids(who: np.ndarray) -> pa.Array:
        return _text(p.person_id[k] if k >= 0 else None for k in who.tolist())

    return {
        "source": _text(SOURCES[k] for k in o.channel[g.order].tolist()),
        "order_id": _text(o.order_id[g.order]),
        "kind": _text(g.kind),
        "buyer_id": ids(o.person[g.order]),
        "contact_of_id": ids(g.contact_of),
        "joins_id": ids(g.joins),
        "name": _text(g.name),
        "phone": _text(g.phone),
        "email": _text(g.email),
    }


def _accounts(c: Company) -> dict:
    """What a correct profile of each business customer says on the day after the last one."""
    days = c.cal.days
    here = [a for a in c.accounts if a.since < days]
    live: dict[str, set[str]] = {a.id: set() for a in here}
    for contact in c.contacts:
        # The last day is the first on which the person is not there any more.
        if contact.account in live and (contact.left is None or contact.left >= days):
            live[contact.account].add(contact.role)
    children = Counter(a.parent for a in here if a.parent)
    pains = [a.pains_later if a.changed >= 0 else a.pains for a in here]
    return {
        "source_account_id": _text(a.id for a in here),
        "industry": _text(INDUSTRIES[a.industry][2] for a in here),
        "employees": pa.array([a.employees for a in here], pa.int64()),
        "parent_account_id": _text(a.parent for a in here),
        "subsidiaries_n": pa.array([children[a.id] for a in here], pa.int64()),
        "live_roles": _text("|".join(sorted(live[a.id] - {"other"})) for a in here),
        "pain_points": _text("|".join(sorted(PAIN_GROUPS[p] for p in some)) for some in pains),
        "owner": _text(a.owner for a in here),
    }


def _consents(tables: list[Table]) -> dict:
    """Latest state per source id, purpose and channel; `all` is a channel of its own here."""
    latest: dict[tuple, tuple[int, str]] = {}
    for table in tables:
        if table.feed != "consents":
            continue
        cols = {c.name: c.values.tolist() for c in table.columns}
        for key in zip(
            cols["source_customer_id"],
            cols["purpose"],
            cols["channel"],
            cols["at"],
            cols["action"],
            strict=True,
        ):
            slot = (table.source, *key[:3])
            if slot not in latest or key[3] >= latest[slot][0]:
                latest[slot] = (key[3], key[4])
    rows = [(*k, v[1]) for k, v in sorted(latest.items())]
    names = ("source", "source_customer_id", "purpose", "channel", "action")
    return {n: _text(r[k] for r in rows) for k, n in enumerate(names)}


def _granted(consents: dict) -> dict[str, int]:
    keys = zip(
        consents["source"].to_pylist(),
        consents["purpose"].to_pylist(),
        consents["channel"].to_pylist(),
        consents["action"].to_pylist(),
        strict=True,
    )
    count = Counter(f"{s}/{p}/{ch}" for s, p, ch, a in keys if a == "grant")
    return dict(sorted(count.items()))


def _nps(answers: dict) -> dict:
    """Valid answers per wave."""
    out: dict[str, Counter] = {}
    for survey, wave, score in zip(
        *(answers[k].to_pylist() for k in ("survey", "wave", "score")), strict=True
    ):
        if survey == "NPS":
            kind = "promoters" if score >= 9 else "detractors" if score <= 6 else "passives"
            out.setdefault(wave, Counter())[kind] += 1
    return {w: {k: n[k] for k in ("promoters", "passives", "detractors")} for w, n in sorted(out.items())}


def _file_counts(log: FileLog) -> dict:
    return {
        scope: {
            "files": n["files"],
            "records": n["records"],
            "rejected": n[REJECT],
            "duplicates": n[DUPLICATE],
            "loaded": n["records"] - n[REJECT] - n[DUPLICATE],
            "odd_but_loaded": n[LOAD],
            "files_repeated": n["files_repeated"],
            "records_repeated": n["records_repeated"],
        }
        for scope, n in sorted(log.counts.items())
    }


def _person_counts(c: Company) -> dict[str, int]:
    p, days = c.people, c.cal.days
    return {
        "persons": p.n,
        "seen": int((p.registered < days).any(axis=1).sum()),
        "with_valid_order": len(np.unique(c.buyer()[valid_mask(c)])),
        "churned": int((c.stopped <= days).sum()),
        "test": int(p.is_test.sum()) + 1,
        "employees": int(p.is_employee.sum()),
        "minors": int(p.is_minor.sum()),
    }


def _sales(c: Company) -> dict[str, dict]:
    """Per source: counts and exact sums in yuan with tax, and revenue without tax (to the 5th decimal)."""
    o, lines = c.orders, c.lines
    state, paid = _final(c)
    valid = valid_mask(c)
    source = np.array(SOURCES, dtype=object)[o.channel]
    paid_sale = (o.kind == SALE) & np.isin(state, (PAID, SHIPPED, COMPLETED)) & (paid != NULL)
    refund_valid = np.zeros(len(o.day), dtype=np.int64)
    np.add.at(refund_valid, c.returns.order, c.returns.refund)
    line_source = source[lines.order]
    amount = lines.amount_e5()
    return {
        name: {
            "orders": int((source == name).sum()) + (c.cal.days if name == "app" else 0),
            "valid_orders": int((valid & (source == name)).sum()),
            "valid_purchase_days": len(
                np.unique((c.buyer() * 100_000 + local_day(paid, c.cal))[valid & (source == name)])
            ),
            "guest_orders_paid": int((paid_sale & (source == name) & ~c.known()).sum()),
            "not_paid_or_cancelled": int(((state == CANCELLED) | (paid == NULL))[source == name].sum()),
            "lines": int((line_source == name).sum()) + (c.cal.days if name == "app" else 0),
            "stock_movement_lines": int((o.kind[lines.order] == STOCK_MOVEMENT)[line_source == name].sum()),
            "adjustment_lines": int((o.kind[lines.order] == ADJUSTMENT)[line_source == name].sum()),
            "adjustments": decimal_text(
                int(amount[(o.kind[lines.order] == ADJUSTMENT) & (line_source == name)].sum()), 5
            ),
            "valid_gross": decimal_text(int(o.gross_e5[valid & (source == name)].sum()), 5),
            "valid_order_discount": decimal_text(int(o.discount[valid & (source == name)].sum()), 2),
            "refunds_of_valid_orders": decimal_text(int(refund_valid[valid & (source == name)].sum()), 2),
            "valid_sales_without_tax": _without_tax(c, valid & (source == name)),
            "returns": int((source[c.returns.order] == name).sum()) + (c.cal.days if name == "app" else 0),
        }
        for name in dict.fromkeys(SOURCES)
    }


def _without_tax(c: Company, rows: np.ndarray) -> str:
    """Σ (line − its share of the order discount by line value) / (1 + rate), before returns; yuan."""
    o, lines = c.orders, c.lines
    keep = rows[lines.order]
    amount, order = lines.amount_e5()[keep], lines.order[keep]
    tax, cut = c.products.tax[lines.product[keep]], o.discount[order]
    total_e11 = 0  # 10^-11 yuan: the rounding of millions of lines stays below a fen
    for rate in np.unique(tax).tolist():
        plain = (tax == rate) & (cut == 0)
        total_e11 += int(amount[plain].sum()) * 10**8 // (100 + rate)
    for k in np.flatnonzero(cut > 0).tolist():
        gross = int(o.gross_e5[order[k]])
        total_e11 += int(amount[k]) * (gross - int(cut[k]) * 1000) * 10**8 // (gross * (100 + int(tax[k])))
    return decimal_text((total_e11 + 500_000) // 10**6, 5)
