"""The sample company: a regional supermarket chain. Its systems deliver files; the truth lies beside them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

from . import accounts, guests, masters, orders, outreach, research, trade, truth, voice, web
from . import company as co
from .dirt import Dirt
from .draws import Draws
from .files import Encoder, Table, day_name, parquet_bytes
from .monitor import add_monitor
from .people import make_people, name_people
from .personal import Said

__all__ = ["generate"]

PARAMETERS = Path("_truth") / "parameters.json"


def generate(
    out: Path, customers: int, days: int, seed: int, progress: Callable[[str], None] | None = None
) -> dict:
    """Write the sample to <out>/<source>/<feed>/<YYYY-MM-DD>.<ext> and the truth to <out>/_truth/.

    customers: persons known to at least one source (10 …) · days: delivery days up to 2026-06-30 (1 … 2007).
    The files depend on (customers, days, seed) only. Returns counts. ValueError: parameters out of range;
    FileExistsError: <out> holds a sample of other parameters.
    """
    say = progress or (lambda _: None)
    out = Path(out)
    if customers < 10:
        raise ValueError(f"customers: at least 10, got {customers}")
    if days < 1:
        raise ValueError(f"days: at least 1, got {days}")
    parameters = {"customers": customers, "days": days, "seed": seed}
    cal = co.make_calendar(days)
    say(f"sample company: {customers} customers, {days} days from {cal.start} to {co.LAST_DAY}, seed {seed}")
    company, tables = _simulate(customers, cal, Draws(seed), say)
    _refuse_other_sample(out, parameters, tables)
    # First of all, so that an interrupted run can be repeated.
    (out / PARAMETERS).parent.mkdir(parents=True, exist_ok=True)
    (out / PARAMETERS).write_text(json.dumps(parameters) + "\n", encoding="utf-8", newline="\n")
    log = truth.FileLog()
    size = _write_files(out, tables, company.cal, Draws(seed), log, say)
    totals = truth.write_truth(out, company, log, tables, parameters)
    counts = totals["files"].values()
    summary = {
        "out": str(out),
        "first_day": totals["first_day"],
        "last_day": totals["last_day"],
        "customers": customers,
        "files": sum(c["files"] for c in counts),
        "records": sum(c["records"] for c in counts),
        "bytes": size,
        "orders": len(company.orders.day),
        "order_lines": len(company.lines.order),
        "bad_rows": len(log.bad),
        "rejected": sum(c["rejected"] for c in counts),
        "churned": totals["persons"]["churned"],
    }
    say(f"wrote {summary['files']} files, {summary['records']} records, {size / 1e6:.1f} MB")
    return summary


def _simulate(
    customers: int, cal: co.Calendar, draws: Draws, say: Callable[[str], None]
) -> tuple[truth.Company, list[Table]]:
    products = co.make_products(cal, draws)
    people = name_people(make_people(customers, cal, draws), draws)
    visits, stopped = trade.simulate_visits(people, cal, draws)
    o, lines = trade.make_orders(people, cal, products, draws, visits)
    say(f"{len(o.day)} orders, {len(lines.order)} lines")
    lives = orders.make_lives(o, people, draws)
    returns = orders.make_returns(o, lines, lives, products, cal, draws)
    tickets = voice.make_tickets(o, lines, lives, returns, people, cal, draws)
    history = voice.make_history(o, lives, cal)
    answers = voice.make_answers(o, lives, tickets, history, people, stopped, cal, draws)
    sessions = web.make_sessions(people, o, visits, cal, draws)
    study = research.make_study(people, stopped, cal, draws)
    firms, contacts = accounts.make_accounts(customers, cal, draws)
    contacts_left = guests.make_guests(o, people, cal, draws)
    consents = masters.consent_tables(people, stopped, cal, draws)
    said: list[Said] = []
    tables = [
        masters.store_table(),
        masters.channel_table(),
        masters.product_table(products, cal),
        masters.cost_table(products, cal),
        *masters.customer_tables(people, cal, draws),
        *consents,
        *orders.order_tables(o, lives, cal),
        *orders.line_tables(o, lines, products),
        *orders.return_tables(returns, o, lines, products, draws),
        web.session_table(sessions, people, draws),
        web.touchpoint_table(sessions, o, lines, products, draws, cal),
        web.ad_spend_table(people, cal, draws),
        voice.survey_table(cal),
        voice.answer_table(answers, people, draws, said),
        voice.ticket_table(tickets, o, people, products, cal, draws, said),
        research.study_table(cal),
        research.response_table(study, people),
        *research.region_tables(cal),
        *accounts.account_tables(firms, contacts, cal, draws),
        guests.guest_table(contacts_left, o, cal, draws),
        *outreach.outreach_tables(consents[1], people, firms, stopped, cal, draws),
    ]
    tables = [add_monitor(t, cal, products) for t in tables]
    company = truth.Company(
        cal,
        products,
        people,
        o,
        lines,
        lives,
        returns,
        stopped,
        visits["stopped_after_bad"],
        answers,
        voice.felt_day(o, lives, cal),
        said,
        study,
        firms,
        contacts,
        contacts_left,
    )
    return company, tables


def _refuse_other_sample(out: Path, parameters: dict, tables: list[Table]) -> None:
    """A sample over another one would leave the other's days behind; foreign sources do not matter."""
    if not any((out / t.source).exists() for t in tables):
        return
    try:
        same = json.loads((out / PARAMETERS).read_text(encoding="utf-8")) == parameters
    except (OSError, ValueError):
        same = False
    if not same:
        raise FileExistsError(
            f"{out} holds another sample or other files of its sources: delete them or choose another folder"
        )


def _write_files(
    out: Path,
    tables: list[Table],
    cal: co.Calendar,
    draws: Draws,
    log: truth.FileLog,
    say: Callable[[str], None],
) -> int:
    """Every delivery of every day; returns bytes written."""
    dirt = Dirt(draws)
    encoders = [Encoder(t.format) for t in tables]
    edges = [np.searchsorted(t.day, np.arange(cal.days + 1)) for t in tables]
    for t in tables:
        (out / t.source / t.feed).mkdir(parents=True, exist_ok=True)
    size = 0
    for d in range(cal.days):
        end = int(cal.epoch_day[d] + 1) * co.DAY
        for table, encoder, edge in zip(tables, encoders, edges, strict=True):
            rows, bad = slice(int(edge[d]), int(edge[d + 1])), []
            if not table.daily and rows.start == rows.stop:
                continue
            if table.format == "parquet":
                content, n = parquet_bytes(table.columns, rows), rows.stop - rows.start
            else:
                records = list(zip(*[encoder.column(c, rows) for c in table.columns], strict=True))
                if table.daily:
                    records, bad = dirt.plant(table, encoder, records, d, end)
                content, n = encoder.file([c.header for c in table.columns], records), len(records)
            path = f"{table.source}/{table.feed}/{day_name(cal.start, d)}{table.stem}.{encoder.suffix}"
            (out / path).write_bytes(content)
            size += len(content)
            log.add(path, content, n, bad)
        if cal.dates[d].day == 1 or d == cal.days - 1:
            say(f"{cal.dates[d]}: {d + 1} of {cal.days} days written")
    return size
