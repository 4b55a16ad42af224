"""What a named person lets pass: a drift of the classes (Q-15) that stopped one candidate, once.

Approvals are lines of `decisions/gates.jsonl` that is only added to. A line holds for one as-of date and one state of
deliveries, policy and SQL (the fingerprint of the build) and for no more than what was observed, so whatever comes later
must be looked at again. No other gate can be approved: the others say that something is wrong, this one that something
is unusual.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any

from pipeline.errors import StrataError
from pipeline.quality.checks import Check, blocking
from pipeline.settings import Settings

APPROVABLE = "Q-15"


def applied(settings: Settings, checks: Sequence[Check], as_of: date, fingerprint: str) -> list[Check]:
    """The checks, with those marked that somebody has approved. What still stops is noted for `strata gate`."""
    given = {line["check"]: line for line in _open(settings, as_of, fingerprint)}
    told = [
        replace(check, approved=f"{line['by']}: {line['why']} ({line['id']})")
        if check.blocks
        and check.gate == APPROVABLE
        and (line := given.get(check.check))
        # Compared with another release (after going back) the same candidate may be further off than what was looked at.
        and check.observed <= line["observed"]
        else check
        for check in checks
    ]
    path = settings.build / "stopped.json"
    path.unlink(missing_ok=True)
    stopped = blocking(told)
    if stopped:
        path.parent.mkdir(parents=True, exist_ok=True)
        data = {
            "as_of_date": as_of.isoformat(),
            "fingerprint": fingerprint,
            "checks": [check.as_dict() for check in stopped],
        }
        path.write_text(json.dumps(data, ensure_ascii=False, default=str))
    return told


def spend(settings: Settings, manifest: Mapping[str, Any] | None) -> None:
    """Note that the release of this manifest has used its approvals; those that are noted stay as they are.

    Asked for when it becomes current, and again by whoever comes next: a run may die between the two.
    """
    approved = [check["approved"] for check in (manifest or {}).get("checks", ()) if check.get("approved")]
    if manifest and approved:
        noted = _spent(_lines(settings))
        for used in dict.fromkeys(text.rpartition("(")[2].rstrip(")") for text in approved):
            if used not in noted:
                _add(settings, {"spent": used, "release": manifest["release"], "at": _now()})


def stopped(settings: Settings) -> dict[str, Any] | None:
    """What stopped the last publication: `as_of_date`, `fingerprint`, `checks`; None where nothing did."""
    path = settings.build / "stopped.json"
    return json.loads(path.read_text()) if path.exists() else None


def approve(settings: Settings, names: Sequence[str], *, by: str, why: str) -> list[dict[str, Any]]:
    """Let checks that stopped the last publication pass once. Returns the lines written.

    Args:
        names: checks such as `rfm_few_moved`, as the stopped run named them.
        by: who answers for it. why: the reason; no personal data.

    Raises:
        StrataError: where nothing is stopped, or a check did not stop it, cannot be approved, or is approved already.
    """
    waiting = stopped(settings)
    if waiting is None:
        raise StrataError("no gate has stopped the last publication: there is nothing to approve")
    if not by.strip() or not why.strip():
        raise StrataError("--by and --why must say who approves and what the decision rests on")
    found = {check["check"]: check for check in waiting["checks"]}
    for name in names:
        if name not in found:
            raise StrataError(
                f"{name} did not stop the last publication; that did: {', '.join(sorted(found))}"
            )
        if found[name]["gate"] != APPROVABLE:
            raise StrataError(
                f"{name} ({found[name]['gate'] or 'a test of the build'}) cannot be approved, only {APPROVABLE} "
                "can: mend what it names"
            )
    open_ = _open(settings, date.fromisoformat(waiting["as_of_date"]), waiting["fingerprint"])
    for line in open_:
        if line["check"] in names and found[line["check"]]["observed"] <= line["observed"]:
            raise StrataError(
                f"{line['check']} is approved already, by {line['by']}: `strata run --as-of {line['as_of_date']}` publishes it"
            )
    lines = []
    for name in dict.fromkeys(names):
        line = {
            "check": name,
            "as_of_date": waiting["as_of_date"],
            "fingerprint": waiting["fingerprint"],
            "observed": found[name]["observed"],
            "limit": found[name]["limit"],
            "by": by.strip(),
            "why": why.strip(),
            "at": _now(),
        }
        number = str(len(_lines(settings)))
        digest = hashlib.sha256((number + json.dumps(line, sort_keys=True, default=str)).encode())
        lines.append({"id": digest.hexdigest()[:12], **line})
        _add(settings, lines[-1])
    return lines


def _open(settings: Settings, as_of: date, fingerprint: str) -> list[dict[str, Any]]:
    lines = _lines(settings)
    spent = _spent(lines)
    # Of two for one check the later stands in place of the first.
    newest = {
        line["check"]: line
        for line in lines
        if "id" in line and (line["as_of_date"], line["fingerprint"]) == (as_of.isoformat(), fingerprint)
    }
    return [line for line in newest.values() if line["id"] not in spent]


def _spent(lines: Iterable[Mapping[str, Any]]) -> set[str]:
    return {line["spent"] for line in lines if "spent" in line}


def _lines(settings: Settings) -> list[dict[str, Any]]:
    path = settings.approvals
    lines = []
    if path.exists():
        for number, text in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            try:
                line = json.loads(text)
                if "spent" not in line:
                    [line[name] for name in ("id", "check", "as_of_date", "fingerprint", "by", "why")]
            except (ValueError, KeyError, TypeError) as error:
                raise StrataError(f"{path}:{number}: no approval: mend or remove the line") from error
            lines.append(line)
    return lines


def _add(settings: Settings, line: dict[str, Any]) -> None:
    path = settings.approvals
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line, ensure_ascii=False, default=str) + "\n")
        file.flush()
        os.fsync(file.fileno())


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
