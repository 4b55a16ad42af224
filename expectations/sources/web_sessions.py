"""What is noted of visits: values that cannot be true (Q-04)."""

from pipeline.quality.measures import Doubt, Measures
from pipeline.quality.suites import Suite

SUITE = Suite(
    "web_sessions",
    measures=Measures(
        doubts=(Doubt("ended_before_started", "ended_at < started_at", "ended before it started"),)
    ),
)
