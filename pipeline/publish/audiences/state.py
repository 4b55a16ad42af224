"""What each destination holds of each audience, as far as it said so. In the vault: rows may be clear contacts.

    vault/audiences/<destination>/<audience>/state.json     which files are in force; replaced in one rename
                                             <n>.parquet    rows: what is certain, what is possible, each export

`state.json` is the commit. A Parquet file that it does not name is a leftover and is removed by the next write.
"""

import json
from collections.abc import Mapping, Set
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import StrataError
from pipeline.home import backup_folders
from pipeline.ingest.files import fsync
from pipeline.ingest.vault.private import fsync_folder, private_files, write_private
from pipeline.publish.audiences.diff import Holding, Snapshot, acknowledged, sent
from pipeline.publish.audiences.profiles import PROFILES
from pipeline.publish.audiences.writers import Row
from pipeline.settings import Settings

_SCHEMA = 1
K = TypeVar("K")
V = TypeVar("V")


@dataclass(frozen=True)
class Sent:
    """One export that was not acknowledged yet. `number` counts the exports of this audience for this destination."""

    number: int
    export: str
    release: str
    created_at: str
    rows: int


@dataclass(frozen=True)
class State:
    """The state of one audience at one destination.

    Args:
        last: what it would hold if everything had arrived.
        acknowledged: the export that it said it holds, None before the first.
        waiting: exports since, oldest first, that can still be acknowledged, with their `snapshots` by number.
        remote_id, account: the destination's ids of the audience when it was exported last: removes need them when
            audiences.csv declares it no more.
    """

    destination: str
    audience: str
    held: Holding
    last: Snapshot = field(default_factory=dict)
    acknowledged: Sent | None = None
    waiting: tuple[Sent, ...] = ()
    snapshots: Mapping[int, Snapshot] = field(default_factory=dict)
    remote_id: str = ""
    account: str = ""

    @property
    def next_number(self) -> int:
        last = self.waiting[-1] if self.waiting else self.acknowledged
        return last.number + 1 if last else 1


def folder(settings: Settings, destination: str, audience: str) -> Path:
    return settings.vault / "audiences" / destination / audience


def known(settings: Settings) -> list[tuple[str, str]]:
    """(destination, audience) that were ever exported."""
    root = settings.vault / "audiences"
    return sorted((p.parent.parent.name, p.parent.name) for p in root.glob("*/*/state.json"))


def load(settings: Settings, destination: str, audience: str) -> State:
    """The state as it was left; empty before the first export. Raises StrataError where it cannot be read."""
    place = folder(settings, destination, audience)
    path = place / "state.json"
    if not path.exists():
        return State(destination, audience, Holding())
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        if record["schema"] != _SCHEMA:
            raise StrataError(
                f"{path} has schema {record['schema']}, this Strata reads {_SCHEMA}: use the newer one"
            )
        waiting = tuple(Sent(**one) for one in record["waiting"])
        return State(
            destination,
            audience,
            Holding(_read(place / record["certain"]), _read(place / record["possible"])),
            _turned(_read(place / record["last"])),
            Sent(**record["acknowledged"]) if record["acknowledged"] else None,
            waiting,
            {one.number: _turned(_read(place / f"{one.number}.parquet")) for one in waiting},
            # States of before these were kept have none.
            record.get("remote_id", ""),
            record.get("account", ""),
        )
    except (OSError, ValueError, KeyError, TypeError, pa.ArrowException) as error:
        raise StrataError(f"{path} is damaged or incomplete: restore {place} from a backup") from error


def after_export(state: State, new: Sent, snapshot: Snapshot) -> State:
    """The state once `snapshot` may have been sent."""
    return replace(
        state,
        held=sent(state.held, snapshot),
        last=dict(snapshot),
        waiting=(*state.waiting, new),
        snapshots={**state.snapshots, new.number: snapshot},
    )


def after_removes(state: State, members: Set[str]) -> State:
    """The state once nothing but removes of these people may have been sent."""
    certain = {row: member for row, member in state.held.certain.items() if member not in members}
    last = {member: row for member, row in state.last.items() if member not in members}
    return replace(state, held=Holding(certain, state.held.possible), last=last)


def after_ack(
    state: State, number: int, absent: Set[str] = frozenset(), still: Mapping[Row, str] | None = None
) -> State:
    """The state once the destination said that it holds export `number`; earlier ones no longer matter.

    Args:
        absent: people of it who were not taken in: they are added again. still: rows that it did not let go: they are
            removed again.
    """
    snapshots = state.snapshots
    later = [one for one in state.waiting if one.number > number]
    held = acknowledged(snapshots[number], [snapshots[one.number] for one in later])
    certain = {row: member for row, member in held.certain.items() if member not in absent}
    return replace(
        state,
        held=Holding(certain, {**(still or {}), **held.possible}),
        acknowledged=next(one for one in state.waiting if one.number == number),
        waiting=tuple(later),
        snapshots={one.number: snapshots[one.number] for one in later},
    )


def without(state: State, members: Set[str]) -> State:
    """The state with nothing of these people in it."""

    def rest(rows: Mapping[Row, str]) -> dict[Row, str]:
        return {row: member for row, member in rows.items() if member not in members}

    return replace(
        state,
        held=Holding(rest(state.held.certain), rest(state.held.possible)),
        last={m: row for m, row in state.last.items() if m not in members},
        snapshots={
            n: {m: row for m, row in snapshot.items() if m not in members}
            for n, snapshot in state.snapshots.items()
        },
    )


def forget_older(state: State, day: str) -> State:
    """Without the exports of before `day` (ISO): their files are gone and can no longer be acknowledged.

    What they may have sent stays possible.
    """
    kept = tuple(one for one in state.waiting if one.created_at >= day)
    # The newest keeps its number in use.
    kept = kept or state.waiting[-1:]
    return replace(state, waiting=kept, snapshots={one.number: state.snapshots[one.number] for one in kept})


def save(settings: Settings, state: State) -> None:
    """Write the files beside the old ones, then replace `state.json`; the same beside the backups. Under the run lock."""
    place = folder(settings, state.destination, state.audience)
    columns = PROFILES[state.destination].columns
    with private_files():
        place.mkdir(parents=True, exist_ok=True, mode=0o700)
        old = {p.name for p in place.glob("*.parquet")}
        turn = 1 + max((int(n.split("-")[1].split(".")[0]) for n in old if "-" in n), default=0)
        parts = {"certain": state.held.certain, "possible": state.held.possible, "last": _turned(state.last)}
        names = {part: f"{part}-{turn}.parquet" for part in parts}
        for part, rows in parts.items():
            _write(place / names[part], rows, columns)
        for number, snapshot in state.snapshots.items():
            _write(place / f"{number}.parquet", _turned(snapshot), columns)
        fsync_folder(place)
    record: dict[str, Any] = {
        "schema": _SCHEMA,
        "columns": list(columns),
        **names,
        "acknowledged": vars(state.acknowledged) if state.acknowledged else None,
        "waiting": [vars(one) for one in state.waiting],
        "remote_id": state.remote_id,
        "account": state.account,
    }
    write_private(place / "state.json", json.dumps(record, indent=1) + "\n")
    for name in old - {*names.values(), *(f"{one.number}.parquet" for one in state.waiting)}:
        (place / name).unlink()
    backup_folders.leave_audiences(settings, [place])


def _turned(pairs: Mapping[K, V]) -> dict[V, K]:
    """Rows by member from members by row, or the other way round: no two members of a snapshot have one row."""
    return {value: key for key, value in pairs.items()}


def _write(path: Path, rows: Mapping[Row, str], columns: tuple[str, ...]) -> None:
    cells = list(zip(*rows, strict=True)) if rows else [() for _ in columns]
    made = {"member": pa.array(list(rows.values()), pa.string())}
    made |= {f"cell_{name}": pa.array(list(c), pa.string()) for name, c in zip(columns, cells, strict=True)}
    # Written under another name first: an export's own file may be in force already.
    temporary = path.with_suffix(".tmp")
    pq.write_table(pa.table(made), temporary, compression="zstd")
    fsync(temporary)
    temporary.replace(path)


def _read(path: Path) -> dict[Row, str]:
    table = pq.read_table(path)
    members, *cells = (column.to_pylist() for column in table.columns)
    return dict(zip(zip(*cells, strict=True), members, strict=True))
