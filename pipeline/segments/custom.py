"""Segments that a seed defines by a rule: checked line by line, and compiled to rows that one fixed SQL model evaluates.

A rule never becomes SQL text. It is brought into its alternatives (`a and b or c`: two of them), each a set of single
tests; a test is a row, and an alternative is one bit. `int_custom_segment_members` looks at each test of each customer
once and ends with the bits of the alternatives that failed, and of those that could not be decided because a fact is
missing. A customer is a member when an alternative is left that holds, unknown when one is left that might.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import pyarrow as pa

from pipeline.ingest.files import write_parquet
from pipeline.publish.audiences import policy as seeds
from pipeline.publish.audiences import rules
from pipeline.settings import DBT_PROJECT_DIR, Settings

SEEDS = DBT_PROJECT_DIR / "seeds" / "policy"
SCHEME = "custom"
CLASSES = ("member", "other", "unknown")
_LEVELS = ("dedicated", "preferred", "standard", "automated")
# A BIGINT without its sign, and one to spare.
_BITS = 62

Test = tuple[rules.Rule, bool]
"""A single test and whether it must fail."""


@dataclass(frozen=True)
class Segment:
    """One row of custom_segments.csv that can be evaluated. `alternatives`: sets of tests, each set is enough."""

    name: str
    rule: str
    alternatives: tuple[frozenset[Test], ...]


_SEGMENTS = pa.schema([("segment", pa.string()), ("word", pa.int32()), ("alternatives", pa.int64())])
_TESTS = pa.schema(
    [
        ("test_no", pa.int32()),
        ("kind", pa.string()),
        ("fact", pa.string()),
        ("is_negated", pa.bool_()),
        ("low", pa.decimal128(18, 4)),
        ("high", pa.decimal128(18, 4)),
        ("is_low_open", pa.bool_()),
        ("is_high_open", pa.bool_()),
        ("word", pa.int32()),
        ("alternatives", pa.int64()),
    ]
)
_VALUES = pa.schema([("test_no", pa.int32()), ("value", pa.string())])


def load(folder: Path = SEEDS, as_of: date | None = None) -> list[Segment]:
    """The segments in force on `as_of`, or all rows. Raises StrataError naming file and line of what cannot be."""
    lines = seeds.in_force(folder, "custom_segments", as_of) if as_of else _all(folder)
    known: dict[str, set[str]] = {}
    facts: dict[str, str] = {}
    found: dict[str, Segment] = {}
    for line in lines:
        if not known:
            for label in seeds.lines(folder, "segment_labels"):
                known.setdefault(label["scheme"], set()).add(label["class"])
            known.pop(SCHEME, None)
            facts = {fact["fact"]: fact["kind"] for fact in seeds.lines(folder, "rule_facts")}
        segment = _segment(line, known, facts)
        if as_of and segment.name in found:
            raise line.fail(
                f"segment {segment.name} has two rows in force on {as_of}: end the older with valid_to"
            )
        found[segment.name] = segment
    return list(found.values())


def _all(folder: Path) -> Iterator[seeds.Line]:
    # The dates are read for the sake of their errors.
    for _ in seeds.in_force(folder, "custom_segments", date.max):
        pass
    return seeds.lines(folder, "custom_segments")


def _segment(line: seeds.Line, known: Mapping[str, set[str]], facts: Mapping[str, str]) -> Segment:
    name = line["segment"]
    if not seeds.NAME.fullmatch(name):
        raise line.fail(f"segment {name!r} is no name: small letters, digits and _, at most 40")
    for column in ("label_zh", "label_en", "owner", "purpose", "action_code", "action_zh", "action_en"):
        if not line[column]:
            raise line.fail(f"{column} is empty")
    if len(line["label_zh"]) > 10:
        raise line.fail("label_zh has more than 10 characters, which is what tags of public accounts take")
    line.one_of("service_level", _LEVELS)
    try:
        alternatives = tuple(_alternatives(rules.parse(line["rule"], known, facts)))
    except rules.BadRule as error:
        raise line.fail(f"rule, {error}") from None
    if len(alternatives) > _BITS:
        raise line.fail(f"rule has {len(alternatives)} alternatives (`or`), of which {_BITS} are possible")
    return Segment(name, line["rule"], alternatives)


def _alternatives(rule: rules.Rule, negated: bool = False) -> list[frozenset[Test]]:
    """The rule, or its opposite, as sets of tests of which one must hold whole. No rule grows past the limit by much."""
    match rule:
        case rules.Everyone():
            return [] if negated else [frozenset()]
        case rules.Not(inner):
            return _alternatives(inner, not negated)
        case rules.Join(word, parts):
            each = [_alternatives(part, negated) for part in parts]
            if (word == "or") != negated:
                return [one for some in each for one in some]
            joined: list[frozenset[Test]] = [frozenset()]
            for some in each:
                if len(joined) * len(some) > 64 * _BITS:
                    raise rules.BadRule(f"more than {64 * _BITS} alternatives once its brackets are resolved")
                joined = list(dict.fromkeys(left | right for left in joined for right in some))
            return joined
        case _:
            return [frozenset([(rule, negated)])]


def compile_rows(segments: Iterable[Segment]) -> dict[str, pa.Table]:
    """The three tables that the model reads: segments with their bits, tests with the bits that they are needed for
    (one row per test and word of 62 bits), values of the tests that ask for one of several."""
    placed: list[dict[str, object]] = []
    needed: dict[Test, dict[int, int]] = {}
    word, used = 0, 0
    for segment in segments:
        if used + len(segment.alternatives) > _BITS:
            word, used = word + 1, 0
        bits = 0
        for alternative in segment.alternatives:
            bit = 1 << used
            used += 1
            bits |= bit
            for test in alternative:
                words = needed.setdefault(test, {})
                words[word] = words.get(word, 0) | bit
        placed.append({"segment": segment.name, "word": word, "alternatives": bits})
    tests: list[dict[str, object]] = []
    values: list[dict[str, object]] = []
    for number, ((rule, negated), words) in enumerate(needed.items()):
        row: dict[str, object] = {"test_no": number, "is_negated": negated}
        match rule:
            case rules.IsIn(scheme, classes):
                row |= {"kind": "class", "fact": scheme}
                values += [{"test_no": number, "value": value} for value in dict.fromkeys(classes)]
            case rules.IsText(fact, texts):
                row |= {"kind": "text", "fact": fact}
                values += [{"test_no": number, "value": value} for value in dict.fromkeys(texts)]
            case rules.InRange(fact, low, high, is_low_open, is_high_open):
                row |= {"kind": "number", "fact": fact, "low": low, "high": high}
                row |= {"is_low_open": is_low_open, "is_high_open": is_high_open}
        tests += [{**row, "word": at, "alternatives": bits} for at, bits in words.items()]
    return {
        "custom_segments": pa.Table.from_pylist(placed, _SEGMENTS),
        "custom_tests": pa.Table.from_pylist(
            [{name: row.get(name) for name in _TESTS.names} for row in tests], _TESTS
        ),
        "custom_values": pa.Table.from_pylist(values, _VALUES),
    }


def write(settings: Settings, as_of: date, folder: Path = SEEDS) -> None:
    """Check and write `build/custom_*.parquet` for a build of `as_of`. Raises StrataError."""
    for name, table in compile_rows(load(folder, as_of)).items():
        write_parquet(table, settings.build / f"{name}.parquet")
