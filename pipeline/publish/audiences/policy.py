"""The seeds that declare audiences: what is declared, checked line by line before anything is read or written."""

import csv
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import TypeVar

from pipeline.errors import StrataError
from pipeline.publish.audiences import rules
from pipeline.transform.context import POLICY_DIR

NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
_CHANNELS = ("email", "sms", "wechat", "push", "call", "ads")
_PURPOSES = ("service", "marketing", "third_party", "survey")
_BASES = ("standard_contract", "certification", "security_assessment", "exempt")


T = TypeVar("T")


@dataclass(frozen=True)
class Destination:
    """A tool. A limit of None is none; `purposes` must be consented to beside the audience's own."""

    name: str
    name_zh: str
    name_en: str
    country: str
    is_foreign: bool
    channels: tuple[str, ...]
    purposes: tuple[str, ...]
    minimum: int
    request_rows: int | None
    file_rows: int | None
    file_bytes: int | None
    name_max_bytes: int | None
    name_max_chars: int | None
    evidence: str


@dataclass(frozen=True)
class Target:
    """Where an audience goes, and what it is called there."""

    destination: Destination
    minimum: int
    remote_id: str
    account: str


@dataclass(frozen=True)
class Audience:
    """Who: `rule` over classes, with consent to `purpose` on `channel`. A lower `priority` goes first.

    `adults_only`: it is about something that minors may not buy, so who does not state an age is left out (Q-19).
    """

    name: str
    name_zh: str
    name_en: str
    rule: rules.Rule
    rule_text: str
    purpose: str
    channel: str
    priority: int
    holdout_share: float
    targets: tuple[Target, ...]
    adults_only: bool = False


@dataclass(frozen=True)
class Basis:
    """On what a foreign transfer rests."""

    basis: str
    reference: str


@dataclass(frozen=True)
class Policy:
    """The seeds in force on one day. Audiences are in the order of their priority."""

    audiences: tuple[Audience, ...]
    destinations: Mapping[str, Destination]
    bases: Mapping[str, Basis]
    limits: Mapping[str, float]
    schemes: Mapping[str, frozenset[str]]


def load(as_of: date, folder: Path = POLICY_DIR) -> Policy:
    """The policy in force on `as_of`. Raises StrataError naming file and line of what cannot be."""
    classes: dict[str, set[str]] = defaultdict(set)
    for line in lines(folder, "segment_labels"):
        classes[line["scheme"]].add(line["class"])
    shared = classes.pop("custom", set())
    for line in in_force(folder, "custom_segments", as_of) if shared else ():
        classes[f"custom:{line['segment']}"] = shared
    schemes = {scheme: frozenset(found) for scheme, found in classes.items()}
    destinations = _unique(in_force(folder, "destinations", as_of), "destination", _destination)
    bases = _unique(
        in_force(folder, "transfer_bases", as_of), "destination", lambda line: _basis(line, destinations)
    )
    limits = {line["key"]: float(line["value"]) for line in in_force(folder, "thresholds", as_of)}
    return Policy(_audiences(folder, as_of, schemes, destinations), destinations, bases, limits, schemes)


class Line(dict[str, str]):
    """A row of a seed that knows where it stands."""

    def __init__(self, row: Mapping[str, str], place: str) -> None:
        super().__init__({key: (value or "").strip() for key, value in row.items() if key})
        self.place = place

    def fail(self, what: str) -> StrataError:
        return StrataError(f"{self.place}: {what}")

    def number(
        self, column: str, kind: Callable[[str], float], low: float, high: float, empty: float | None
    ) -> float | None:
        text = self[column]
        if not text:
            return empty
        try:
            value = kind(text)
        except ValueError:
            raise self.fail(f"{column} {text!r} is no number") from None
        if not low <= value <= high:
            raise self.fail(f"{column} {text} is not within {low:g} and {high:g}")
        return value

    def whole(self, column: str) -> int | None:
        value = self.number(column, int, 1, 10**12, None)
        return None if value is None else int(value)

    def one_of(self, column: str, allowed: tuple[str, ...]) -> str:
        if self[column] not in allowed:
            raise self.fail(f"{column} {self[column]!r} is none of {', '.join(allowed)}")
        return self[column]

    def some_of(self, column: str, allowed: tuple[str, ...]) -> tuple[str, ...]:
        words = tuple(word.strip() for word in self[column].split("|") if word.strip())
        for word in words:
            if word not in allowed:
                raise self.fail(f"{column} {word!r} is none of {', '.join(allowed)}")
        return words


def lines(folder: Path, seed: str) -> Iterator[Line]:
    path = folder / f"{seed}.csv"
    if not path.is_file():
        raise StrataError(f"{seed}.csv is not in {folder}: name the folder of the policy seeds")
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        for row in reader:
            line = Line(row, f"{seed}.csv line {reader.line_num}")
            if None in row or None in row.values():
                raise line.fail(f"it has not the {len(reader.fieldnames or ())} columns of the header")
            yield line


def in_force(folder: Path, seed: str, as_of: date) -> Iterator[Line]:
    for line in lines(folder, seed):
        try:
            starts = date.fromisoformat(line["valid_from"]) if line["valid_from"] else date.min
            ends = date.fromisoformat(line["valid_to"]) if line["valid_to"] else date.max
        except ValueError:
            raise line.fail("valid_from or valid_to is no date such as 2026-01-31") from None
        if starts <= as_of < ends:
            yield line


def _unique(lines: Iterator[Line], column: str, made: Callable[[Line], T]) -> dict[str, T]:
    found: dict[str, T] = {}
    for line in lines:
        if line[column] in found:
            raise line.fail(
                f"{column} {line[column]} has two rows in force on one day: end the older with valid_to"
            )
        found[line[column]] = made(line)
    return found


def _destination(line: Line) -> Destination:
    channels = line.some_of("channels", _CHANNELS)
    if not channels:
        raise line.fail("channels is empty")
    return Destination(
        line["destination"],
        line["name_zh"],
        line["name_en"],
        line["country"],
        line.one_of("is_foreign", ("true", "false")) == "true",
        channels,
        line.some_of("purposes", _PURPOSES),
        line.whole("minimum") or 0,
        line.whole("request_rows"),
        line.whole("file_rows"),
        line.whole("file_bytes"),
        line.whole("name_max_bytes"),
        line.whole("name_max_chars"),
        line["evidence"],
    )


def _basis(line: Line, destinations: Mapping[str, Destination]) -> Basis:
    if line["destination"] not in destinations:
        raise line.fail(f"there is no destination {line['destination']!r} in destinations.csv")
    if not line["reference"]:
        raise line.fail(
            "reference is empty: name the contract, certificate or filing that the transfer rests on"
        )
    return Basis(line.one_of("basis", _BASES), line["reference"])


def _audiences(
    folder: Path, as_of: date, schemes: rules.Scheme, destinations: Mapping[str, Destination]
) -> tuple[Audience, ...]:
    found: dict[str, Audience] = {}
    places: dict[int, str] = {}
    for line in in_force(folder, "audiences", as_of):
        audience = _audience(line, schemes, destinations)
        earlier = found.get(audience.name)
        if earlier is None:
            if audience.priority in places:
                raise line.fail(
                    f"priority {audience.priority} is taken by {places[audience.priority]}: two audiences cannot both go first"
                )
            places[audience.priority] = audience.name
            found[audience.name] = audience
            continue
        target = audience.targets[0]
        if target.destination.name in [t.destination.name for t in earlier.targets]:
            raise line.fail(f"audience {audience.name} goes to {target.destination.name} twice")
        joined = replace(audience, targets=(*earlier.targets, target))
        if _told(audience) != _told(earlier):
            raise line.fail(
                f"audience {audience.name} is declared differently on another line: one audience has one rule, purpose, "
                "channel, priority, holdout and name, whatever its destinations"
            )
        found[audience.name] = joined
    return tuple(sorted(found.values(), key=lambda a: a.priority))


def _told(a: Audience) -> tuple[object, ...]:
    return (
        a.name,
        a.name_zh,
        a.name_en,
        a.rule,
        a.rule_text,
        a.purpose,
        a.channel,
        a.priority,
        a.holdout_share,
        a.adults_only,
    )


def _audience(line: Line, schemes: rules.Scheme, destinations: Mapping[str, Destination]) -> Audience:
    name = line["audience"]
    if not NAME.fullmatch(name):
        raise line.fail(f"audience {name!r} is no name: small letters, digits and _, at most 40")
    if line["destination"] not in destinations:
        raise line.fail(
            f"there is no destination {line['destination']!r}; destinations.csv has: {', '.join(sorted(destinations))}"
        )
    destination = destinations[line["destination"]]
    channel = line.one_of("channel", _CHANNELS)
    if channel not in destination.channels:
        raise line.fail(
            f"{destination.name} serves no channel {channel}; it serves: {', '.join(destination.channels)}"
        )
    try:
        rule = rules.parse(line["rule"], schemes)
    except rules.BadRule as error:
        raise line.fail(f"rule, {error}") from None
    priority = line.number("priority", int, 0, 10**6, None)
    if priority is None:
        raise line.fail("priority is empty")
    for column in ("name_zh", "name_en"):
        if not line[column]:
            raise line.fail(f"{column} is empty")
    size = len(line["name_zh"].encode())
    if destination.name_max_bytes and size > destination.name_max_bytes:
        raise line.fail(
            f"name_zh has {size} bytes, {destination.name} takes {destination.name_max_bytes} "
            f"({destination.name_max_bytes // 3} Chinese characters)"
        )
    if destination.name_max_chars and len(line["name_zh"]) > destination.name_max_chars:
        raise line.fail(
            f"name_zh has more than the {destination.name_max_chars} characters that {destination.name} takes"
        )
    return Audience(
        name,
        line["name_zh"],
        line["name_en"],
        rule,
        line["rule"],
        line.one_of("purpose", _PURPOSES),
        channel,
        int(priority),
        line.number("holdout_share", float, 0, 0.9, 0.0) or 0.0,
        (
            Target(
                destination,
                max(destination.minimum, line.whole("minimum") or 0),
                line["remote_id"],
                line["account"],
            ),
        ),
        line.one_of("adults_only", ("", "true", "false")) == "true" if "adults_only" in line else False,
    )
