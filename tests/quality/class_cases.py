"""Planted defects of the checks on classes and on the policy behind them. Clean are the project's own seeds.

One list per check: (test, clean tables, what a defect replaces of them, what the offending row says, name).
"""

import csv
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from decimal import Decimal
from typing import Any

from pipeline.transform.context import POLICY_DIR

Row = dict[str, Any]
Rows = Sequence[Mapping[str, Any]]
_NUMBERS = {
    "priority", "priority_from", "priority_to", "sort", "hour_from", "hour_to", "lines_min", "times_min",
}  # fmt: skip
_KINDS: dict[str, Callable[[str], Any]] = {
    **dict.fromkeys(_NUMBERS, int),
    "pricing_use_allowed": lambda text: text == "true",
    "share_min": Decimal,
    "valid_from": date.fromisoformat,
}


def _seed(name: str) -> list[Row]:
    with (POLICY_DIR / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        return [
            {column: _KINDS.get(column, str)(value) if value else None for column, value in row.items()}
            for row in csv.DictReader(file)
        ]


SEEDS = {
    f"policy.{name}": _seed(name)
    for name in (
        *("segment_labels", "playbook", "rfm_grids", "rfm_preset_segments", "class_reasons", "action_steps"),
        "class_conflicts",
    )
}
SCENES, FIELDS = _seed("life_scenes"), _seed("profile_fields")


def _where(rows: Rows, at: Mapping[str, Any], **values: Any) -> list[Row]:
    """The rows with other values where they have those of `at`."""
    found = [dict(row) | (values if at.items() <= row.items() else {}) for row in rows]
    assert found != [dict(row) for row in rows], f"no row has {at}"
    return found


def _without(rows: Rows, **at: Any) -> list[Row]:
    left = [dict(row) for row in rows if not at.items() <= row.items()]
    assert len(left) < len(rows), f"no row has {at}"
    return left


def _class(table: str, rows: Rows, says: Row, name: str, **more: Rows) -> tuple[str, Any, Any, Any, str]:
    planted = {f"policy.{seed}": found for seed, found in {table: rows, **more}.items()}
    return "every_class_has_label_and_action", SEEDS, planted, says, name


_LABELS, _PLAYBOOK = SEEDS["policy.segment_labels"], SEEDS["policy.playbook"]
_NEW, _CHURNED = {"scheme": "rfm", "class": "new"}, {"scheme": "lifecycle", "class": "churned"}
_LION = {"scheme": "horoscope", "class": "lion"}
_NO_LABEL = "label is empty, repeated or longer than 10 characters"
_LABELLED = (
    _class("playbook", _without(_PLAYBOOK, **_CHURNED), _CHURNED | {"problem": "has not exactly one action"}, "no action"),
    # Of no step, so that the two do not lie in two steps as well.
    _class("playbook", [*_PLAYBOOK, {**_PLAYBOOK[-1], **_CHURNED, "priority": 10_000}],
           _CHURNED | {"problem": "has not exactly one action"}, "two actions"),
    _class("playbook", _where(_PLAYBOOK, _NEW, pricing_use_allowed=True), _NEW | {"problem": "price by class"}, "a price by class"),
    _class("playbook", _where(_PLAYBOOK, _NEW, priority=10_000), _NEW | {"problem": "its priority lies in 0 steps"}, "no step"),
    _class("playbook", _without(_PLAYBOOK, scheme="case", **{"class": "no_consent"}),
           {"class": "no_consent", "problem": "what to do then is not in the playbook"}, "no case"),
    _class("segment_labels", _where(_LABELS, _NEW, label_zh="十一个字的标签太长了呀"), _NEW | {"problem": _NO_LABEL}, "too long"),
    _class("segment_labels", _where(_LABELS, _NEW, label_zh=None), _NEW | {"problem": _NO_LABEL}, "empty"),
    _class("segment_labels", [*_LABELS, {**_LABELS[0], **_LION}],
           {"scheme": "horoscope", "problem": "has no column in customer_360 (macros/policy/classes.sql)"},
           "a scheme that nothing computes", playbook=[*_PLAYBOOK, {**_PLAYBOOK[-1], **_LION}]),
    _class("rfm_grids", _where(SEEDS["policy.rfm_grids"], {"preset": "rf25", "rfm_segment": "new"}, rfm_segment="newest"),
           {"scheme": "rf25", "class": "newest", "problem": "segment has no label"}, "a segment of the job"),
    _class("rfm_preset_segments", _without(SEEDS["policy.rfm_preset_segments"], preset="cn_8", rfm_segment="LLL"),
           {"scheme": "cn_8", "class": "LLL", "problem": "segment has no label"}, "a segment of a preset"),
    _class("class_reasons", _where(SEEDS["policy.class_reasons"], {"scheme": "rfm", "reason_code": "lapsed"}, template_en="{6} days"),
           {"scheme": "rfm", "class": "lapsed", "problem": "its sentence has another mark than {1} to {5}"}, "a mark"),
    _class("class_conflicts", _where(SEEDS["policy.class_conflicts"], {"conflict": "best_but_leaving"}, classes_2="declining|gone"),
           {"scheme": "lifecycle", "problem": "conflict best_but_leaving names a class that does not exist"}, "a conflict"),
)  # fmt: skip

_REASON = {
    "class": "new", "reason_code": "scored", "value_1": "3", "value_2": None, "value_3": None, "value_4": None,
    "value_5": None,
}  # fmt: skip
_CLASSED = [
    {"customer_key": f"k{n}", "scheme": scheme, **_REASON} for scheme in ("rfm", "abc") for n in range(3)
]
ONE_EACH = {
    "intermediate.int_class_reasons": _CLASSED,
    "intermediate.int_segment_labels": [
        {"scheme": scheme, "class": name} for scheme in ("rfm", "abc") for name in ("new", "old")
    ],
    "intermediate.int_class_templates": [
        {
            "scheme": scheme,
            "reason_code": "scored",
            "template_zh": "距今{1}天",
            "template_en": "{1} days ago",
        }
        for scheme in ("rfm", "abc")
    ],
    "core.dim_customers": [{"customer_key": f"k{n}"} for n in range(4)],
    "intermediate.int_persons_excluded": [{"customer_key": "k3"}],
}


def _one_each(rows: Rows, says: Row, name: str) -> tuple[str, Any, Any, Any, str]:
    counts = {"scheme": "rfm", "rows_n": 3, "labelled_n": 3, "told_n": 3, "customers_n": 3} | says
    planted = {"intermediate.int_class_reasons": rows}
    return "every_customer_has_one_class_per_scheme", ONE_EACH, planted, counts, name


_AT = {"customer_key": "k1", "scheme": "rfm"}
_COUNTED = (
    _one_each(_without(_CLASSED, **_AT), {"rows_n": 2, "labelled_n": 2, "told_n": 2}, "nobody's class"),
    _one_each([*_CLASSED, {**_CLASSED[0], "class": "old"}], {"rows_n": 4, "labelled_n": 4, "told_n": 4}, "two classes"),
    _one_each(_where(_CLASSED, _AT, **{"class": "newest"}), {"labelled_n": 2}, "a class that no label names"),
    _one_each(_where(_CLASSED, _AT, **{"class": None}), {"labelled_n": 2}, "no class"),
    _one_each(_where(_CLASSED, _AT, reason_code="because"), {"told_n": 2}, "a reason without a sentence"),
    _one_each(_where(_CLASSED, _AT, value_1=None), {"told_n": 0}, "a sentence without its figure"),
    _one_each(_without(_CLASSED, scheme="rfm"), {"rows_n": 0, "labelled_n": 0, "told_n": 0}, "a scheme that nobody is in"),
)  # fmt: skip

_SCORED = [
    {"recency_days": r, "frequency_days": f, "monetary": Decimal(m), "r_score": 5 - r, "f_score": f, "m_score": m}
    for r, f, m in ((1, 2, 3), (1, 2, 3), (2, 1, 4))
]  # fmt: skip
_RANKED = [
    {"profit_365": Decimal(p), "abc_class": name, "abc_cum_class": name}
    for p, name in ((9, "A"), (5, "B"), (5, "B"), (1, "C"))
]
EQUALS = {
    # Who did not buy in the window has no score, and no profit makes two classes of nobody.
    "segments.customer_rfm": [*_SCORED, {**_SCORED[0], "r_score": None, "f_score": None, "m_score": None}],
    "segments.customer_abc": [*_RANKED, {**_RANKED[1], "abc_class": "no_purchase_in_window"}],
}
_EQUAL = tuple(
    ("equal_values_have_equal_classes", EQUALS, {table: [{**rows[0], **other}, *rows[1:]] if at == 0 else
     [*rows[:at], {**rows[at], **other}, *rows[at + 1:]]}, {"measure": measure}, f"{measure} {column}")
    for table, at, column, value, measure in (
        ("segments.customer_rfm", 0, "r_score", 1, "recency"),
        ("segments.customer_rfm", 0, "f_score", 5, "frequency"),
        ("segments.customer_rfm", 0, "m_score", 5, "monetary"),
        ("segments.customer_abc", 1, "abc_class", "A", "profit"),
        ("segments.customer_abc", 1, "abc_cum_class", "C", "profit"),
    )
    for rows, other in ((EQUALS[table], {column: value}),)
)  # fmt: skip

_ORDER = {
    "source": "shop", "currency": "CNY", "exchange_rate": Decimal(1), "status": "paid", "is_test": False,
    "paid_date": date(2024, 4, 20), "sale_amount": Decimal("100"),
}  # fmt: skip
_RETURN = {
    "source": "shop", "currency": "CNY", "exchange_rate": Decimal(1), "return_date": date(2024, 4, 20),
    "refund_amount": Decimal("40"),
}  # fmt: skip
_ADVERTISED = {
    "source": "ads", "currency": "CNY", "exchange_rate": Decimal(1), "spend_date": date(2024, 4, 20), "spend": Decimal(9),
}  # fmt: skip
_UNRATED: Row = {"currency": "USD", "exchange_rate": None}
# What is cancelled, a test, or paid on D is no revenue in any currency; dollars that have their rate are.
_NO_REVENUE = [
    {**_ORDER, **_UNRATED, **other}
    for other in ({"status": "cancelled"}, {"is_test": True}, {"paid_date": date(2024, 5, 7)})
]
_RATED = [_ORDER] * 399 + [{**_ORDER, "currency": "USD", "exchange_rate": Decimal("7.1")}]
_POLICY = {
    "as_of_date": date(2024, 5, 7), "unrated_start": date(2024, 4, 7),
    "rfm_window_start": date(2023, 5, 8), "unrated_share_max": Decimal("0.01"), "unrated_rows_min": 5,
}  # fmt: skip
RATED = {
    "intermediate.int_run_policy": [_POLICY],
    "core.fct_orders": [*_RATED, *_NO_REVENUE * 6],
    "core.fct_returns": [_RETURN] * 20,
    "intermediate.int_ad_spend": [_ADVERTISED],
}
# Five rows never stop a source, however small it is, nor does a hundredth of the rows.
TOLD = {
    **RATED,
    "core.fct_orders": [*_RATED, *[{**_ORDER, **_UNRATED}] * 4],
    "core.fct_returns": [*[_RETURN] * 5, *[{**_RETURN, **_UNRATED}] * 5],
}
_FOREIGN = (
    ("currencies_have_their_rate", RATED, {
        "core.fct_orders": [_ORDER, {**_ORDER, **_UNRATED}, {**_ORDER, **_UNRATED, "paid_date": date(2022, 1, 1)}],
    }, {
        "source": "shop", "feed": "orders", "currency": "USD", "rows_n": 2, "amount": Decimal(200),
        "first_day": date(2022, 1, 1), "last_day": date(2024, 4, 20),
    }, "an order"),
    ("currencies_have_their_rate", RATED, {
        "intermediate.int_ad_spend": [_ADVERTISED, {**_ADVERTISED, **_UNRATED}],
    }, {"feed": "ad_spend", "currency": "USD", "rows_n": 1, "amount": Decimal(9)}, "an advertisement"),
    ("currencies_have_their_rate", RATED, {
        "core.fct_returns": [_RETURN, {**_RETURN, **_UNRATED}],
    }, {"feed": "returns", "currency": "USD", "rows_n": 1, "amount": Decimal(40)}, "a return"),
    ("currencies_have_their_rate", RATED, {
        "core.fct_orders": [_ORDER, {**_ORDER, **_UNRATED, "currency": None}],
    }, {"currency": None, "rows_n": 1}, "a currency that nobody states"),
    ("few_rows_lack_their_rate", TOLD, {
        # Half a day of a month of twenty orders a day, beside a good year.
        "core.fct_orders": [
            *[{**_ORDER, "paid_date": date(2023, 6, 1)}] * 2000, *[_ORDER] * 590, *[{**_ORDER, **_UNRATED}] * 10,
        ],
    }, {"feed": "orders", "recent_unrated_n": 10, "recent_n": 600, "in_window_n": 2600}, "half a day"),
    ("few_rows_lack_their_rate", TOLD, {
        "core.fct_orders": [
            *[_ORDER] * 500, *[{**_ORDER, **_UNRATED, "paid_date": date(2023, 6, 1)}] * 6,
        ],
    }, {"feed": "orders", "recent_unrated_n": 0, "in_window_unrated_n": 6, "in_window_n": 506}, "long ago"),
    ("few_rows_lack_their_rate", TOLD, {
        "core.fct_returns": [_RETURN] * 6 + [{**_RETURN, **_UNRATED}] * 6,
    }, {"feed": "returns", "currency": "USD", "recent_unrated_n": 6, "recent_n": 12}, "returns"),
)  # fmt: skip


def _sound(table: str, clean: Rows, *planted: tuple[Rows, str]) -> tuple[tuple[str, Any, Any, Any, str], ...]:
    name = f"policy.{table}"
    return tuple(
        (f"{table}_are_sound", {name: clean}, {name: rows}, {"rule": rule}, rule) for rows, rule in planted
    )


def _windows(days: int) -> dict[str, Rows]:
    """A policy that counts 1,095 days and looks at what was bought in `days`."""
    policy = {
        "as_of_date": date(2024, 5, 7),
        "lifecycle_year_window_days": 1095,
        "behaviour_window_days": days,
    }
    return {"intermediate.int_run_policy": [policy]}


_LUNCH, _PET = {"scene": "weekday_lunch"}, {"scene": "pet_at_home", "category": "pets"}
_SEEDS = (
    *_sound("life_scenes", SCENES,
        ([*SCENES, SCENES[0]], "scene, category, valid_from is not unique"),
        (_where(SCENES, _LUNCH, weekdays="monday"), "weekdays has another value"),
        (_where(SCENES, _LUNCH, hour_to=24), "hours are of a day does not hold"),
        (_where(SCENES, _LUNCH, hour_from=14), "hours are of a day does not hold"),
        (_where(SCENES, _PET, hour_to=12), "a scene of a category is told by days alone does not hold"),
        (_where(SCENES, _PET, times_min=1), "a scene takes more than once does not hold"),
        (_where(SCENES, _PET, share_min=Decimal("1.5")), "a scene takes more than once does not hold"),
    ),
    *_sound("profile_fields", FIELDS,
        ([*FIELDS, FIELDS[0]], "party_type, field, valid_from is not unique"),
        (_where(FIELDS, {"field": "age"}, field="shoe_size"), "the field is known does not hold"),
    ),
    ("policy_windows_agree", _windows(1095), _windows(365),
     {"rule": "purchase days and what was bought on them have one window does not hold"}, ""),
)  # fmt: skip

CASES = (*_LABELLED, *_COUNTED, *_EQUAL, *_FOREIGN, *_SEEDS)
