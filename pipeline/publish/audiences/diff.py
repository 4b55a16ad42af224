"""What changed since a destination last said what it holds.

A snapshot is the rows of one export. A destination acknowledged one of them; of the exports since, nobody knows
which arrived. So two sets are kept: `certain`, the rows that are there whatever arrived, and `possible`, the rows that
may be there. A diff adds whatever is not certain and removes whatever is possible and no longer wanted: applied to any
of the states that the destination can be in, in whatever order and however often, it gives the new snapshot.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from pipeline.publish.audiences.profiles import Identifier, Profile, attributes, identifiers, only
from pipeline.publish.audiences.writers import Row

Snapshot = Mapping[str, Row]
"""customer_key → the row that she is told by. No identifier stands in two rows: see `distinct`."""

CHANGED = "contact_changed"


@dataclass(frozen=True)
class Holding:
    """What is known of a destination. Rows → the customer_key that they were sent for."""

    certain: Mapping[Row, str] = field(default_factory=dict)
    possible: Mapping[Row, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Diff:
    """Rows in order. `removes` are (row, reason): the row has only the identifiers that must go."""

    full: tuple[Row, ...]
    adds: tuple[Row, ...]
    removes: tuple[tuple[Row, str], ...]


def distinct(profile: Profile, rows: Mapping[str, Row]) -> tuple[dict[str, Row], dict[str, str]]:
    """(snapshot, who of it told nothing of her own): each identifier stays with the first customer_key that has it.

    Two people with one phone are one entry at a destination: it could not remove one and keep the other.
    """
    owners: dict[Identifier, str] = {}
    kept: dict[str, Row] = {}
    shares: dict[str, str] = {}
    for member in sorted(rows):
        own = {i for i in identifiers(profile, rows[member]) if owners.setdefault(i, member) == member}
        all_of_it = set(identifiers(profile, rows[member]))
        if own == all_of_it:
            kept[member] = rows[member]
            continue
        known = {column for group in profile.known_by for column in group}
        left = {column for group, _ in own for column in group}
        row = tuple(
            cell if column in left or column not in known else ""
            for column, cell in zip(profile.columns, rows[member], strict=True)
        )
        if own:
            kept[member] = row
        else:
            shares[member] = owners[next(iter(all_of_it))]
    return kept, shares


def diff(profile: Profile, held: Holding, new: Snapshot, reason: Callable[[str], str]) -> Diff:
    """From what the destination holds to `new`. `reason` says why a customer_key is not in `new`."""
    wanted = {i for row in new.values() for i in identifiers(profile, row)}
    removes: dict[Row, str] = {}
    for row, member in held.possible.items():
        gone = {i for i in identifiers(profile, row) if i not in wanted}
        if left := only(profile, row, gone):
            removes[left] = CHANGED if member in new else reason(member)
    adds = {row for row in new.values() if row not in held.certain}
    return Diff(tuple(sorted(new.values())), tuple(sorted(adds)), tuple(sorted(removes.items())))


def sent(held: Holding, new: Snapshot) -> Holding:
    """After an export of `new` that may arrive or not."""
    rows = {row: member for member, row in new.items()}
    return Holding({r: m for r, m in held.certain.items() if r in rows}, {**held.possible, **rows})


def acknowledged(new: Snapshot, later: Iterable[Snapshot] = ()) -> Holding:
    """After the destination said that it holds `new`; exports made since may have arrived as well."""
    rows = {row: member for member, row in new.items()}
    held = Holding(rows, rows)
    for snapshot in later:
        held = sent(held, snapshot)
    return held


def replay(
    profile: Profile, state: Mapping[Identifier, Row], removes: Iterable[Row], adds: Iterable[Row]
) -> dict[Identifier, Row]:
    """What a destination holds after a diff: its entries by identifier, with their attributes."""
    after = dict(state)
    for row in removes:
        for identifier in identifiers(profile, row):
            after.pop(identifier, None)
    for row in adds:
        for identifier in identifiers(profile, row):
            after[identifier] = attributes(profile, row)
    return after


def entries(profile: Profile, rows: Iterable[Row]) -> dict[Identifier, Row]:
    """The same for a whole snapshot."""
    return replay(profile, {}, (), rows)
