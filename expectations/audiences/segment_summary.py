"""May the summary of the segments leave? Judged on the released file itself."""

from expectations.audiences import KNOWN
from pipeline.quality.policy import k_anonymity
from pipeline.quality.suites import Expect, Suite

SUITE = Suite(
    "audiences.segment_summary",
    (
        Expect(
            "one_row_per_class",
            "ExpectCompoundColumnsToBeUnique",
            {"column_list": ["scheme", "class"]},
            "A class stands twice, so its customers would be counted twice (Q-13).",
        ),
        *KNOWN,
        Expect(
            "shares_are_fractions",
            "ExpectColumnValuesToBeBetween",
            {"column": "share", "min_value": 0, "max_value": 1},
            "A share outside 0 to 1 means that the classes do not add up to the population (Q-28).",
        ),
        Expect(
            "no_small_cells",
            "ExpectColumnValuesToNotBeInSet",
            {"column": "customers", "value_set": list(range(1, k_anonymity()))},
            "A group of fewer than 10 people could be recognised; such cells must be suppressed (Q-21).",
        ),
        Expect(
            "every_class_has_an_action",
            "ExpectColumnValuesToNotBeNull",
            {"column": "action_zh"},
            "A class without an action tells a marketer nothing; add it to the playbook seed (Q-20).",
        ),
    ),
)
