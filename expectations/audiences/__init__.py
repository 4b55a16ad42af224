"""What both published tables must hold: names that the policy knows."""

from pipeline.quality.policy import classes, schemes
from pipeline.quality.suites import Expect

KNOWN = (
    Expect(
        "known_schemes",
        "ExpectColumnDistinctValuesToBeInSet",
        {"column": "scheme", "value_set": schemes()},
        "A scheme has no labels and no action in the policy (Q-20).",
    ),
    Expect(
        "known_classes",
        "ExpectColumnDistinctValuesToBeInSet",
        {"column": "class", "value_set": classes()},
        "A class has no label in the policy: a model produces a name that nobody has defined (Q-13).",
    ),
)
