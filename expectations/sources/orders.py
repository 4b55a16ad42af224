"""May the orders come in? Judged on one profile row per delivery.

What a single row can break (a missing number, an impossible time) is rejected at ingest; these expectations see what
only shows in a whole delivery.
"""

from pipeline.quality.suites import Expect, Suite

SUITE = Suite(
    "orders",
    (
        Expect(
            "newest_orders_fresh",
            "ExpectColumnValuesToBeBetween",
            {"column": "stale_days", "max_value": 0},
            "The newest delivery holds nothing of its own day: an earlier export came again under a new date.\n\n"
            "Ask the source for the day's own export.",
        ),
        Expect(
            "guest_share_steady",
            "ExpectColumnValuesToBeBetween",
            {"column": "guest_share_shift", "max_value": 0.10},
            "Far more or fewer orders than usual have no customer: the customer column moved or the login broke.\n\n"
            "Compared with the source's own median of eight weeks, beyond three standard errors.",
        ),
        Expect(
            "orders_mostly_paid",
            "ExpectColumnValuesToBeBetween",
            {"column": "paid_share", "min_value": 0.2, "mostly": 0.95},
            "Deliveries hold hardly any payment: the payment export is late or its column moved.",
            level="warn",
        ),
    ),
)
