"""May the returns come in? Judged on one profile row per delivery."""

from pipeline.quality.measures import Doubt, Measures
from pipeline.quality.policy import largest
from pipeline.quality.suites import Expect, Suite

SUITE = Suite(
    "returns",
    (
        Expect(
            "returned_quantities_plausible",
            "ExpectColumnValuesToBeBetween",
            {"column": "qty__max", "max_value": largest("quantity_plausible_max")},
            "A returned quantity above a million is an id in the wrong column.\n\n"
            "Mend the export and deliver the file again under the same name.",
            gate="Q-04",
        ),
        Expect(
            "refunds_plausible",
            "ExpectColumnValuesToBeBetween",
            {"column": "refund_amount__max", "max_value": largest("amount_plausible_max")},
            "A single refund above ten million is a total in the wrong column.\n\n"
            "Mend the export and deliver the file again under the same name.",
            gate="Q-04",
        ),
        Expect(
            "refunds_dated",
            "ExpectColumnValuesToBeBetween",
            {"column": "refunded_share", "min_value": 0.2, "mostly": 0.95},
            "Hardly any return has its refund date; returns without one are booked on no day.",
            level="warn",
            gate="Q-03",
        ),
    ),
    Measures(
        amount="refund_amount",
        doubts=(
            Doubt("refunded_before_asked", "refunded_at < requested_at", "refunded before it was asked for"),
        ),
    ),
)
