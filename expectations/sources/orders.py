"""May the orders come in? Judged on one profile row per delivery.

What a single row can break (a missing number, an impossible time) is rejected at ingest; these expectations see what
only shows in a whole delivery. What every feed is asked alike stands in pipeline/quality/rules.py.
"""

from pipeline.quality.measures import Doubt, Measures
from pipeline.quality.policy import largest
from pipeline.quality.suites import Expect, Suite

SUITE = Suite(
    "orders",
    (
        Expect(
            "discounts_plausible",
            "ExpectColumnValuesToBeBetween",
            {"column": "order_discount__max", "max_value": largest("amount_plausible_max")},
            "A discount above ten million is an id in the wrong column, and takes its order's revenue below zero.\n\n"
            "Mend the export and deliver the file again under the same name.",
            gate="Q-04",
        ),
        Expect(
            "orders_mostly_paid",
            "ExpectColumnValuesToBeBetween",
            {"column": "paid_share", "min_value": 0.2, "mostly": 0.95},
            "Deliveries hold hardly any payment: the payment export is late or its column moved.",
            level="warn",
            gate="Q-03",
        ),
    ),
    Measures(
        mix="channel_id",
        doubts=(Doubt("paid_before_ordered", "paid_at < ordered_at", "paid before it was ordered"),),
    ),
)
