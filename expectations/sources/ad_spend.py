"""What is noted of advertising: its money (Q-07, Q-10), and values that cannot be true (Q-04)."""

from pipeline.quality.measures import Doubt, Measures
from pipeline.quality.suites import Suite

SUITE = Suite(
    "ad_spend",
    measures=Measures(
        amount="spend",
        doubts=(Doubt("clicks_without_impressions", "clicks > impressions", "more clicks than impressions"),),
    ),
)
