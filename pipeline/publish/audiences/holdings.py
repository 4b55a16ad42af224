"""What destinations hold: they say that they took an export in, and they are told who was erased."""

import shutil
from collections.abc import Collection
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from pipeline.errors import StrataError
from pipeline.ingest.vault.private import close_folder, private_files
from pipeline.lock import run_lock
from pipeline.privacy import access_log
from pipeline.publish.audiences import state as states
from pipeline.publish.audiences.diff import Diff
from pipeline.publish.audiences.outbox import batch_of, free_name, iso, write_batches, write_json
from pipeline.publish.audiences.plan import Delivery, count, removes_of
from pipeline.settings import Settings

ERASURE = "erasure"
"""What the folders of the outbox are called that tell destinations of erased people: `erasure.<time>`."""


def acknowledge(
    settings: Settings, destination: str, *, release: str | None = None, audience: str | None = None
) -> list[dict[str, Any]]:
    """Note that a destination holds its newest export of `release` (None: of any). One row per audience acknowledged.

    Raises StrataError where there is no such export waiting.
    """
    with run_lock(settings):
        known = [a for d, a in states.known(settings) if d == destination]
        if not known:
            have = ", ".join(sorted({d for d, _ in states.known(settings)})) or "none"
            raise StrataError(f"nothing was exported for {destination} yet; there are exports for: {have}")
        if audience is not None and audience not in known:
            raise StrataError(
                f"{destination} was never given audience {audience}; it was given: {', '.join(known)}"
            )
        done, has = [], set()
        for name in [audience] if audience else known:
            state = states.load(settings, destination, name)
            has |= {one.release for one in state.waiting}
            waiting = [one for one in state.waiting if release in (None, one.release, one.export)]
            if not waiting:
                continue
            after = states.after_ack(state, waiting[-1].number)
            states.save(settings, after)
            done.append(
                {"destination": destination, "audience": name, "export": waiting[-1].export}
                | {
                    "release": waiting[-1].release,
                    "rows": waiting[-1].rows,
                    "still_waiting": len(after.waiting),
                }
            )
        if not done:
            raise StrataError(
                f"no export of {release or 'any release'} waits to be acknowledged by {destination}; waiting: "
                f"{', '.join(sorted(has)) or 'none'}"
            )
        return done


def holdings(settings: Settings) -> list[dict[str, Any]]:
    """What each destination holds of each audience, as far as it said so."""
    found = []
    for destination, audience in states.known(settings):
        state = states.load(settings, destination, audience)
        found.append(
            {
                "destination": destination,
                "audience": audience,
                "acknowledged": state.acknowledged.release if state.acknowledged else None,
                "rows": state.acknowledged.rows if state.acknowledged else 0,
                "waiting": [one.export for one in state.waiting],
            }
        )
    return found


def forget(settings: Settings, customer_keys: Collection[str], now: datetime | None = None) -> Path | None:
    """Write removes of erased people for every destination that may hold them, and drop them from all states.

    For `strata erase`, before it sweeps the home. Earlier exports that name them are deleted from the outbox. The folder
    of the removes, or None where no destination ever got them.
    """
    at, members = (now or datetime.now(UTC)).astimezone(UTC), set(customer_keys)
    with run_lock(settings):
        folder = settings.vault / "outbox" / free_name(settings, ERASURE, at)
        told: list[Delivery] = []
        afters = []
        with private_files():
            for destination, audience in states.known(settings):
                state = states.load(settings, destination, audience)
                change = removes_of(state, members, lambda _: "erased")
                if change.removes:
                    batch = batch_of(state, None, None, "removes", change)
                    place = folder / destination / audience
                    files = write_batches(place, [batch])
                    told.append(_told_removes(state, change, files))
                    write_json(place / "manifest.json", asdict(told[-1]))
                afters.append(states.without(states.after_removes(state, members), members))
        for after in afters:
            states.save(settings, after)
        for old in (settings.vault / "outbox").glob("*/assignments.parquet"):
            if members & set(pq.read_table(old, columns=["customer_key"])["customer_key"].to_pylist()):
                shutil.rmtree(old.parent)
        if not told:
            return None
        access_log.record(
            settings, access_log.operator(), "erasure told to destinations", "erasure", len(members)
        )
        write_json(
            folder / "manifest.json",
            {"export": folder.name, "created_at": iso(at), "deliveries": [asdict(d) for d in told]},
        )
        close_folder(settings.vault)
        return folder


def _told_removes(state: states.State, change: Diff, files: list[dict[str, Any]]) -> Delivery:
    base = state.acknowledged.release if state.acknowledged else None
    told = Delivery(
        state.audience,
        state.destination,
        "",
        "erasure",
        "written",
        "",
        base,
        0,
        {},
        0,
        0,
        0,
        0,
        0,
        {},
        files=files,
    )
    count(told, change)
    return told
