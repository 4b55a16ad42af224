"""What is told of destinations and exports: as data for --json, as lines for the terminal."""

from datetime import UTC, datetime
from typing import Any

from pipeline.publish.audiences import policy as policies
from pipeline.publish.audiences.delivery import Delivered
from pipeline.publish.audiences.normalise import FIELDS
from pipeline.publish.audiences.plan import Exported
from pipeline.publish.audiences.profiles import PROFILES


def destinations() -> list[dict[str, Any]]:
    """Every destination, those of which there is only a normaliser too."""
    policy = policies.load(datetime.now(UTC).date())
    rows = []
    for name, fields in FIELDS.items():
        found = policy.destinations.get(name)
        basis = policy.bases.get(name)
        rows.append(
            {
                "destination": name,
                "fields": {f: field.algo or "clear" for f, field in fields.items()},
                "writes": name in PROFILES,
                "name_zh": found.name_zh if found else None,
                "name_en": found.name_en if found else None,
                "channels": list(found.channels) if found else [],
                "purposes": list(found.purposes) if found else [],
                "minimum": found.minimum if found else None,
                "request_rows": found.request_rows if found else None,
                "file_rows": found.file_rows if found else None,
                "file_bytes": found.file_bytes if found else None,
                "name_max_bytes": found.name_max_bytes if found else None,
                "name_max_chars": found.name_max_chars if found else None,
                "country": found.country if found else None,
                "is_foreign": found.is_foreign if found else None,
                "transfer_basis": basis.basis if basis else None,
                "evidence": found.evidence if found else None,
                "note": PROFILES[name].note if name in PROFILES else "normaliser only",
            }
        )
    return rows


def told(rows: list[dict[str, Any]]) -> str:
    lines = []
    for row in rows:
        fields = ", ".join(f"{field} ({algo})" for field, algo in row["fields"].items())
        limits = [
            f"{row[key]:,} {what}"
            for key, what in (
                ("minimum", "people at least"),
                ("request_rows", "a request"),
                ("file_rows", "rows a file"),
                ("file_bytes", "bytes a file"),
                ("name_max_bytes", "bytes of name"),
                ("name_max_chars", "characters of name"),
            )
            if row[key]
        ]
        where = (
            ""
            if not row["is_foreign"]
            else f"abroad ({row['country']}): {row['transfer_basis'] or 'no basis, refused'}"
        )
        rest = "; ".join(filter(None, (", ".join(limits), where, row["note"])))
        lines.append(f"{row['destination']:<24} {fields}\n{'':<24} {rest}".rstrip())
    return "\n".join(lines)


def told_export(done: Exported) -> str:
    """A line for each audience and destination, and below it what must be known."""
    lines = [f"release {done.release} · as of {done.as_of} · policy {done.policy_version}"]
    form = "{:<16} {:<12} {:>8} {:>6} {:>8} {:>6} {:>6} {:>6} {:>6} {:>7}  {}"
    lines.append(
        form.format(
            "audience",
            "destination",
            "matched",
            "lost",
            "holdout",
            "size",
            "reach",
            "full",
            "adds",
            "removes",
            "status",
        )
    )
    for d in done.deliveries:
        lines.append(
            form.format(
                d.audience,
                d.destination,
                d.matched,
                d.lost,
                d.holdout,
                d.size,
                d.reach,
                d.full,
                d.adds,
                d.removes,
                d.status,
            )
        )
        for what, counts in (
            ("suppressed", d.suppressed),
            ("not reached", d.not_reached),
            ("removes", d.removed),
        ):
            if counts:
                lines.append(f"  {what}: " + ", ".join(f"{reason} {n}" for reason, n in counts.items()))
        if d.reason:
            lines.append(f"  {d.reason}")
    if done.folder:
        lines.append(f"files  {done.folder}")
    return "\n".join(lines)


def told_delivery(done: list[Delivered]) -> str:
    """A line for each audience: what is left to send, what became of what was sent."""
    form = "{:<16} {:<34} {:>8} {:>6} {:>7} {:>8} {:>7} {:>8}  {}"
    lines = [
        form.format(
            "audience", "export", "requests", "adds", "removes", "accepted", "refused", "withheld", "status"
        )
    ]
    for d in done:
        lines.append(
            form.format(
                d.audience,
                d.export,
                d.requests,
                d.adds,
                d.removes,
                d.accepted,
                d.refused,
                d.withheld,
                d.status,
            )
        )
        if d.reason:
            lines.append(f"  {d.reason}")
    if any(d.status == "dry_run" for d in done):
        lines.append(f"nothing was sent to {done[0].host}: --send does")
    return "\n".join(lines)
