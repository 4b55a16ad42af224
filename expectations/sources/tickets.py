"""What is noted of tickets: values that cannot be true (Q-04)."""

from pipeline.quality.measures import Doubt, Measures
from pipeline.quality.suites import Suite

SUITE = Suite(
    "tickets",
    measures=Measures(
        doubts=(
            Doubt(
                "answered_before_created", "first_response_at < created_at", "answered before it was created"
            ),
            Doubt("resolved_before_created", "resolved_at < created_at", "resolved before it was created"),
        )
    ),
)
