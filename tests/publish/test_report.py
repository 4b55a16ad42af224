"""The page of a release: what it says, what it hides, and that it asks nobody for anything."""

from __future__ import annotations

import base64
import copy
import hashlib
import html
import itertools
import json
import re
import subprocess
from datetime import date, timedelta
from decimal import Decimal
from functools import partial
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest

from pipeline import duck
from pipeline.ingest.reject_codes import load_codes
from pipeline.publish import customers, page_facts, report
from pipeline.publish.report import (
    CLASS_FACTS,
    PAGE_TABLES,
    PROFIT_STEPS,
    charts,
    distribution,
    feedback,
    movement,
    retention,
    segments,
    trust,
)
from pipeline.publish.report import numbers as fmt
from pipeline.publish.report.labels import _book
from pipeline.publish.report.release import Release
from pipeline.publish.tables import published_tables
from pipeline.settings import Settings
from pipeline.transform.dbt import ensure_manifest
from tests.publish.browser import program
from tests.publish.test_customer_shards import candidate, settings, token  # noqa: F401

AS_OF = date(2026, 4, 1)
SEGMENTS = {
    "champions": ("重要价值客户", "Champions", "高端服务，专人联系", "High-end service, dedicated contact"),
    "loyal": ("忠诚客户", "Loyal", "会员权益与积分，邀请推荐", "Member benefits, referral invitation"),
    "potential_loyalist": (
        "潜力忠诚客户",
        "Potential loyalists",
        "体验活动，提高频次",
        "Experience activities, raise frequency",
    ),
    "new": ("新客户", "New", "首单关怀与第二单优惠", "First-order care, second-order offer"),
    "promising": ("有希望客户", "Promising", "第二单优惠", "Second-order offer"),
    "need_attention": ("需要关注", "Need attention", "限时组合优惠", "Time-limited bundles"),
    "about_to_sleep": ("即将沉睡", "About to sleep", "低成本提醒", "Low-cost reminder"),
    "at_risk": ("流失风险", "At risk", "一对一沟通，回归礼遇", "One-to-one call, return benefit"),
    "cant_lose": ("不可流失", "Can't lose", "专人挽留，了解原因", "Personal win-back, ask the reason"),
    "hibernating": ("沉睡客户", "Hibernating", "仅自动化触达", "Automation only"),
    "lapsed": (
        "已流失（窗口外）",
        "Lapsed (outside window)",
        "值得时发回归券",
        "Return coupon where worth it",
    ),
    "prospects": ("潜在客户", "Prospects", "内容与试用，取得同意", "Content and trial, get consent"),
}
STAGES = {
    "prospect": ("潜在期", "Prospect"),
    "new": ("新客期", "New"),
    "growing": ("成长期", "Growing"),
    "mature": ("成熟期", "Mature"),
    "declining": ("衰退期", "Declining"),
    "churned": ("流失期", "Churned"),
}


def steps(profit: list[float], k: int = 10) -> pd.DataFrame:
    """The steps of the curve over these profits, as the publisher counts them."""
    frame = pd.DataFrame({"abc_class": "A", "profit_365": pd.array(profit, dtype="Float64")})
    with duck.connect([]) as con:
        con.register("abc", frame)
        return page_facts.profit_steps(con, "abc", k)


def render_page(tables: dict, manifest: dict) -> str:
    """The page of tables with a row per customer, and the steps that the publisher counts beside them."""
    abc = tables.get("segments.customer_abc", pd.DataFrame())
    told = {}
    if {"profit_365", "abc_class"} <= set(abc.columns):
        ranked = abc.loc[abc["abc_class"].isin(["A", "B", "C"]), "profit_365"]
        told[PROFIT_STEPS] = steps([None if p is None else float(p) for p in ranked])
    return report.render_page(told | tables, manifest)


def grid(r: int, f: int) -> str:
    """The rf25 grid of domain.md M-02b."""
    if r <= 2:
        return "cant_lose" if f == 5 else "at_risk" if f >= 3 else "hibernating"
    if r == 3:
        return "about_to_sleep" if f <= 2 else "need_attention" if f == 3 else "loyal"
    if r == 4:
        return "promising" if f == 1 else "potential_loyalist" if f <= 3 else "loyal"
    return "new" if f == 1 else "potential_loyalist" if f <= 3 else "champions"


def money(values: np.ndarray) -> list[Decimal]:
    return [Decimal(int(v * 100)).scaleb(-2) for v in values]


def company(n: int = 4000) -> tuple[dict[str, pd.DataFrame], dict]:
    """Tables and manifest of a small synthetic chain; a fixed seed, the same on every machine."""
    rng = np.random.default_rng(7)
    bought = rng.random(n) < 0.78
    days = np.where(bought, 1 + rng.geometric(0.28, n) - 1, 0)
    recency = np.where(
        bought, np.minimum(364, 1 + rng.exponential(95 / np.maximum(days, 1) ** 0.5, n)).astype(int), 0
    )
    spend = np.where(bought, rng.lognormal(4.6, 0.8, n) * np.maximum(days, 1), 0)
    f = np.clip(np.searchsorted([2, 3, 4, 6], days, side="right") + 1, 1, 5)
    r = 5 - np.searchsorted([12, 33, 72, 160], recency)
    segment = [
        grid(int(a), int(b)) if ok else ("lapsed" if i % 3 else "prospects")
        for i, (a, b, ok) in enumerate(zip(r, f, bought, strict=True))
    ]
    rfm = pd.DataFrame(
        {
            "customer_key": [f"{i:032x}" for i in range(n)],
            "frequency_days": days,
            "orders_n": days + (rng.random(n) < 0.2) * bought,
            "monetary": money(spend),
            "r_score": pd.array(np.where(bought, r, -1), dtype="Int64"),
            "f_score": pd.array(np.where(bought, f, -1), dtype="Int64"),
            "rfm_segment": segment,
            "scoring_mode": ["quantile" if ok else None for ok in bought],
        }
    )
    rfm.loc[~bought, ["r_score", "f_score"]] = pd.NA
    profit = spend * rng.normal(0.24, 0.12, n)
    rank = (-profit).argsort().argsort() + 1
    buyers = int(bought.sum())
    cls = np.where(
        ~bought,
        "no_purchase_in_window",
        np.where(rank <= 0.2 * buyers, "A", np.where(rank <= 0.5 * buyers, "B", "C")),
    )
    abc = pd.DataFrame(
        {
            "profit_365": [p if ok else None for p, ok in zip(money(profit), bought, strict=True)],
            "abc_class": cls,
            "profit_is_estimated": rng.random(n) < 0.06,
            "abc_basis": "profit",
        }
    )
    positive = profit[bought & (profit > 0)].sum()
    check = pd.DataFrame(
        [
            {
                "abc_class": c,
                "customers": int((cls == c).sum()),
                "customer_share": float((cls == c).sum() / buyers),
                "profit_share": float(profit[cls == c].sum() / profit[bought].sum()),
                "positive_profit_share": float(np.maximum(profit[cls == c], 0).sum() / positive),
                "gini": 0.6134,
            }
            for c in "ABC"
        ]
    )
    stage = np.where(~bought, "prospect", rng.choice(list(STAGES)[1:], n, p=[0.14, 0.27, 0.31, 0.16, 0.12]))
    summary = []
    value = {"A": "high", "B": "mid", "C": "low", "no_purchase_in_window": "unknown"}
    schemes = {
        "rfm": (segment, SEGMENTS),
        "abc": (
            cls,
            {
                "A": ("A 类", "Class A", "专属经理，优先服务", "Dedicated manager, served first"),
                "B": ("B 类", "Class B", "良好服务，寻找潜力", "Good service, look for potential"),
                "C": ("C 类", "Class C", "自动邮件，降低成本", "Automated mail, lower cost"),
                "no_purchase_in_window": (
                    "窗口内未购买",
                    "No purchase in window",
                    "见生命周期",
                    "See lifecycle",
                ),
            },
        ),
        "value": (
            [value[c] for c in cls],
            {
                "high": ("高价值", "High value"),
                "mid": ("中价值", "Mid value"),
                "low": ("低价值", "Low value"),
                "unknown": ("未知", "Unknown"),
            },
        ),
        "lifecycle": (stage, STAGES),
    }
    for scheme, (codes, labels) in schemes.items():
        frame = pd.DataFrame({"class": list(codes), "revenue": spend, "days": days})
        for code, part in frame.groupby("class"):
            zh, en, *action = labels[code]
            summary.append(
                {
                    "scheme": scheme,
                    "class": code,
                    "class_label_zh": zh,
                    "class_label_en": en,
                    "customers": len(part),
                    "share": len(part) / n,
                    "revenue": Decimal(int(part["revenue"].sum())),
                    "revenue_share": float(part["revenue"].sum() / spend.sum()),
                    "profit": None,
                    "repurchase_rate": float((part["days"] >= 2).sum() / max((part["days"] >= 1).sum(), 1)),
                    "recommended_action_zh": action[0] if action else "按生命周期关怀",
                    "recommended_action_en": action[1] if action else "Care by lifecycle stage",
                    "is_suppressed": False,
                }
            )
    calendar = [AS_OF - timedelta(days=i) for i in range(1, 420)]
    performance = pd.DataFrame(
        [
            {
                "channel_name": name,
                "date": day,
                "sessions": int(size * 3) if online else None,
                "orders": int(size / 40),
                "net_revenue": Decimal(int(size * (1 + 0.3 * np.sin(i / 20)) * 100)).scaleb(-2),
                "profit": Decimal(int(size * 22)).scaleb(-2),
                "cost": Decimal(int(size * 4)).scaleb(-2) if online else None,
            }
            for name, size, online in [
                ("门店 Stores", 1800, False),
                ("App", 950, True),
                ("小程序 Mini-program", 620, True),
                ("Marketplace", 540, True),
                ("经销商 Dealers", 210, False),
            ]
            for i, day in enumerate(calendar)
        ]
    )
    tables = {
        "segments.customer_rfm": rfm,
        "segments.customer_abc": abc,
        "segments.pareto_check": check,
        "segments.customer_lifecycle": pd.DataFrame({"stage": stage}),
        "audiences.segment_summary": pd.DataFrame(summary),
        "audiences.segment_coverage": pd.DataFrame(
            [
                ("classified", "已分层", "Classified", 1, False, 1000, 4000, 98765.0),
                ("under_14", "未满14岁", "Under 14", 2, True, None, None, None),
                ("withdrew_profiling", "撤回画像同意", "Withdrew from profiling", 3, False, 23, 70, 4321.0),
                ("restricted", "限制处理", "Processing restricted", 4, False, 0, 0, 0.0),
                ("guests", "未登录订单", "Guest orders", 5, False, None, 578, 5678.0),
            ],
            columns=[
                "population_group",
                "label_zh",
                "label_en",
                "sort",
                "is_suppressed",
                "customers",
                "orders_n",
                "revenue",
            ],
        ),
        "audiences.segment_membership": pd.DataFrame({"scheme": ["rfm"] * 2210}),
        "marts.nps": pd.DataFrame(
            [
                {
                    "scope": "all",
                    "n": 412,
                    "promoters": 201,
                    "passives": 118,
                    "detractors": 93,
                    "nps": 26.2,
                    "se": 3.9,
                    "lo": 18.6,
                    "hi": 33.8,
                    "is_low_n": False,
                },
                {
                    "scope": "app",
                    "n": 24,
                    "promoters": 8,
                    "passives": 6,
                    "detractors": 10,
                    "nps": -8.3,
                    "se": 17.6,
                    "lo": -42.8,
                    "hi": 26.2,
                    "is_low_n": True,
                },
                {
                    "scope": "dealers",
                    "n": 6,
                    "promoters": 5,
                    "passives": 1,
                    "detractors": 0,
                    "nps": 83.3,
                    "se": 15.2,
                    "lo": 53.5,
                    "hi": 100.0,
                    "is_low_n": True,
                },
            ]
        ),
        "marts.csat": pd.DataFrame(
            [{"scope": "all", "n": 655, "csat": 0.7725, "mean": 4.081, "is_low_n": False}]
        ),
        "marts.channel_performance": performance,
        "marts.retention_cohort": pd.DataFrame(
            [
                # Cohort, month after it, first of the data, over, hidden; people, buyers, active, again, churned.
                (date(2025, 12, 1), 1, True, True, False, 400, 100, 400, 100, 40),
                (date(2025, 12, 1), 2, True, True, False, 400, 60, 360, 55, 36),
                (date(2025, 12, 1), 3, True, True, True, 400, None, None, None, None),
                (date(2026, 1, 1), 1, False, True, True, None, None, None, None, None),
                (date(2026, 1, 1), 2, False, True, True, None, None, None, None, None),
                (date(2026, 1, 1), 3, False, False, True, None, None, None, None, None),
                (date(2026, 2, 1), 1, False, True, False, 200, 20, 200, 20, 0),
                (date(2026, 2, 1), 2, False, False, False, 200, None, None, None, None),
                (date(2026, 2, 1), 3, False, False, False, 200, None, None, None, None),
            ],
            columns=list(PAGE_TABLES["marts.retention_cohort"]),
        ),
        "segments.class_stability": pd.DataFrame(
            [
                {
                    "as_of_date": AS_OF - timedelta(days=d),
                    "scheme": "rfm",
                    "class": code,
                    "customers": n - 3 * d,
                }
                for code, n in (("champions", 400), ("loyal", 300), ("cant_lose", 12))
                for d in (0, 1, 5, 8, 20)
            ]
        ),
        "segments.class_transition": pd.DataFrame(
            [
                (AS_OF, "rfm", "loyal", "champions", "own_order", 25),
                (AS_OF, "rfm", "loyal", "champions", "cut_points", 6),
                (AS_OF, "rfm", "champions", "loyal", "ageing", 14),
                (AS_OF, "rfm", "entered", "new", "entered", 4),
                (AS_OF, "rfm", "new", "left", "left", 12),
                (AS_OF - timedelta(days=1), "rfm", "new", "promising", "ageing", 99),
                (AS_OF, "need", "regular", "rare", "ageing", 50),
            ],
            columns=["as_of_date", "scheme", "from_class", "to_class", "cause", "customers"],
        ),
        "segments.lifecycle_transition": pd.DataFrame(
            [
                (date(2026, 3, 1), "new", "growing", "own_order", 77),
                (date(2026, 4, 1), "new", "growing", "own_order", 33),
                (date(2026, 4, 1), "mature", "declining", "ageing", 21),
            ],
            columns=["month", "from_stage", "to_stage", "cause", "customers"],
        ),
        "segments.data_sufficiency": pd.DataFrame(
            [
                (
                    "buyers_in_window",
                    "rfm",
                    3100,
                    50,
                    True,
                    "购买者",
                    "Buyers",
                    "改用固定界限",
                    "Fixed cut-offs hold",
                ),
                (
                    "history_days",
                    "clv",
                    91,
                    365,
                    False,
                    "天数",
                    "Days of history",
                    "改用公式",
                    "The formula is used",
                ),
            ],
            columns=list(PAGE_TABLES["segments.data_sufficiency"]),
        ),
        "operations.eval_model_backtest": pd.DataFrame(
            [
                ("clv", "money", "model", False, None, None),
                ("clv", "money", "formula", True, "the model is not better by 5 %", "模型没有好过5 %"),
                ("churn_limit", "phi", "fixed", True, "of an earlier version", None),
            ],
            columns=["subject", "measure", "method", "is_chosen", "reason", "reason_zh"],
        ),
        "audiences.segment_delta": pd.DataFrame(
            [("rfm", "entered")] * 31 + [("rfm", "changed")] * 12 + [("rfm", "left")] * 3,
            columns=["scheme", "change"],
        ),
        "operations.row_balance": pd.DataFrame(
            [
                ("online_retail", "sale", "CNY", 530104, Decimal("10666684.5440")),
                ("online_retail", "return", "CNY", 9288, Decimal("-896812.4900")),
                ("online_retail", "adjustment", "CNY", 3, Decimal("-22124.1200")),
                ("online_retail", "stock_movement", "CNY", 2514, Decimal("0.0000")),
                ("store_pos", "sale", "CNY", 20411, Decimal("812004.1500")),
                ("store_pos", "return", "CNY", 402, Decimal("-14210.0000")),
            ],
            columns=["source", "kind", "currency", "rows_n", "amount"],
        ),
        "operations.row_chain": pd.DataFrame(
            [
                ("store_pos", "orders", "ingest", "read", "delivered", 2051),
                ("store_pos", "orders", "model", "written", "raw", 2040),
                ("store_pos", "orders", "model", "in_fact", "valid", 1000),
                ("store_pos", "orders", "model", "in_fact", "guest", 1033),
                ("store_pos", "orders", "model", "merged", "later_version", 7),
                ("store_pos", "order_lines", "model", "written", "raw", 20411),
                ("store_pos", "order_lines", "model", "in_fact", "order_valid", 20410),
                ("store_pos", "order_lines", "model", "in_fact", "without_order", 1),
                ("crm", "stores", "model", "written", "raw", 12),
                ("crm", "stores", "model", "staged", "in_force", 12),
            ],
            columns=["source", "feed", "stage", "state", "reason", "rows_n"],
        ),
        "operations.ingest_ledger": pd.DataFrame(
            [
                {
                    "source": source,
                    "feed": feed,
                    "file": f"{source}/{feed}/{AS_OF - timedelta(days=1 + d)}.csv",
                    "dt": AS_OF - timedelta(days=1 + d),
                    "status": status,
                    "reject_code": code,
                    "reject_codes": f'{{"missing_value": {bad}}}' if bad and status == "loaded" else None,
                    "rows_read": rows,
                    "rows_loaded": rows - bad if status == "loaded" else 0,
                    "rows_rejected": bad if status == "loaded" else 0,
                    "rows_duplicate": rows if status == "duplicate" else 0,
                }
                for source, feed, rows, bad in [
                    ("store_pos", "orders", 410, 2),
                    ("store_pos", "order_lines", 1220, 7),
                    ("app", "customers", 33, 0),
                    ("crm", "survey_responses", 21, 1),
                ]
                for d in range(5)
                for status, code in (
                    [("loaded", None), ("rejected", "bad_encoding")]
                    if (feed, d) == ("orders", 3)
                    else [("loaded", None), ("duplicate", None)]
                    if d == 4
                    else [("loaded", None)]
                )
            ]
        ),
    }
    manifest = {
        "release": "2026-04-01",
        "as_of_date": "2026-04-01",
        "policy_version": "2026.1",
        "currency": "CNY",
        "previous_release": "2026-03-31",
        "tables": {
            name: {
                "rows": len(frame),
                "sha256": f"{i:02x}" * 32,
                "bytes": 1000 + 77 * len(frame),
                "status": "published",
            }
            for i, (name, frame) in enumerate(tables.items())
        },
        "checks": [
            {
                "table": name,
                "check": check,
                "level": "block",
                "passed": True,
                "observed": 0,
                "limit": 0,
                "description": "",
            }
            for name in tables
            for check in ("unique_key", "not_null_key", "accepted_values")
        ],
        "feeds": {
            "store_pos/orders": {"files": 6, "latest_dt": "2026-03-31", "status": "enabled"},
            "store_pos/order_lines": {"files": 6, "latest_dt": "2026-03-31", "status": "enabled"},
            "app/customers": {"files": 6, "latest_dt": "2026-03-31", "status": "enabled"},
            "crm/survey_responses": {"files": 6, "latest_dt": "2026-03-23", "status": "enabled"},
            "crm/consents": {"files": 0, "latest_dt": None, "status": "not_enabled"},
        },
    }
    return tables, manifest


WARNING = {
    "feed": "crm/survey_responses",
    "check": "freshness_8_days",
    "level": "warn",
    "passed": False,
    "observed": 9,
    "limit": 8,
    "description": "No survey answers for more than a week: NPS describes an older mood, not today's.",
}


@pytest.fixture
def release() -> tuple[dict[str, pd.DataFrame], dict]:
    return company()


class Page(HTMLParser):
    """Text, tags and every place where HTML can name an address."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[tuple[str, str]] = []
        self.styles: list[str] = []
        self.words: list[str] = []
        self.tables: list[list[str]] = []
        self._inside: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in {"meta", "link", "input", "br"}:
            self._inside.append(tag)
        for name, value in attrs:
            if name in {
                "src",
                "href",
                "srcset",
                "action",
                "formaction",
                "data",
                "poster",
                "xlink:href",
                "background",
                "ping",
            }:
                self.addresses.append((f"{tag}@{name}", value or ""))
            if name == "style":
                self.styles.append(value or "")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if self._inside and self._inside[-1] == tag:
            self._inside.pop()

    def handle_endtag(self, tag: str) -> None:
        if tag in self._inside:
            while self._inside.pop() != tag:
                pass

    def handle_data(self, data: str) -> None:
        if "style" in self._inside:
            self.styles.append(data)
        elif data.strip():
            self.words.append(data.strip())

    @property
    def text(self) -> str:
        return " ".join(self.words)


def heat_cells(html: str) -> list[str]:
    body = re.search(r'<table class="heat">.*?</table>', html, re.S).group(0)
    return re.findall(r'<td class="h\d[^"]*"><b>([^<]*)</b>', body)


# the document


def test_same_input_gives_same_bytes_whatever_the_row_order(release):
    tables, manifest = release
    shuffled = {name: frame.sample(frac=1, random_state=3) for name, frame in tables.items()}
    assert render_page(tables, manifest) == render_page(copy.deepcopy(tables), copy.deepcopy(manifest))
    assert render_page(tables, manifest) == render_page(shuffled, manifest)


def test_the_declared_columns_are_all_the_page_reads(release):
    tables, manifest = release
    narrow = {
        name: frame[list(PAGE_TABLES[name])] if PAGE_TABLES[name] else frame for name, frame in tables.items()
    }
    assert render_page(narrow, manifest) == render_page(tables, manifest)


def test_who_was_left_out_is_told_by_reason_and_few_are_not_counted(release):
    tables, manifest = release
    text = Page(render_page(tables, manifest)).text
    shown = text[text.index("Who is classed and who is not") :][:900]
    assert "Withdrew from profiling" in shown and "23" in shown and "578" in shown
    assert "Under 14" in shown and "<10" in shown
    assert "Processing restricted" not in shown


def test_no_address_but_data_and_fragments(release):
    page = Page(render_page(*release))
    outside = [(where, to) for where, to in page.addresses if not to.startswith(("data:", "#"))]
    assert outside == [], "no entry of this manifest has columns, so there is no file to link to"
    css = "".join(page.styles)
    assert "url(" not in css.replace(" ", "") and "@import" not in css and "http" not in css
    assert not {"script", "iframe", "object", "embed", "base", "form", "img", "foreignobject"} & set(
        page.tags
    )


def test_policy_forbids_every_request(release):
    policy = re.search(
        r'http-equiv="Content-Security-Policy" content="([^"]*)"', render_page(*release)
    ).group(1)
    assert policy.replace("&#39;", "'") == "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def test_with_a_search_the_policy_allows_its_script_and_files_beside_the_page(release, tmp_path, settings):  # noqa: F811
    html = searchable(release, settings, tmp_path)
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', html).group(1)
    (script,) = re.findall(r"<script>(.*?)</script>", html, re.S)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policy.replace("&#39;", "'") == (
        f"default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src 'sha256-{digest}' 'self' file:"
    )
    assert "innerHTML" not in script and "http" not in script and token(6) not in html


def test_page_stays_small(release):
    assert len(render_page(*release).encode()) < 150_000


def test_a_table_with_a_row_per_customer_comes_into_the_page_only_counted():
    """The page of 5 M customers is as large as that of 300: no frame of it grows with them."""
    per_person = {
        t.key
        for t in published_tables(json.loads(ensure_manifest().read_text()))
        if "customer_key" in t.columns
    }
    drawn = per_person & PAGE_TABLES.keys()
    assert drawn and drawn <= page_facts._GROUPS.keys()


@pytest.mark.parametrize(
    "label", ["<script>alert(1)</script>", "{{ 7 * 7 }}{% raw %}", '"><img src=x onerror=1>', "a & b"]
)
def test_a_label_from_the_data_is_text(release, label):
    tables, manifest = release
    summary = tables["audiences.segment_summary"]
    for column in ("class_label_zh", "class_label_en", "recommended_action_zh", "recommended_action_en"):
        summary[column] = label
    tables["marts.channel_performance"]["channel_name"] = label
    tables["operations.row_balance"]["source"] = label
    manifest["release"] = label
    manifest["checks"] = [WARNING | {"description": label, "observed": label, "check": label, "feed": label}]
    page = Page(render_page(tables, manifest))
    assert not {"script", "img"} & set(page.tags)
    assert page.words.count(label) > 10


def test_both_languages_stand_in_the_markup(release):
    html = render_page(*release)
    zh = re.findall(r'<span lang="zh-Hans">', html)
    en = re.findall(r'<span lang="en">', html)
    assert len(zh) > 100 and len(zh) == len(en)


# what it says


def test_green_only_when_every_check_passed(release):
    tables, manifest = release
    assert 'class="quality ok"' in render_page(tables, manifest)
    manifest["checks"].append(WARNING)
    html = render_page(tables, manifest)
    assert 'class="quality warn"' in html and "freshness_8_days" in html and "an older mood" in html
    blocked = WARNING | {"level": "block", "check": "orders_present"}
    manifest["checks"].append(blocked | {"approved": "Li Wei: the stores have closed (1f)"})
    html = render_page(tables, manifest)
    assert 'class="quality warn"' in html and "Let through once" in html, "somebody answers for it"
    assert "Li Wei: the stores have closed" in html
    manifest["checks"].append(blocked)
    html = render_page(tables, manifest)
    assert 'class="quality fail"' in html and "A quality gate failed: do not use these numbers</span>" in html


def test_every_label_is_two_texts():
    """`[zh, Said: so]` without quotes is a mapping for YAML."""
    for name, words in _book().items():
        if name not in ("order", "currency"):
            assert all(len(pair) == 2 and all(isinstance(w, str) for w in pair) for pair in words.values()), (
                name
            )


def test_no_checks_is_not_green(release):
    tables, manifest = release
    manifest["checks"] = []
    html = render_page(tables, manifest)
    assert 'class="quality none"' in html and "unverified" in html


def test_a_table_that_is_not_enabled_says_so_in_words(release):
    tables, manifest = release
    name = "audiences.segment_membership"
    tables[name] = tables[name].iloc[:0]
    manifest["tables"][name]["status"] = "not_enabled"
    text = Page(render_page(tables, manifest)).text
    assert "Without consent nobody may be addressed" in text and "未经同意不得触达客户" in text


def test_tiles_equal_the_input(release):
    tables, manifest = release
    rfm = tables["segments.customer_rfm"]
    buyers = rfm[rfm["frequency_days"] > 0]
    revenue, orders = sum(buyers["monetary"]), int(buyers["orders_n"].sum())
    shown = [tile["value"] for tile in segments.tiles(Release(tables, manifest))["tiles"]]
    assert shown == [
        f"{len(rfm):,}",
        f"{len(buyers):,}",
        f"¥{revenue:,.0f}",
        f"{orders:,}",
        f"¥{revenue / orders:,.2f}",
        f"{(buyers['frequency_days'] >= 2).mean():.1%}",
        "+26.2",
    ]


def test_nps_tile_shows_interval_and_low_n_mark(release):
    tables, manifest = release
    tables["marts.nps"] = tables["marts.nps"].iloc[[1]]
    (tile,) = feedback.nps_tile(Release(tables, manifest))
    assert tile["value"] == "−8.3" and "−42.8 … +26.2" in tile["note"].en and "30" in tile["mark"].en


def test_csat_stands_with_its_interval_and_few_answers_with_none(release):
    tables, manifest = release
    row = tables["marts.csat"].iloc[0]
    few = row.to_dict() | {"scope": "few", "n": 9, "csat": 1.0}
    tables["marts.csat"] = pd.DataFrame([row.to_dict(), few, few | {"scope": "all of ten", "n": 10}])
    told = {r["scope"].en: r["interval"] for r in feedback.feedback(Release(tables, manifest))["csat"]}

    def wanted(top, n):
        found = binomtest(top, n).proportion_ci(method="wilson")
        return f"{found.low:.1%} … {found.high:.1%}"

    assert told == {"All": wanted(506, 655), "few": "", "all of ten": wanted(10, 10)}
    assert wanted(506, 655) in Page(render_page(tables, manifest)).text


def test_row_balance_is_not_rounded(release):
    text = Page(render_page(*release)).text
    assert "¥9,747,747.934" in text and "−¥896,812.49" in text


def test_amounts_of_two_currencies_are_never_added(release):
    tables, manifest = release
    balance = tables["operations.row_balance"]
    balance.loc[5, "currency"] = "USD"
    found = trust.row_balance(Release(tables, manifest))
    assert [(row["source"], row["amount"]) for row in found["sources"]] == [
        ("online_retail", "¥9,747,747.934"),
        ("store_pos · CNY", "¥812,004.15"),
        ("store_pos · USD", fmt.money_exact(Decimal("-14210"), "USD")),
    ]
    assert found["overall"] is None


def test_where_rows_ended_is_told_with_its_reasons(release):
    tables, manifest = release
    found = trust.chain(Release(tables, manifest))["rows"]
    assert [(row["feed"], row["written"], row["counts"]) for row in found] == [
        ("orders", "2,040", ["1,000", "1,033", "7"]),
        ("order_lines", "20,411", ["20,410", "1", "0"]),
    ]
    assert found[0]["why"].en == "guest 1,033 · newer version 7"
    page = render_page(tables, manifest)
    assert "访客 1,033 · 有更新版本 7" in page


def test_one_row_of_a_million_is_still_seen(release):
    for parts in ([999_999, 0, 1], [1, 1, 10**9], [0, 5, 0]):
        bars = trust.split(parts)
        assert [place for place, _, _ in bars] == [i for i, n in enumerate(parts) if n]
        assert min(width for _, _, width in bars) >= 2
        assert sum(width for _, _, width in bars) == pytest.approx(200, abs=0.05)
        assert all(a[1] + a[2] == pytest.approx(b[1], abs=0.02) for a, b in itertools.pairwise(bars))
    assert trust.split([0, 0, None]) == []


def test_reject_codes_are_told_in_words_with_records_and_files(release):
    tables, manifest = release
    found = trust.rejects(Release(tables, manifest))
    ledger = tables["operations.ingest_ledger"]
    assert [(c["code"], c["rows"], c["files"]) for c in found["codes"]] == [
        ("missing_value", str(ledger["rows_rejected"].sum()), "15"),
        ("bad_encoding", "–", "1"),
    ]
    for row in found["codes"]:
        words = load_codes()[row["code"]]
        assert (row["text"].zh, row["text"].en, row["do"].en) == (words.zh, words.en, words.do_en)
        assert html.escape(words.zh, quote=False) in html.unescape(render_page(tables, manifest))


def test_the_newest_files_with_problems_come_first(release):
    tables, manifest = release
    found = trust.rejects(Release(tables, manifest))
    days = [row["day"] for row in found["files"]]
    assert len(days) == trust.LISTED_FILES and days == sorted(days, reverse=True)
    ledger = tables["operations.ingest_ledger"]
    odd = ((ledger["status"] != "loaded") | (ledger["rows_rejected"] > 0)).sum()
    assert found["more"] == odd - trust.LISTED_FILES
    assert {row["refused"] for row in found["files"]} == {True, False}


def test_without_rejects_the_page_says_so(release):
    tables, manifest = copy.deepcopy(release)
    ledger = tables["operations.ingest_ledger"]
    tables["operations.ingest_ledger"] = ledger[ledger["status"] == "loaded"].assign(
        rows_rejected=0, reject_codes=None
    )
    assert trust.rejects(Release(tables, manifest)) == {"codes": [], "files": [], "more": 0}
    assert "没有被拒的记录或文件" in render_page(tables, manifest)


def test_classes_by_revenue_say_so(release):
    tables, manifest = release
    assert "follow net revenue" not in render_page(tables, manifest)
    tables["segments.customer_abc"]["abc_basis"] = "revenue"
    assert "No real cost is known: the classes follow net revenue." in render_page(tables, manifest)


def test_without_customer_profits_the_curve_has_three_corners_and_says_so(release):
    tables, manifest = release
    del tables["segments.customer_abc"]
    html = render_page(tables, manifest)
    line = re.search(r'class="line" points="([^"]*)"', html).group(1)
    assert len(line.split()) == 4 and "has no table segments.customer_abc" in html


def test_an_unlisted_scheme_and_class_still_appear(release):
    tables, manifest = release
    extra = (
        tables["audiences.segment_summary"].iloc[[0]].assign(scheme="custom:tea", **{"class": "tea_lovers"})
    )
    tables["audiences.segment_summary"] = pd.concat([tables["audiences.segment_summary"], extra])
    assert "custom:tea" in render_page(tables, manifest)


def test_tiles_say_what_changed_since_the_release_before(release):
    tables, manifest = release
    rfm = tables["segments.customer_rfm"]
    buyers = rfm[rfm["frequency_days"] > 0]
    manifest["before"] = {
        "release": "2026-03-31",
        "as_of_date": "2026-03-31",
        "customers": str(len(rfm) * 2),
        "buyers": str(len(buyers)),
        "revenue": str(sum(buyers["monetary"]) / 2),
        "orders": str(buyers["orders_n"].sum()),
        "repeat": "0",
    }
    told = {
        t["label"].en: t["change"] and t["change"].en
        for t in segments.tiles(Release(tables, manifest))["tiles"]
    }
    assert told["Customers"] == "−50.0% against 2026-03-31" and told["Average order value"].startswith(
        "+100.0%"
    )
    assert told["Repeat buyers"].startswith(f"+{(buyers['frequency_days'] >= 2).mean() * 100:.1f} points")
    assert all(t["change"] is None for t in segments.tiles(Release(*company()))["tiles"]), (
        "the first has none"
    )


def test_a_segment_tells_its_week_its_recency_and_whom_it_reaches(release):
    tables, manifest = release
    tables[CLASS_FACTS] = pd.DataFrame(
        [("rfm", "champions", 400, 12.0, 0.625), ("rfm", "loyal", 9, 77.0, 0.111)],
        columns=["scheme", "class", "customers", "median_recency", "reachable"],
    )
    blocks = segments.segments(Release(tables, manifest))["schemes"]
    rows = {row["code"]: row for row in next(b for b in blocks if b["scheme"] == "rfm")["rows"]}
    champions, loyal = rows["champions"], rows["loyal"]
    # Eight days ago there were 24 fewer; the line has a point for each of five days.
    assert champions["change"] == "+24" and len(champions["trend"].split()) == 5
    assert (champions["recency"], champions["reachable"]) == ("12", "62.5%")
    assert (loyal["recency"], loyal["reachable"]) == ("–", "–"), "of fewer than k people nothing is told"
    assert rows["cant_lose"]["change"] == "–", "a week ago there were fewer than k"


def test_moves_stand_with_their_causes_and_few_people_are_not_counted(release):
    tables, manifest = release
    (block,) = movement.movement(Release(tables, manifest))["blocks"]
    cells = {
        (row["label"].en, to.en): cell["text"]
        for row in block["rows"]
        for to, cell in zip(block["targets"], row["cells"], strict=True)
        if cell["text"]
    }
    assert cells == {
        ("loyal", "champions"): "31",
        ("champions", "loyal"): "14",
        ("Entered", "new"): "<10",
        ("new", "Left"): "≥10",  # a lone masked one could be worked out from a sum
    }
    causes = {c["label"].en: c["customers"] for c in block["causes"]}
    assert causes == {
        "Own order": "25",
        "Time passed": "14",
        "Cut points moved": "<10",
        "Entered": "<10",
        "Left": "12",
    }
    stages = movement.flow(Release(tables, manifest))
    assert stages["month"] == "2026-04" and "77" not in {
        c["text"] for r in stages["rows"] for c in r["cells"]
    }


def test_what_is_short_comes_first_and_the_verdict_has_its_reason(release):
    text = Page(render_page(*release)).text
    shown = text[text.index("Is there enough data") :][:1200]
    assert "1 not met" in shown and "The formula is used" in shown and "Fixed cut-offs hold" not in shown
    assert shown.index("Days of history") < shown.index("Buyers") < shown.index("not better by 5 %")
    assert "模型没有好过5 %" in shown and shown.count("of an earlier version") in (1, 2)


def test_who_came_back_is_shaded_with_its_numbers_and_hidden_where_few(release):
    shown = retention.retention(Release(*release))
    cells = {row["month"]: [(c["text"], c["n"], c["step"]) for c in row["cells"]] for row in shown["rows"]}
    assert cells == {
        "2025-12": [("25.0%", "100", 6), ("15.0%", "60", 4), ("<10", "", 0)],
        "2026-01": [("∗", "", 0), ("∗", "", 0), ("", "", 0)],
        "2026-02": [("10.0%", "20", 3), ("", "", 0), ("", "", 0)],
    }
    assert [row["customers"] for row in shown["rows"]] == ["400", "∗", "200"]
    # 120 of 600 and 60 of 400: cohorts whose cell is hidden count on neither side.
    assert shown["overall"] == ["20.0%", "15.0%", "–"]
    assert shown["rows"][0]["cells"][1]["rates"] == "15.3% · 90.0%", "of the 360 active: 55 again, 36 lost"
    page = Page(render_page(*release)).text
    assert "2025-12 †" in page and "the data begin in this month" in page and "谁回来了" in page


def test_before_any_month_has_passed_the_page_says_so(release):
    tables, manifest = release
    frame = tables["marts.retention_cohort"]
    tables["marts.retention_cohort"] = frame[~frame["is_complete"] & ~frame["is_suppressed"]]
    assert "No month has passed" in render_page(tables, manifest)


# heat map and suppression


def test_heat_map_cells_add_up_to_the_scored_customers(release):
    tables, manifest = release
    manifest["k_anon_min"] = 1
    scored = int(tables["segments.customer_rfm"]["r_score"].notna().sum())
    cells = heat_cells(html := render_page(tables, manifest))
    assert len(cells) == 25 and sum(int(cell.replace(",", "")) for cell in cells) == scored
    assert f"{scored:,} customers who bought in the window" in html


def test_heat_map_cell_equals_the_input(release):
    tables, manifest = release
    rfm = tables["segments.customer_rfm"]
    heat = distribution.heat_map(Release(tables, manifest | {"k_anon_min": 1}))
    shown = {(row["r"], c["f"]): c["text"] for row in heat["rows"] for c in row["cells"]}
    for (r, f), text in shown.items():
        assert text == f"{int(((rfm['r_score'] == r) & (rfm['f_score'] == f)).sum()):,}"


def scored(cells: dict[tuple[int, int], int]) -> pd.DataFrame:
    rows = [(r, f, grid(r, f)) for (r, f), n in cells.items() for _ in range(n)]
    return pd.DataFrame(rows, columns=["r_score", "f_score", "rfm_segment"])


def test_a_lone_small_cell_takes_a_second_one_with_it(release):
    _, manifest = release
    rfm = scored({(5, 4): 40, (5, 5): 7, (1, 1): 30, (1, 2): 25, (2, 1): 50})
    rows = distribution.heat_map(Release({"segments.customer_rfm": rfm}, manifest))["rows"]
    text = {(row["r"], c["f"]): c["text"] for row in rows for c in row["cells"]}
    assert text[5, 5] == "<10" and text[5, 4] == "≥10"  # champions total minus 40 would have told the 7
    assert text[1, 1] == "30" and text[3, 3] == "0"


@pytest.mark.parametrize("change", [{"is_suppressed": True}, {"customers": None}, {"customers": 4}])
def test_suppressed_class_shows_no_figure(release, change):
    tables, manifest = release
    summary = tables["audiences.segment_summary"].astype({"customers": object, "revenue": object})
    place = summary.index[(summary["scheme"] == "rfm") & (summary["class"] == "cant_lose")][0]
    for column, value in ({"revenue": Decimal("31337"), "repurchase_rate": 0.31337} | change).items():
        summary.at[place, column] = value
    tables["audiences.segment_summary"] = summary
    html = render_page(tables, manifest)
    rows = re.findall(r"<tr class=\"masked\">.*?</tr>", html, re.S)
    (row,) = [row for row in rows if "&lt;10" in row]
    assert "Can&#39;t lose" in row
    assert sum("≥10" in row for row in rows) == len(rows) - 1 == 1  # a lone one could be subtracted
    assert "31,337" not in html and "31.3%" not in row


def test_a_small_class_is_not_told_by_the_sentence_the_gini_or_the_curve_either(release):
    tables, manifest = copy.deepcopy(release)
    seen = distribution.pareto_table(Release(tables, manifest))
    assert seen["finding"] and seen["gini"] and len(seen["corners"]) == 4
    check = tables["segments.pareto_check"]
    check.loc[check["abc_class"] == "A", "customers"] = 3
    hidden = distribution.pareto_table(Release(tables, manifest))
    assert (hidden["finding"], hidden["gini"], hidden["corners"]) == (None, None, [])


def test_small_survey_shows_no_score(release):
    text = Page(render_page(*release)).text
    assert "+83.3" not in text and "dealers <10" in text


# missing and empty


# Tells how long the windows are, and nothing of its own.
_WORDS = {"segments.class_bounds"}


@pytest.mark.parametrize("name", sorted(set(PAGE_TABLES) - _WORDS))
def test_a_missing_or_empty_table_leaves_a_reason(release, name):
    tables, manifest = release
    without = {other: frame for other, frame in tables.items() if other != name}
    assert f"has no table {name}" in render_page(without, manifest)
    assert f"{name} has no rows" in render_page(tables | {name: tables[name].iloc[:0]}, manifest)
    assert f"{name} has no rows" in render_page(tables | {name: pd.DataFrame()}, manifest)


@pytest.mark.parametrize("name", sorted(set(PAGE_TABLES) - {"audiences.segment_membership"} - _WORDS))
def test_a_table_without_its_columns_leaves_a_reason(release, name):
    tables, manifest = release
    assert f"{name} lacks the column" in render_page(tables | {name: pd.DataFrame({"x": [1]})}, manifest)


def test_labels_tell_the_windows_of_the_policy(release):
    tables, manifest = release
    bounds = pd.DataFrame(
        {
            "as_of_date": ["2026-03-31", "2026-04-01"],
            "rfm_window_days": [365, 180],
            "abc_window_days": [365, 400],
        }
    )
    text = Page(render_page(tables | {"segments.class_bounds": bounds}, manifest)).text
    for part in (
        "近 180 天购买客户",
        "Buyers, 180 d",
        "Net revenue, 180 d",
        "按近 400 天利润",
        "Ranked by profit, 400 d",
    ):
        assert part in text, part
    for unknown in (None, bounds.iloc[:1], bounds.drop(columns="rfm_window_days")):
        without = {name: frame for name, frame in tables.items() if name not in _WORDS}
        text = Page(
            render_page(without | ({} if unknown is None else {"segments.class_bounds": unknown}), manifest)
        ).text
        assert "窗口内购买客户" in text and "Buyers, in the window" in text


def test_channels_tell_the_days_of_the_policy(release):
    tables, manifest = release
    long = Page(render_page(tables, manifest | {"channel_window_days": 1095})).text
    assert "截至基准日前一天的 1095 天" in long and "The 1095 days up to" in long and "365 天" not in long
    none = tables | {
        "marts.channel_performance": tables["marts.channel_performance"].assign(date=date(2020, 1, 1))
    }
    text = Page(render_page(none, manifest | {"channel_window_days": 90})).text
    assert "基准日前 90 天内没有渠道数据" in text and "no channel figures in the 90 days" in text


def test_nothing_at_all_is_still_a_page():
    html = render_page({}, {"release": "r", "as_of_date": "2026-04-01"})
    assert html.count('class="gap"') >= 10


def test_all_null_measures_do_not_break_the_page(release):
    tables, manifest = release
    for name, column in [
        ("segments.customer_abc", "profit_365"),
        ("segments.customer_rfm", "monetary"),
        ("segments.customer_rfm", "r_score"),
        ("marts.channel_performance", "cost"),
    ]:
        tables[name][column] = None
    text = Page(render_page(tables, manifest)).text
    assert "no positive profit" in text and "Nobody bought in the window" in text


# formats and curves


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (fmt.count(1234567), "1,234,567"),
        (fmt.count(float("nan")), "–"),
        (fmt.count(pd.NA), "–"),
        (fmt.percent(0.12345), "12.3%"),
        (fmt.percent(0.0001), "<0.1%"),
        (fmt.percent(0), "0.0%"),
        (fmt.percent(1), "100.0%"),
        (fmt.signed(12.34), "+12.3"),
        (fmt.signed(-5), "−5.0"),
        (fmt.signed(0.01), "0.0"),
        (fmt.signed(-0.01), "0.0"),
        (fmt.money(Decimal("-1234.5"), "GBP"), "−£1,234.50"),
        (fmt.money(1234.5, "JPY"), "JP¥1,235"),
        (fmt.money(1, "XTS"), "XTS\u00a01.00"),
        (fmt.money_exact(Decimal("9747747.9340"), "GBP"), "£9,747,747.934"),
        (fmt.money_exact(Decimal("1000.0000"), "CNY"), "¥1,000.00"),
    ],
)
def test_number_formats(shown, expected):
    assert shown == expected


def test_no_step_of_the_curve_is_of_fewer_than_k_customers():
    curve = charts.cumulative_curve(steps([float(v) for v in range(45)]))
    assert [round(x * 45) for x, _ in curve] == [0, 10, 20, 30, 45]
    assert curve[-1] == (1.0, 1.0)
    for n in (10, 11, 19, 20, 61, 599, 601, 12_345):
        found = steps([float(v) for v in range(n)])
        assert found["customers"].sum() == n and found["customers"].min() >= 10 and len(found) <= 60
    assert charts.cumulative_curve(steps([1.0] * 9)) == []


def test_curve_falls_where_customers_cost_money():
    curve = charts.cumulative_curve(steps([60.0, 40.0, -30.0, None], k=1))
    assert [round(y, 3) for _, y in curve] == [0.0, 0.6, 1.0, 0.7]
    assert charts.cumulative_curve(steps([-1.0, 0.0], k=1)) == []


def test_the_page_of_groups_is_that_of_their_customers(release):
    """The publisher hands over a row per group where a table has one per customer; the page is the same."""
    tables, manifest = release
    told = dict(tables)
    with duck.connect([]) as con:
        for key in page_facts._GROUPS:
            con.register("one", tables[key])
            told[key] = page_facts.grouped(con, "one", key)
            con.unregister("one")
        con.register("abc", tables["segments.customer_abc"])
        told[PROFIT_STEPS] = page_facts.profit_steps(con, "abc", 10)
    assert max(len(told[key]) for key in page_facts._GROUPS) < 200
    assert report.render_page(told, manifest) == render_page(tables, manifest)


# in a real browser


def searchable(release: tuple, made: Settings, folder: Path) -> str:
    """A page with the files of its customers beside it."""
    tables, manifest = release
    manifest["customers"] = customers.write(made, candidate(folder))
    html = render_page(tables, manifest)
    (folder / "index.html").write_text(html, "utf-8")
    return html


def open_in_chromium(file: Path | str, scratch: Path, at: str = "") -> tuple[str, list[str]]:
    """(DOM after rendering, addresses that the page asked for) of a file, or of an address on 127.0.0.1.

    The browser's own errands (clock, updates) also show in its network log; they have no page as initiator.
    """
    scratch.mkdir()
    log = scratch / "net.json"
    done = subprocess.run(
        [
            program(),
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--disable-extensions",
            "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
            f"--user-data-dir={scratch / 'profile'}",
            f"--log-net-log={log}",
            "--virtual-time-budget=20000",
            "--dump-dom",
            f"{file if isinstance(file, str) else file.as_uri()}{at}",
        ],
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=120,
        check=True,
    )
    events = json.loads(log.read_text(encoding="utf-8"))["events"]
    requests = [event["params"] for event in events if {"url", "initiator"} <= set(event.get("params", {}))]
    return done.stdout, [request["url"] for request in requests if request["initiator"] != "not an origin"]


@pytest.mark.browser
def test_opened_from_a_file_it_reads_in_both_languages_and_asks_nobody(release, tmp_path, settings):  # noqa: F811
    outside = ["http://outside.invalid/pixel.png", "https://fonts.invalid/font.css"]
    control = tmp_path / "control.html"
    control.write_text(
        f'<!doctype html><img src="{outside[0]}"><link rel="stylesheet" href="{outside[1]}">', "utf-8"
    )
    assert sorted(open_in_chromium(control, tmp_path / "control")[1]) == outside, (
        "a request must show when there is one"
    )

    # With the search: from a file, with a customer who may be shown.
    html = searchable(release, settings, tmp_path / "release")
    page = tmp_path / "release" / "index.html"
    dom, asked = open_in_chromium(page, tmp_path / "page", f"#customer={token(6)}")
    assert asked == []
    answer = dom[dom.index('id="answer"') :]
    answer = Page(answer[: answer.index("</section>")]).text
    said = "Days since the last purchase: 12, purchase days: 3, net spend 99.50; scores R4 F2 M3, class HLL"
    assert said in answer
    assert "忠诚客户" in answer and "PROFIT" not in answer
    assert "06ab…abab" in answer and token(6) not in dom, "ids are masked"
    text = Page(dom).text
    for words in (
        "客户分层报告",
        "Customer segment report",
        "近度 × 频度",
        "Recency × frequency",
        "重要价值客户",
        "Champions",
    ):
        assert words in text

    # The policy of the page stops what slips in: the same two requests, planted in the page, are never sent.
    planted = html.replace(
        "<main>", f'<main><img src="{outside[0]}"><link rel="stylesheet" href="{outside[1]}">'
    )
    planted = planted.replace("</body>", f'<script src="{outside[0]}"></script></body>')
    page.write_text(planted, "utf-8")
    # Nobody of this token may be shown: her file is asked for, and says so.
    dom, asked = open_in_chromium(page, tmp_path / "planted", f"#customer={token(7)}")
    assert asked == [] and "shows nobody of this token" in dom


@pytest.mark.browser
def test_opened_from_a_server_it_asks_for_its_own_files_alone(release, tmp_path, settings):  # noqa: F811
    searchable(release, settings, tmp_path / "release")
    files = partial(SimpleHTTPRequestHandler, directory=str(tmp_path / "release"))
    with ThreadingHTTPServer(("127.0.0.1", 0), files) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        origin = f"http://127.0.0.1:{server.server_port}"
        dom, asked = open_in_chromium(f"{origin}/index.html", tmp_path / "page", f"#customer={token(6)}")
        server.shutdown()
    assert {address.removeprefix(origin) for address in asked} == {"/customers/0.js", "/customers/words.js"}
    answer = dom[dom.index('id="answer"') :]
    assert "Days since the last purchase: 12" in Page(answer[: answer.index("</section>")]).text
