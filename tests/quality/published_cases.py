"""Planted defects of the checks on tables that leave: soundness of classes, profiles and pressure, and small groups.

One list per check: (what is planted: table → rows, what the offending row says). The clean tables stand before it.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

Rows = Sequence[Mapping[str, Any]]
D = date(2024, 5, 7)
_CLASSES = [
    "rfm",
    "abc",
    "value",
    "lifecycle",
    "loyalty",
    "behaviour",
    "frequency",
    "power",
    "income",
    "channel",
    "need",
    "motive",
    "willingness",
    "demographics",
    "household",
    "price_sensitivity",
    "affinity",
    "clv",
]
_PERSON = {
    "customer_key": "k{i}",
    "as_of_date": D,
    **{f"{name}_class": "x" for name in _CLASSES},
    "action_step": "rfm",
    "action_zh": "回访",
    "action_en": "Call",
    "service_level": "standard",
    "has_marketing": True,
    "has_profiling": True,
    "open_complaints_n": 0,
}
_PRESSURE = {"customer_key": "k{i}", "as_of_date": D, "is_capped": False, "suppress_until": None}
_CAPPED = {**_PRESSURE, "is_capped": True, "suppress_until": D}
_CELL = {
    "segment": "s{i}",
    "as_of_date": D,
    "is_suppressed": False,
    "customers": 10,
    "revenue": Decimal("100"),
    "profit": Decimal("10"),
    "share": 0.5,
    "top_attributes": "channel app 60 %",
    "label_zh": "某群",
    "label_en": "A group",
    "coverage": 0.5,
}
_HIDDEN = dict.fromkeys(("customers", "revenue", "profit", "share", "top_attributes", "coverage"))
_CUSTOM = {**_CELL, "class": "member", "rule": "rfm = new", "owner": "ann", "purpose": "welcome"}
_PERSONA = {
    "scheme": "rfm",
    "class": "new",
    "field": "channel",
    "place": 1,
    "as_of_date": D,
    "customers": 10,
    "segment_customers": 20,
    "share": 0.5,
    "coverage": 1.0,
}
_CLASS = {
    "scheme": "rfm",
    "class": "c{i}",
    "share": 0.5,
    "revenue_share": 0.5,
    "repurchase_rate": 1.0,
    "customers": 10,
    "is_suppressed": False,
}


def _rows(n: int, row: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [{k: v.format(i=i) if isinstance(v, str) else v for k, v in row.items()} for i in range(n)]


def _but(rows: Rows, **values: Any) -> list[dict[str, Any]]:
    """The rows with other values in the first one."""
    return [{**row, **(values if i == 0 else {})} for i, row in enumerate(rows)]


PERSONS = _rows(3, _PERSON)
PRESSED = [*_rows(2, _PRESSURE), {**_CAPPED, "customer_key": "capped"}]
CELLS = [*_rows(2, _CELL), {**_CELL, **_HIDDEN, "segment": "hidden", "is_suppressed": True}]
CUSTOM = [*_rows(2, _CUSTOM), {**_CUSTOM, **_HIDDEN, "segment": "hidden", "is_suppressed": True}]
PERSONAS = [_PERSONA, {**_PERSONA, "place": 2}]
PROFILES = {
    "segments.market_segment": CELLS,
    "segments.behaviour_segment": CELLS,
    "segments.custom_segment": CUSTOM,
    "segments.persona": PERSONAS,
    # Of the second few people are known, and nothing is told.
    "segments.class_group_bounds": [
        {"as_of_date": D, "scheme": "affinity", "group_name": "tea", "bound": 0.5},
        {"as_of_date": D, "scheme": "affinity", "group_name": "rice", "bound": None},
    ],
    "intermediate.int_group_bounds": [
        {"scheme": "affinity", "group_name": "tea", "people_n": 10},
        {"scheme": "affinity", "group_name": "rice", "people_n": 9},
    ],
}
FIGURES = {
    "audiences.segment_summary": [
        *_rows(2, _CLASS),
        # Where a class is hidden, the shown ones do not add up, and that is right.
        {**_CLASS, "scheme": "abc", "class": "A"},
        {**_CLASS, "scheme": "abc", "class": "B", "customers": None, "is_suppressed": True},
    ],
    "audiences.segment_coverage": [
        {"population_group": "under_14", "is_excluded": True, "customers": 10},
        {"population_group": "restricted", "is_excluded": True, "customers": None},
        {"population_group": "classified", "is_excluded": False, "customers": 9},
    ],
    "marts.nps": [{"survey_id": "s", "nps": 100.0, "lo": -100.0, "hi": 100.0}],
    "marts.csat": [{"survey_id": "s", "top2_share": 1.0, "response_rate": 0.0}],
    "marts.retention_cohort": [
        {"cohort_month": date(2024, 1, 1), "customers": 10, "buyers": 10, "active": 10}
    ],
    "segments.pareto_check": [{"customer_share": 0.5, "positive_profit_share": 0.5}] * 2,
}
SUMMARY = FIGURES["audiences.segment_summary"]


def _sound(table: str, clean: Rows, *planted: tuple[Rows, str]) -> Iterator[tuple[str, Any, Any, Any, str]]:
    name = f"{table.split('.')[1]}_is_sound"
    for rows, rule in planted:
        yield name, {table: clean}, {table: rows}, {"rule": rule}, rule


def _broken(rule: str) -> str:
    return f"{rule} does not hold"


def _of_a_profile(table: str, clean: Rows, grain: str) -> Iterator[tuple[str, Any, Any, Any, str]]:
    hides, told = _broken("a hidden group shows nothing"), _broken("labels are stated")
    yield from _sound(
        f"segments.{table}",
        clean,
        ([*clean, clean[0]], f"{grain} is not unique"),
        *(([*clean[:-1], {**clean[-1], figure: clean[0][figure]}], hides)
          for figure in ("customers", "revenue", "profit", "share", "top_attributes")),
        (_but(clean, label_zh=None), told),
        (_but(clean, label_en=None), told),
        (_but(clean, coverage=1.5), _broken("coverage is a share")),
    )  # fmt: skip


CASES: tuple[tuple[str, Any, Any, Any, str], ...] = (
    *_sound(
        "segments.customer_360",
        PERSONS,
        ([*PERSONS, PERSONS[0]], "customer_key, as_of_date is not unique"),
        (_but(PERSONS, customer_key=None), "customer_key is null"),
        (_but(PERSONS, action_step="later"), "action_step has another value"),
        (_but(PERSONS, service_level="gold"), "service_level has another value"),
        *((_but(PERSONS, **{f"{name}_class": None}), _broken("every class is stated")) for name in _CLASSES),
        (_but(PERSONS, action_zh=None), _broken("one action for everyone")),
        (_but(PERSONS, action_en=None), _broken("one action for everyone")),
        (_but(PERSONS, has_marketing=False), _broken("nothing is sold without consent")),
        (_but(PERSONS, has_profiling=False), _broken("nothing is sold without consent")),
        (_but(PERSONS, open_complaints_n=1), _broken("nothing is sold during a complaint")),
    ),
    *_sound(
        "marts.contact_pressure",
        PRESSED,
        ([*PRESSED, PRESSED[0]], "customer_key, as_of_date is not unique"),
        (_but(PRESSED, is_capped=True), _broken("a cap has an end and no cap has none")),
        (_but(PRESSED, suppress_until=D), _broken("a cap has an end and no cap has none")),
        (
            _but(PRESSED, is_capped=True, suppress_until=D - timedelta(days=1)),
            _broken("a cap still holds on D"),
        ),
    ),
    *_of_a_profile("market_segment", CELLS, "segment, as_of_date"),
    *_of_a_profile("behaviour_segment", CELLS, "segment, as_of_date"),
    *_of_a_profile("custom_segment", CUSTOM, "segment, class, as_of_date"),
    *_sound(
        "segments.custom_segment",
        CUSTOM,
        *(
            (_but(CUSTOM, **{name: None}), _broken("the rule is stated"))
            for name in ("rule", "owner", "purpose")
        ),
    ),
    *_sound(
        "segments.persona",
        PERSONAS,
        ([*PERSONAS, PERSONAS[0]], "scheme, class, field, place, as_of_date is not unique"),
        (_but(PERSONAS, share=1.5), _broken("shares are shares")),
        (_but(PERSONAS, coverage=-0.5), _broken("shares are shares")),
    ),
    *(
        ("profiles_hide_small_groups", PROFILES, {f"segments.{table}": _but(PROFILES[f"segments.{table}"], **few)},
         {"profile": table, "customers": 9}, f"{table} {column}")
        for table in ("market_segment", "behaviour_segment", "custom_segment", "persona")
        for column in (("customers", "segment_customers") if table == "persona" else ("customers",))
        for few in ({column: 9},)
    ),
    ("profiles_hide_small_groups", PROFILES,
     {"intermediate.int_group_bounds": _but(PROFILES["intermediate.int_group_bounds"], people_n=9)},
     {"profile": "class_group_bounds", "segment": "affinity tea", "customers": 9}, "class_group_bounds people_n"),
    *(
        ("published_figures_are_in_bounds", FIGURES, {table: rows}, {"rule": rule}, f"{rule}, {n}")
        for n, (table, rows, rule) in enumerate((
            ("audiences.segment_summary", _but(SUMMARY, share=0.6), "segment shares add up to 1"),
            ("audiences.segment_summary", _but(SUMMARY, revenue_share=0.4), "segment shares add up to 1"),
            ("audiences.segment_summary", _but(SUMMARY, repurchase_rate=1.1), "repurchase rate lies in [0, 1]"),
            ("audiences.segment_summary", _but(SUMMARY, repurchase_rate=-0.1), "repurchase rate lies in [0, 1]"),
            ("audiences.segment_summary", _but(SUMMARY, customers=9), "no cell below k is shown"),
            ("audiences.segment_coverage", _but(FIGURES["audiences.segment_coverage"], customers=9),
             "no small group of excluded people is shown"),
            *(("marts.retention_cohort", _but(FIGURES["marts.retention_cohort"], **few),
               "no small cohort or cell of one is shown") for few in ({"customers": 9}, {"buyers": 1}, {"active": 9})),
            *(("marts.nps", _but(FIGURES["marts.nps"], **beyond), "nps lies in [-100, 100]")
              for beyond in ({"nps": 101.0}, {"nps": -101.0}, {"lo": -101.0}, {"hi": 101.0})),
            *(("marts.csat", _but(FIGURES["marts.csat"], **beyond), "top2 and response rates lie in [0, 1]")
              for beyond in ({"top2_share": 1.1}, {"top2_share": -0.1}, {"response_rate": 1.1}, {"response_rate": -0.1})),
            *(("segments.pareto_check", _but(FIGURES["segments.pareto_check"], **more),
               "profit shares of the classes add up to 1")
              for more in ({"customer_share": 0.6}, {"positive_profit_share": 0.6})),
        ))
    ),
)  # fmt: skip
