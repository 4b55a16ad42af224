"""What is noted of customers: values that cannot be true (Q-04). Phones and e-mails are judged for every feed."""

from pipeline.quality.measures import Doubt, Measures
from pipeline.quality.suites import Suite

SUITE = Suite(
    "customers",
    measures=Measures(
        doubts=(
            Doubt(
                "age_out_of_range",
                # Placeholders that systems write for "unknown" are no birthdays and are null in raw.
                "year(coalesce(updated_at, registered_at)) - birth_year not between 0 and 110",
                "the age is not between 0 and 110",
            ),
            Doubt(
                "updated_before_registered", "updated_at < registered_at", "updated before it was registered"
            ),
        )
    ),
)
