"""Defects planted in the delivered files at known rates, each told to the truth file."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

import numpy as np

from .company import DAY
from .draws import Draws
from .files import Encoder, Table, timestamps

REJECT, DUPLICATE, LOAD = "reject", "duplicate", "load"


class Defect(NamedTuple):
    """One kind of bad row.

    rate: share of the feed's rows · value: text put into `column` · how: copy = a further row with a key of
    its own, so that no true row is lost; edit = a true row is changed; twice = the row is written again.
    """

    reason: str
    feed: str
    rate: float
    expected: str
    column: str = ""
    value: str | None = None
    how: str = "copy"
    sources: tuple[str, ...] = ()


# Every rate in one place. Rejected rows are held under REJECT_LIMIT of a source at any day (gate Q-07: 1 %).
DEFECTS = (
    Defect("exact_duplicate", "*", 0.0008, DUPLICATE, how="twice"),
    Defect("wrong_type", "order_lines", 0.0003, REJECT, "qty", "abc"),
    Defect("negative_quantity", "order_lines", 0.0002, REJECT, "qty", "-1"),
    Defect("missing_id", "order_lines", 0.0002, REJECT, "product_id", None),
    Defect("short_row", "order_lines", 0.0002, REJECT, sources=("store_pos", "marketplace")),
    Defect("long_row", "order_lines", 0.0001, REJECT, sources=("store_pos", "marketplace")),
    Defect("orphan_line", "order_lines", 0.0003, LOAD, "order_id"),
    Defect("unknown_status", "orders", 0.0006, REJECT, "status", "on_hold"),
    Defect("impossible_date", "orders", 0.0006, REJECT, "ordered_at", "2026-02-30T10:15:00"),
    Defect("future_timestamp", "orders", 0.0006, REJECT, "ordered_at"),
    Defect("before_2000", "orders", 0.0003, REJECT, "ordered_at", "1999-12-31T08:00:00"),
    Defect("missing_id", "orders", 0.0004, REJECT, "order_id", None),
    Defect("missing_id", "web_sessions", 0.0005, REJECT, "visitor_id", None),
    Defect("unknown_event", "touchpoints", 0.0003, REJECT, "event_type", "hover"),
    Defect("wrong_type", "touchpoints", 0.0002, REJECT, "occurred_at", "yesterday"),
    Defect("unknown_purpose", "consents", 0.0006, REJECT, "purpose", "everything"),
    Defect("impossible_date", "tickets", 0.002, REJECT, "created_at", "2026-13-01T09:00:00"),
    Defect("wrong_type", "survey_responses", 0.002, REJECT, "score", "很好"),
    Defect("unknown_score", "survey_responses", 0.002, REJECT, "score", "99"),
    Defect("score_off_scale", "survey_responses", 0.005, LOAD, "score", "9"),
    Defect("negative_spend", "ad_spend", 0.001, REJECT, "spend", "-12.00"),
    Defect("masked_phone", "customers", 0.04, LOAD, "phone", how="edit", sources=("marketplace",)),
    Defect(
        "placeholder_birthday",
        "customers",
        0.02,
        LOAD,
        "birth_date",
        "1900-01-01",
        how="edit",
        sources=("crm",),
    ),
)
REJECT_LIMIT, ORPHAN_LIMIT = 0.005, 0.0004
# A planted copy gets a key of its own: column of the key, by feed.
KEY = {
    "orders": "order_id",
    "web_sessions": "session_id",
    "touchpoints": "event_id",
    "consents": "consent_id",
    "tickets": "ticket_id",
    "survey_responses": "response_id",
    "ad_spend": "keyword",
}


class Dirt:
    """Plants defects day by day and keeps the shares below their limits at every day, not only at the end."""

    def __init__(self, draws: Draws):
        self.draws = draws
        self.rows: Counter[str] = Counter()
        self.rejected: Counter[str] = Counter()
        self.orphans: Counter[str] = Counter()
        self.serial = 0

    def plant(
        self, table: Table, encoder: Encoder, rows: list[tuple[str, ...]], day: int, end: int
    ) -> tuple[list[tuple[str, ...]], list[tuple[int, Defect]]]:
        """The file's rows with their defects; end: local seconds of the end of the delivery day."""
        scope, source = f"{table.source}/{table.feed}", table.source
        n = len(rows)
        self.rows[scope] += n
        self.rows[source] += n
        inserts: list[tuple[int, tuple[str, ...], Defect]] = []
        edits: dict[int, tuple[tuple[str, ...], Defect]] = {}
        for k, defect in enumerate(DEFECTS):
            if (
                defect.feed not in ("*", table.feed)
                or (defect.sources and source not in defect.sources)
                or not n
            ):
                continue
            u = self.draws.unit(f"dirt.{scope}.{k}", 1, day)[0]
            for i in range(int(n * defect.rate + u)):
                at, place = self.draws.unit(f"dirt.{scope}.{k}.{i}", 2, day)
                base = int(at * n)
                if not self._allowed(defect, scope, source) or base in edits:
                    continue
                row = self._spoil(defect, table, encoder, rows[base], end)
                if row is None:
                    continue
                self._count(defect, scope, source)
                if defect.how == "edit":
                    edits[base] = (row, defect)
                else:
                    # A second copy comes after the first, a further row anywhere.
                    low = base + 1 if defect.how == "twice" else 0
                    inserts.append((low + int(place * (n + 1 - low)), row, defect))
        # A row that was edited afterwards is no exact duplicate any more.
        edited = {rows[b] for b in edits}
        inserts = [(p, r, d) for p, r, d in inserts if d.how != "twice" or r not in edited]
        inserts.sort(key=lambda x: x[0])
        return self._merge(rows, inserts, edits)

    @staticmethod
    def _merge(rows, inserts, edits):
        out: list[tuple[str, ...]] = []
        bad: list[tuple[int, Defect]] = []
        done = 0
        for place, row, defect in [*inserts, (len(rows), None, None)]:
            for k in range(done, place):
                out.append(edits[k][0] if k in edits else rows[k])
                if k in edits:
                    bad.append((len(out), edits[k][1]))
            done = place
            if row is not None:
                out.append(row)
                bad.append((len(out), defect))
        return out, bad

    def _allowed(self, defect: Defect, scope: str, source: str) -> bool:
        if defect.expected == REJECT:
            return all(self.rejected[s] + 1 <= REJECT_LIMIT * self.rows[s] for s in (scope, source))
        if defect.reason == "orphan_line":
            return self.orphans[scope] + 1 <= ORPHAN_LIMIT * self.rows[scope]
        return True

    def _count(self, defect: Defect, scope: str, source: str) -> None:
        if defect.expected == REJECT:
            self.rejected[scope] += 1
            self.rejected[source] += 1
        if defect.reason == "orphan_line":
            self.orphans[scope] += 1

    def _spoil(self, defect: Defect, table: Table, encoder: Encoder, row: tuple[str, ...], end: int):
        """The spoiled row, or None when this row cannot carry the defect."""
        if defect.how == "twice":
            return row
        names = table.names()
        new = list(row)
        self.serial += 1
        if defect.how == "copy":
            if table.feed == "order_lines":
                new[names.index("line_no")] = encoder.value("i", str(900 + self.serial))
            else:
                key = KEY[table.feed]
                new[names.index(key)] = encoder.value("s", f"X{self.serial:07d}")
        if defect.reason == "short_row":
            return tuple(new[:-3])
        if defect.reason == "long_row":
            return (*new, "0", "extra")
        column = table.columns[names.index(defect.column)]
        value = defect.value
        if defect.reason == "orphan_line":
            value = f"LOST{self.serial:07d}"
        elif defect.reason == "future_timestamp":
            value = timestamps(np.array([end + 3 * DAY + 3600]))[0]
        elif defect.reason == "masked_phone":
            digits = "".join(c for c in row[names.index("phone")] if c.isdigit())[-11:]
            if len(digits) < 11:
                return None
            value = f"{digits[:3]}****{digits[7:]}"
        elif defect.reason == "score_off_scale" and row[names.index("question_id")] != "CSAT":
            # 9 is a score of the contract but none of a question from 1 to 5.
            return None
        elif defect.reason == "negative_quantity" and _is_zero(row[names.index("unit_price_paid")]):
            # At price 0 a negative quantity is a stock movement, which is valid.
            return None
        new[names.index(defect.column)] = encoder.value(column.kind, value)
        return tuple(new)


def _is_zero(fragment: str) -> bool:
    return fragment in ("0.00", "0") or fragment.startswith("><v>0.00<")
