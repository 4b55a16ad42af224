"""Who is kept too long leaves, as part of the daily run."""

from collections.abc import Callable
from datetime import date

from pipeline.privacy import erasure, guest_contacts
from pipeline.privacy.retention import due, limit
from pipeline.quality.policy import thresholds
from pipeline.settings import Settings


def apply(settings: Settings, as_of: date, log: Callable[[str], None] = lambda _: None) -> int:
    """Take out of vault, raw and quarantine who is due, and guest contacts that tell nobody; persons and contacts.

    The same run publishes without them. Under the run lock. A run that dies is made good by the next one, as an
    erasure is.
    """
    months = int(thresholds(as_of)["retention_months"])
    found = due(settings, as_of)
    if found:
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
    # After the persons: a contact that only one of them had tells nobody any more.
    contacts = guest_contacts.due(settings, limit(as_of))
    if contacts:
        log(f"{len(contacts)} contacts of guests, {months} months old and nobody's, leave")
        erasure.begin_guest_contacts(
            settings,
            contacts,
            by="retention",
            reason=f"contacts of guests that told nobody for {months} months",
        )
        erasure.settle(settings, log)
    return len(found) + len(contacts)
