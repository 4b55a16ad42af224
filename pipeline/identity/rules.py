"""What the policy says of identifiers: how sure each is, and how many of it one person may have."""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

from pipeline.quality.policy import thresholds
from pipeline.settings import DBT_PROJECT_DIR


@dataclass(frozen=True)
class Rule:
    """What the policy says of one identifier type.

    Attributes:
        strength: 1 is the surest; edges of surer types are kept first where not all can be.
        confidence: of a link that this type makes, 0 to 1.
        links_alone: False for what only supports another identifier.
        records_max: a value of more records links nobody.
        values_max: a person with more values of the type is no one person.
    """

    strength: int
    confidence: float
    links_alone: bool
    records_max: int
    values_max: int


@dataclass(frozen=True)
class Rules:
    """The policy by identifier type. `ids_max`: source ids of one person; `bridge_side`: records of a group that
    holds together by itself; `confidence_min`: an identifier that was observed with less only supports."""

    by_type: Mapping[str, Rule]
    ids_max: int = 10
    bridge_side: int = 3
    confidence_min: float = 0.8

    def of(self, identifier: str) -> Rule:
        return self.by_type[identifier]


def load_rules(on: date) -> Rules:
    """The rules of `identity_rules.csv` in force on a day."""
    with (DBT_PROJECT_DIR / "seeds" / "policy" / "identity_rules.csv").open(encoding="utf-8") as file:
        rows = [
            row
            for row in csv.DictReader(file)
            if row["valid_from"] <= on.isoformat()
            and (not row["valid_to"] or on.isoformat() < row["valid_to"])
        ]
    by_type = {
        row["identifier"]: Rule(
            int(row["strength"]),
            float(row["confidence"]),
            row["links_alone"] == "true",
            int(row["records_max"]),
            int(row["values_max"]),
        )
        for row in rows
    }
    whole = by_type.pop("*")
    limits = thresholds(on)
    return Rules(
        by_type, whole.records_max, int(limits["identity_bridge_side"]), limits["identity_confidence_min"]
    )
