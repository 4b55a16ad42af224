"""Why is this customer here: the words of the search; the customers are in files beside the page (publish/customers.py)."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path

from pipeline.publish.report.labels import Text, group, say
from pipeline.publish.report.release import Release

_SCRIPT = Path(__file__).parent / "templates" / "search.js"
_WORDS = ("ask", "none", "broken", "of", "since", "action", "class", "why", "scheme", "refused")


def search(release: Release) -> dict | None:
    """Script and its hash for the page's policy, or None where the release shows no single customers."""
    shards = release.manifest.get("customers")
    if not shards:
        return None
    words = {key: list(say(f"search.{key}")) for key in _WORDS}
    config = {"digits": int(shards["digits"]), "words": words, "schemes": schemes(release)}
    config |= {"channels": group("contact_channel"), "refusals": group("refusal")}
    told = json.dumps(config, ensure_ascii=False, sort_keys=True).replace("<", "\\u003c")
    script = _SCRIPT.read_text(encoding="utf-8").replace("/*CONFIG*/", told)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return {"script": script, "hash": f"sha256-{digest}", "customers": f"{int(shards['customers']):,}"}


def schemes(release: Release) -> dict[str, Text]:
    """Every scheme's name, of the custom ones too."""
    custom = {scheme for scheme, _ in release.labels if scheme.startswith("custom:")}
    return group("scheme") | {scheme: release.scheme_text(scheme) for scheme in sorted(custom)}
