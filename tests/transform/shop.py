"""A shop whose deliveries do everything to an order that can be done to one, drawn at random and repeatable by its seed."""

import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import Any

Row = dict[str, Any]
# Lines name one more, which the master data does not have.
PRODUCTS = 200
FEEDS = (
    "orders",
    "order_lines",
    "returns",
    "customers",
    "products",
    "product_costs",
    "guest_contacts",
    "consents",
    "fx",
)


@dataclass
class Shop:
    """What the source system knows, and what it delivers of it: `landing/app/<feed>/<day>[.part].jsonl`."""

    landing: Path
    seed: int
    source: str = "app"
    draw: random.Random = field(init=False)
    customers: dict[str, Row] = field(default_factory=dict)
    orders: dict[str, Row] = field(default_factory=dict)
    lines: dict[str, list[Row]] = field(default_factory=dict)
    out: dict[str, list[Row]] = field(default_factory=dict)
    delivered: dict[Path, list[Row]] = field(default_factory=dict)
    done: list[str] = field(default_factory=list)
    clock: int = 0

    def __post_init__(self) -> None:
        self.draw = random.Random(self.seed)

    def _at(self, day: date) -> str:
        """A moment of the day, later with each call: the newest state of a thing is the one told last."""
        self.clock += 1
        return (
            f"{day}T{10 + self.clock // 3600 % 10:02}:{self.clock // 60 % 60:02}:{self.clock % 60:02}+08:00"
        )

    def open(self, first: date, days: int, people: int, orders: int) -> None:
        """History: master data and orders over `days` days up to `first`, delivered as of one day."""
        self.out = {feed: [] for feed in FEEDS}
        for n in range(PRODUCTS):
            # Of eight products two have no category, and of two the cost changed over time.
            self.out["products"].append(
                {
                    "product_id": f"P{n}",
                    "name": f"p{n}",
                    "category_l1": None if n % 8 < 2 else f"c{n % 3}",
                    "tax_rate": 0.13 if n % 2 else 0,
                }
            )
            if n % 8 in (2, 3):
                self.out["product_costs"] += [
                    {"product_id": f"P{n}", "valid_from": "2020-01-01", "unit_cost": 3},
                    {
                        "product_id": f"P{n}",
                        "valid_from": str(first - timedelta(days=days // 2)),
                        "unit_cost": 5,
                    },
                ]
            elif n % 2:
                self.out["product_costs"].append(
                    {"product_id": f"P{n}", "valid_from": "2020-01-01", "unit_cost": 4}
                )
        # A rate holds for ten days, so of dollars some days have none.
        for n in range(0, days, 15):
            self._quote(first - timedelta(days=n))
        for _ in range(people):
            self._person(first)
        for _ in range(orders):
            self._order(first - timedelta(days=self.draw.randrange(days)), first)
        for _ in range(orders // 8):
            self.draw.choice([Shop.send_a_line_back, Shop.send_all_back])(self, first)
        for _ in range(people // 8):
            self.agree_or_withdraw(first)
        self._deliver(first)

    def day(self, day: date, more: int) -> list[str]:
        """One day's deliveries, on which everything happens once and `more` at random; what happened, in order."""
        self.out = {feed: [] for feed in FEEDS}
        self.done = []
        self._order(day, day)
        for event in self.draw.sample([*EVENTS, *self.draw.choices(EVENTS, k=more)], len(EVENTS) + more):
            self.done.append(event.__name__)
            event(self, day)
        self._deliver(day, f".{self.clock}")
        return self.done

    def _deliver(self, day: date, part: str = "") -> None:
        for feed, rows in self.out.items():
            if rows:
                self._write(self.landing / self.source / feed / f"{day}{part}.jsonl", rows)

    def _write(self, path: Path, rows: list[Row]) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        self.delivered[path] = rows

    def _person(self, day: date) -> str:
        name = f"C{len(self.customers):04}"
        self.customers[name] = {
            "source_customer_id": name,
            "name": f"name {name}",
            "phone": f"138{len(self.customers):08}",
            "email": f"{name.lower()}@example.org",
            "is_employee": False,
            "updated_at": self._at(day),
        }
        self.out["customers"].append(dict(self.customers[name]))
        return name

    def _somebody(self) -> str:
        """A customer, a few of them far more often than others."""
        names = list(self.customers)
        return names[min(int(self.draw.expovariate(4 / len(names))), len(names) - 1)]

    def _buyer(self) -> str:
        """A customer who has ordered."""
        return self.draw.choice(
            sorted({row["source_customer_id"] or "" for row in self.orders.values()} - {""})
        )

    def _order(self, ordered: date, day: date) -> str:
        name = f"O{len(self.orders):05}"
        self.orders[name] = {
            "order_id": name,
            "source_customer_id": None if self.draw.random() < 0.1 else self._somebody(),
            "channel_id": self.draw.choice(["store", "web"]),
            "ordered_at": self._at(ordered),
            "paid_at": None if self.draw.random() < 0.05 else self._at(ordered),
            "status": self.draw.choice(["paid", "completed", "completed", "shipped"]),
            "currency": self.draw.choice(["CNY", "CNY", "CNY", "USD"]),
            "order_discount": self.draw.choice([0, 0, 0, 5]),
            "is_test": self.draw.random() < 0.02,
            "updated_at": self._at(day),
        }
        self.lines[name] = [self._line(name, n + 1) for n in range(self.draw.randrange(1, 4))]
        self.out["orders"].append(dict(self.orders[name]))
        self.out["order_lines"] += [dict(line) for line in self.lines[name]]
        return name

    def _line(self, order: str, number: int) -> Row:
        price = self.draw.randrange(5, 90)
        kind = self.draw.random()
        return {
            "order_id": order,
            "line_no": number,
            "product_id": f"P{self.draw.randrange(PRODUCTS + 1)}",
            "qty": -1 if kind < 0.02 else self.draw.randrange(1, 4),
            "list_price": price,
            "unit_price_paid": 0
            if kind < 0.02
            else -price
            if kind < 0.05
            else price - self.draw.choice([0, 0, 2]),
            "promotion_id": self.draw.choice([None, None, "PROMO"]),
        }

    def _quote(self, day: date) -> None:
        rate = self.draw.randrange(60000, 75000) / 10000
        self.out["fx"].append({"currency": "USD", "date": str(day), "rate_to_reporting": rate})

    def _some_order(self) -> str:
        return self.draw.choice(list(self.orders))

    def _restate(self, order: str, day: date, **changes: Any) -> None:
        self.orders[order] |= changes | {"updated_at": self._at(day)}
        self.out["orders"].append(dict(self.orders[order]))

    # What can happen

    def buy(self, day: date) -> None:
        self._order(day, day)

    def deliver_an_order_late(self, day: date) -> None:
        self._order(day - timedelta(days=self.draw.randrange(1, 500)), day)

    def quote_a_rate(self, day: date) -> None:
        """Of a day that may have had none, or another."""
        self._quote(day - timedelta(days=self.draw.randrange(60)))

    def take_other_money(self, day: date) -> None:
        order = self._some_order()
        self._restate(order, day, currency="CNY" if self.orders[order]["currency"] == "USD" else "USD")

    def cancel(self, day: date) -> None:
        self._restate(self._some_order(), day, status="cancelled")

    def pay(self, day: date) -> None:
        self._restate(self._some_order(), day, status="paid", paid_at=self._at(day))

    def change_the_header(self, day: date) -> None:
        self._restate(self._some_order(), day, order_discount=self.draw.randrange(9), channel_id="app")

    def give_to_somebody_else(self, day: date) -> None:
        self._restate(self._some_order(), day, source_customer_id=self._somebody())

    def make_a_guest_of_the_buyer(self, day: date) -> None:
        self._restate(self._some_order(), day, source_customer_id=None)

    def correct_a_line(self, day: date) -> None:
        order = self._some_order()
        self.out["order_lines"].append(self._line(order, self.draw.choice(self.lines[order])["line_no"]))

    def deliver_a_line_late(self, day: date) -> None:
        order = self._some_order()
        self.lines[order].append(self._line(order, len(self.lines[order]) + 1))
        self.out["order_lines"].append(dict(self.lines[order][-1]))

    def deliver_lines_before_their_order(self, day: date) -> None:
        name = self._order(day, day)
        self.out["orders"] = [row for row in self.out["orders"] if row["order_id"] != name]

    def deliver_a_header_again(self, day: date) -> None:
        self._restate(self._some_order(), day)

    def merge_two_people(self, day: date) -> None:
        # The later of two records takes the key of the earlier one.
        other, one = sorted((self._buyer(), self._buyer()))
        # Another name would keep them apart (pipeline/identity).
        self._tell(one, day, **{k: self.customers[other][k] for k in ("name", "phone", "email")})

    def split_a_person(self, day: date) -> None:
        name = self._buyer()
        contact = {"phone": f"139{self.clock:08}", "email": f"n{self.clock}@example.org"}
        self._tell(name, day, name=f"name {self.clock}", **contact)

    def hire_or_dismiss(self, day: date) -> None:
        name = self._buyer()
        self._tell(name, day, is_employee=not self.customers[name]["is_employee"])

    def _tell(self, who: str, day: date, **changes: Any) -> None:
        self.customers[who] |= changes | {"updated_at": self._at(day)}
        self.out["customers"].append(dict(self.customers[who]))

    def meet_somebody(self, day: date) -> None:
        self._person(day)

    def leave_a_contact_as_a_guest(self, day: date) -> None:
        guests = [name for name, row in self.orders.items() if row["source_customer_id"] is None]
        if guests:
            known = self.customers[self._somebody()]
            self.out["guest_contacts"].append(
                {
                    "order_id": self.draw.choice(guests),
                    "phone": known["phone"],
                    "is_consented": self.draw.random() < 0.8,
                    "updated_at": self._at(day),
                }
            )

    def agree_or_withdraw(self, day: date) -> None:
        """One who buys may no longer be profiled, or may be again."""
        agreed = self.draw.random() < 0.4
        self.out["consents"].append(
            {
                "consent_id": f"A{self.clock}",
                "source_customer_id": self._buyer(),
                "purpose": "profiling",
                "channel": "all",
                "action": "grant" if agreed else "withdraw",
                "at": self._at(day),
            }
        )

    def change_a_product(self, day: date) -> None:
        n = self.draw.randrange(PRODUCTS)
        rates = {
            "category_l1": self.draw.choice([None, "c0", "c1"]),
            "tax_rate": self.draw.choice([0, 0.06, 0.13]),
        }
        self.out["products"].append({"product_id": f"P{n}", "name": f"p{n}", **rates})

    def change_a_cost(self, day: date) -> None:
        since = day - timedelta(days=self.draw.randrange(60))
        cost = self.draw.randrange(1, 9)
        self.out["product_costs"].append(
            {
                "product_id": f"P{self.draw.randrange(PRODUCTS + 1)}",
                "valid_from": str(since),
                "unit_cost": cost,
            }
        )

    def send_a_line_back(self, day: date) -> None:
        """One line, which the return names by its product alone."""
        self._send_back(day, False)

    def send_all_back(self, day: date) -> None:
        """Every unit of every line of an order that counts: its day may no longer be a purchase day."""
        self._send_back(day, True)

    def _send_back(self, day: date, whole: bool) -> None:
        counts = [
            n
            for n, row in self.orders.items()
            if row["paid_at"] and row["source_customer_id"] and row["status"] != "cancelled"
        ]
        order = self.draw.choice(counts)
        row = self.orders[order]
        sold = [line for line in self.lines[order] if line["qty"] > 0 and line["unit_price_paid"] >= 0]
        for line in sold if whole else sold[:1]:
            when = day - timedelta(days=self.draw.choice([0, 1, 5, 30]))
            self.clock += 1
            self.out["returns"].append(
                {
                    "return_id": f"R{self.clock:06}",
                    "order_id": order,
                    "line_no": line["line_no"] if whole else None,
                    "source_customer_id": row["source_customer_id"],
                    "product_id": line["product_id"],
                    "qty": line["qty"],
                    "refund_amount": line["qty"] * line["unit_price_paid"],
                    "currency": self.draw.choice(["CNY", row["currency"]]),
                    "requested_at": self._at(when),
                    "refunded_at": self._at(when),
                    "type": "refund",
                }
            )

    def send_a_file_again(self, day: date) -> None:
        """A file of an earlier day with other bytes: the rows that are gone from it are taken back. Not that of the
        history, which would touch everything; so the first day may have none."""
        files = [
            p
            for p, rows in self.delivered.items()
            if p.parent.name in ("orders", "order_lines") and 1 < len(rows) < 60
        ]
        if not files:
            return
        path = self.draw.choice(files)
        kept = [row for row in self.delivered[path] if self.draw.random() < 0.8] or self.delivered[path][:1]
        self._write(path, kept)

    def send_a_file_late(self, day: date) -> None:
        """A further file for a day that is over."""
        held, self.out = self.out, {feed: [] for feed in FEEDS}
        late = day - timedelta(days=self.draw.randrange(1, 20))
        self._order(late, late)
        self.cancel(late)
        self._deliver(late, f".late{self.clock}")
        self.out = held


EVENTS: list[Callable[[Shop, date], None]] = [
    Shop.buy,
    Shop.deliver_an_order_late,
    Shop.cancel,
    Shop.quote_a_rate,
    Shop.quote_a_rate,
    Shop.take_other_money,
    Shop.pay,
    Shop.change_the_header,
    Shop.give_to_somebody_else,
    Shop.make_a_guest_of_the_buyer,
    Shop.correct_a_line,
    Shop.deliver_a_line_late,
    Shop.deliver_lines_before_their_order,
    Shop.deliver_a_header_again,
    Shop.merge_two_people,
    Shop.split_a_person,
    Shop.hire_or_dismiss,
    Shop.hire_or_dismiss,
    Shop.meet_somebody,
    Shop.leave_a_contact_as_a_guest,
    Shop.agree_or_withdraw,
    Shop.leave_a_contact_as_a_guest,
    Shop.agree_or_withdraw,
    Shop.change_a_product,
    Shop.change_a_cost,
    Shop.send_a_line_back,
    Shop.send_all_back,
    Shop.send_all_back,
    Shop.send_a_file_again,
    Shop.send_a_file_late,
]
