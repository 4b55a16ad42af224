"""Who is kept too long leaves, as part of the daily run."""

from collections.abc import Callable
from datetime import date

from pipeline.privacy import erasure
from pipeline.privacy.retention import due
from pipeline.quality.policy import thresholds
from pipeline.settings import Settings


def apply(settings: Settings, as_of: date, log: Callable[[str], None] = lambda _: None) -> int:
    """Take out of vault, raw and quarantine who is due; the same run publishes without them. Number of persons.

    Under the run lock. A run that dies is made good by the next one, as an erasure is.
    """
    found = due(settings, as_of)
    if not found:
        return 0
    months = int(thresholds(as_of)["retention_months"])
    log(f"{len(found)} person{'s' if len(found) > 1 else ''} without activity for {months} months leave")
    erasure.begin(
        settings,
        [record for person in found for record in person.records],
        [person.customer_key for person in found],
        (),
        by="retention",
        reason=f"no activity for {months} months",
        may_return=True,
    )
    erasure.settle(settings, log)
    return len(found)
