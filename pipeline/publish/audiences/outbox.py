"""The vault's outbox: where the files of an export stand until they are a week old.

    vault/outbox/<export>/manifest.json                          every audience of the export: written, or why not
                          assignments.parquet                    who is active, held out or lost to another audience
                          <destination>/<audience>/manifest.json and the files

An export is built apart. Then the states are written, then one rename shows the folder: a crash between leaves a
destination that may hold more than was sent, which the next diff allows for.
"""

import hashlib
import json
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import asdict, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.ingest.files import fsync
from pipeline.ingest.vault.private import close_folder, fsync_folder, private_files
from pipeline.privacy import access_log
from pipeline.publish.audiences import state as states
from pipeline.publish.audiences import writers
from pipeline.publish.audiences.diff import Diff
from pipeline.publish.audiences.plan import Delivery, Exported, Planned
from pipeline.publish.audiences.policy import Audience, Target
from pipeline.publish.audiences.profiles import PROFILES
from pipeline.publish.audiences.selection import Chosen
from pipeline.publish.audiences.writers import Batch, Row
from pipeline.publish.report.labels import known
from pipeline.settings import Settings

_BUILDING = ".tmp-audiences-"


def write(
    settings: Settings,
    result: Exported,
    planned: list[Planned],
    chosen: list[Chosen],
    name: str,
    at: datetime,
    approved_by: str,
    *,
    is_whole: bool,
) -> None:
    outbox = settings.vault / "outbox"
    building = outbox / f"{_BUILDING}{name}"
    by_name = {one.audience.name: one.audience for one in chosen}
    with private_files():
        building.mkdir(parents=True, mode=0o700)
        try:
            for one in planned:
                _write_one(building, one, by_name.get(one.delivery.audience), result, name, at, approved_by)
            _write_assignments(building / "assignments.parquet", chosen)
            write_json(
                building / "manifest.json",
                result.as_dict()
                | {"created_at": iso(at), "approved_by": approved_by or None, "is_whole": is_whole},
            )
            _close(building)
            who = approved_by or access_log.operator()
            for one in planned:
                if one.after is not None:
                    _note(settings, who, one.delivery)
                    states.save(settings, _dated(one.after, name, at))
            building.rename(outbox / name)
            fsync_folder(outbox)
        except BaseException:
            shutil.rmtree(building, ignore_errors=True)
            raise
    close_folder(settings.vault)


def _dated(after: states.State, export_name: str, at: datetime) -> states.State:
    """The state with the name and time of the export that it now waits for, and without those whose files are gone."""
    waiting = tuple(
        states.Sent(one.number, one.export or export_name, one.release, one.created_at or iso(at), one.rows)
        for one in after.waiting
    )
    return replace(after, waiting=waiting)


def _write_one(
    building: Path,
    one: Planned,
    audience: Audience | None,
    result: Exported,
    name: str,
    at: datetime,
    approved_by: str,
) -> None:
    delivery, profile = one.delivery, PROFILES[one.target.destination.name]
    place = building / delivery.destination / delivery.audience
    if delivery.status == "no_remote_id":
        place.mkdir(parents=True, mode=0o700)
        if audience and delivery.destination in ("wecom", "wechat_official_account"):
            made = writers.create_tag(delivery.destination, audience.name_zh)
            (place / made.name).write_bytes(made.content)
            delivery.files = [_described(made, "create the tag", "")]
    else:
        kinds: list[writers.Kind] = (
            ["full", "adds", "removes"] if delivery.status == "written" else ["removes"]
        )
        batches = [batch_of(one.state, audience, one.target, kind, one.change) for kind in kinds]
        delivery.files = write_batches(place, batches)
    write_json(
        place / "manifest.json",
        asdict(delivery)
        | {
            "reasons": reasons_told(delivery.suppressed, delivery.not_reached, delivery.removed),
            "export": name,
            "release": result.release,
            "as_of_date": result.as_of,
            "policy_version": result.policy_version,
            "created_at": iso(at),
            "approved_by": approved_by or None,
            "name_zh": audience.name_zh if audience else None,
            "name_en": audience.name_en if audience else None,
            "rule": audience.rule_text if audience else None,
            "holdout_share": audience.holdout_share if audience else None,
            "remote_id": one.target.remote_id or None,
            "account": one.target.account or None,
            "operations": dict(profile.operations),
            "note": profile.note or None,
            "limits": {
                "request_rows": one.target.destination.request_rows,
                "file_rows": one.target.destination.file_rows,
                "file_bytes": one.target.destination.file_bytes,
            },
        },
    )


def reasons_told(*counted: Mapping[str, int]) -> dict[str, dict[str, str]]:
    """Each reason that is counted, in Chinese and English."""
    told = {}
    for reason in sorted(set().union(*counted)):
        text = known("audience_reason", "in_other" if reason.startswith("in_") else reason)
        told[reason] = {"zh": text.zh, "en": text.en} if text else {"zh": reason, "en": reason}
    return told


def batch_of(
    state: states.State, audience: Audience | None, target: Target | None, kind: writers.Kind, change: Diff
) -> Batch:
    rows: Iterable[Row] = [row for row, _ in change.removes] if kind == "removes" else getattr(change, kind)
    return Batch(
        state.destination,
        state.audience,
        audience.name_zh if audience else state.audience,
        audience.channel if audience else "",
        kind,
        PROFILES[state.destination].columns,
        tuple(rows),
        tuple(reason for _, reason in change.removes) if kind == "removes" else (),
        target.remote_id if target else state.remote_id,
        target.account if target else state.account,
        target.destination.request_rows if target else None,
        target.destination.file_rows if target else None,
        target.destination.file_bytes if target else None,
    )


def write_batches(place: Path, batches: Iterable[Batch]) -> list[dict[str, Any]]:
    place.mkdir(parents=True, exist_ok=True, mode=0o700)
    described = []
    for batch in batches:
        for made in writers.write(batch):
            (place / made.name).write_bytes(made.content)
            described.append(_described(made, PROFILES[batch.destination].operations[batch.kind], batch.kind))
    return described


def _described(made: writers.File, operation: str, kind: str) -> dict[str, Any]:
    return {
        "name": made.name,
        "kind": kind,
        "operation": operation,
        "rows": made.rows,
        "bytes": len(made.content),
        "sha256": hashlib.sha256(made.content).hexdigest(),
    }


def _write_assignments(path: Path, chosen: list[Chosen]) -> None:
    """One row per person, channel and audience whose rule and consent hold: the losers of an overlap are on record."""
    rows = [
        (key, one.audience.channel, one.audience.name, arm, one.lost.get(key))
        for one in chosen
        for arm, keys in (("active", one.active), ("holdout", one.holdout), ("lost", tuple(one.lost)))
        for key in keys
    ]
    names = ("customer_key", "channel", "audience", "arm", "won_by")
    columns = list(zip(*sorted(rows, key=str), strict=True)) or [()] * len(names)
    pq.write_table(
        pa.table({n: pa.array(list(c), pa.string()) for n, c in zip(names, columns, strict=True)}), path
    )


def rests_on(transfer: Mapping[str, str] | None) -> str:
    """What the access log says of a foreign transfer; '' where there is none."""
    if not transfer:
        return ""
    return f"; transfer to {transfer['country']} on {transfer['basis']} {transfer['reference']}"


def _note(settings: Settings, who: str, delivery: Delivery) -> None:
    """One line of the access log for each audience that leaves."""
    purpose = f"{delivery.purpose} by {delivery.channel}{rests_on(delivery.transfer)}"
    count = delivery.full + delivery.removes
    access_log.record(
        settings, who, f"audience {delivery.audience} exported to {delivery.destination}", purpose, count
    )


def prune(settings: Settings, before: datetime) -> None:
    """Delete the exports that are older than the outbox is kept, and what a crash left. Under the run lock.

    Others keep things in the outbox too: only what says that it is an export of audiences is touched.
    """
    for folder in (settings.vault / "outbox").glob("*"):
        try:
            told = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
            old = "deliveries" in told and datetime.fromisoformat(told["created_at"]) < before
        except (OSError, ValueError, KeyError, TypeError):
            old = False
        if old or folder.name.startswith(_BUILDING):
            shutil.rmtree(folder)
    for destination, audience in states.known(settings):
        state = states.load(settings, destination, audience)
        left = states.forget_older(state, iso(before))
        if left.waiting != state.waiting:
            states.save(settings, left)


def free_name(settings: Settings, stem: str, at: datetime) -> str:
    name, n = f"{stem}.{at:%Y%m%dT%H%M%SZ}", 1
    while (settings.vault / "outbox" / name).exists():
        n += 1
        name = f"{stem}.{at:%Y%m%dT%H%M%SZ}-{n}"
    return name


def _close(folder: Path) -> None:
    """Modes, and everything on disk before the folder gets its name."""
    close_folder(folder)
    for path in folder.rglob("*"):
        if path.is_file():
            fsync(path)
        else:
            fsync_folder(path)
    fsync_folder(folder)


def iso(at: datetime) -> str:
    return at.isoformat(timespec="seconds")


def write_json(path: Path, data: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    path.write_text(json.dumps(data, ensure_ascii=False, indent=1, default=str) + "\n", encoding="utf-8")
