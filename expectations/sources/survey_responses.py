"""May the survey answers come in? Judged on one profile row per delivery."""

from pipeline.quality.measures import Doubt, Measures
from pipeline.quality.suites import Expect, Suite

SUITE = Suite(
    "survey_responses",
    (
        Expect(
            "answers_name_their_person",
            "ExpectColumnValuesToBeBetween",
            {"column": "person_share", "min_value": 0.1, "mostly": 0.95},
            "Hardly any answer names its customer, so satisfaction cannot be read by segment.",
            level="warn",
            gate="Q-03",
        ),
    ),
    Measures(
        doubts=(
            Doubt("answered_before_invited", "answered_at < invited_at", "answered before the invitation"),
        )
    ),
)
