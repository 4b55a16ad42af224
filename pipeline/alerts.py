"""An alert: one line in `alerts.log` of the home, and a post to STRATA_ALERT_WEBHOOK where that is set."""

import json
import urllib.request
from datetime import UTC, datetime
from typing import Any

from pipeline.settings import Settings


def send(settings: Settings, text: str, **facts: Any) -> None:
    """Write the alert and post it as JSON with `facts`. Raises OSError where the address does not answer."""
    with (settings.home / "alerts.log").open("a", encoding="utf-8") as file:
        file.write(f"{datetime.now(UTC).isoformat(timespec='seconds')} {text}\n")
    if settings.alert_webhook:
        body = json.dumps({"text": text} | facts).encode()
        request = urllib.request.Request(settings.alert_webhook, body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=10):
            pass
