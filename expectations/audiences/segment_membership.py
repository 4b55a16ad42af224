"""May the membership of the segments leave? Judged on the released file itself."""

from expectations.audiences import KNOWN
from pipeline.quality.suites import Expect, Suite

# Most expectations pass over nulls, so what every row must state is asked for first.
_STATED = ("customer_key", "scheme", "class", "class_label_zh", "pricing_use_allowed")

SUITE = Suite(
    "audiences.segment_membership",
    (
        *(
            Expect(
                f"{column}_stated",
                "ExpectColumnValuesToNotBeNull",
                {"column": column},
                f"A row without {column} says nothing that a marketing tool could use (Q-13).",
            )
            for column in _STATED
        ),
        Expect(
            "one_class_per_customer_and_scheme",
            "ExpectCompoundColumnsToBeUnique",
            {"column_list": ["customer_key", "scheme"]},
            "A customer is in two classes of one scheme and would get two treatments (Q-13).",
        ),
        Expect(
            "keys_are_tokens",
            "ExpectColumnValuesToMatchRegex",
            {"column": "customer_key", "regex": "^[0-9a-f]{32}$"},
            "A key is no token: a source id or clear personal data is about to leave (Q-26).",
        ),
        *KNOWN,
        Expect(
            "labels_fit_vendor_limits",
            "ExpectColumnValueLengthsToBeBetween",
            {"column": "class_label_zh", "min_value": 1, "max_value": 10},
            "A Chinese label is empty or longer than 10 characters, which WeChat tags refuse (Q-20).",
        ),
        Expect(
            "every_row_has_a_reason",
            "ExpectColumnValuesToNotBeNull",
            {"column": "reason_zh"},
            "A marketer asks why this customer is here, and the row does not say (Q-20).",
        ),
        Expect(
            "no_class_sets_a_price",
            "ExpectColumnValuesToBeInSet",
            {"column": "pricing_use_allowed", "value_set": [False]},
            "A class may be used for prices, which domain rule C-12 does not allow by default (Q-22).",
        ),
    ),
)
