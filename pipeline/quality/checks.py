"""One result of one check, whoever made it: a source gate, a dbt test or a suite."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from pipeline.settings import Settings

Level = Literal["block", "warn"]


@dataclass(frozen=True)
class Check:
    """What was tested where, what was seen and what was allowed.

    `kind` says what `target` names: a `feed` (orders) or a `table` (audiences.segment_membership). `examples` are
    deliveries or tokens, never clear personal data. `gate` is the id of the policy's gate (Q-06) that the check
    belongs to, or several; docs/gates.md explains them. `approved` says who let a failed check pass once, and why.
    """

    kind: Literal["feed", "table"]
    target: str
    check: str
    level: Level
    passed: bool
    observed: Any
    limit: Any
    description: str
    examples: tuple[str, ...] = field(default=())
    gate: str = ""
    approved: str = ""

    @property
    def blocks(self) -> bool:
        return self.level == "block" and not self.passed and not self.approved

    def as_dict(self) -> dict[str, Any]:
        """The form of `strata run --json` and of the manifest."""
        shown = {
            self.kind: self.target,
            "check": self.check,
            "gate": self.gate,
            "level": self.level,
            "passed": self.passed,
            "observed": self.observed,
            "limit": self.limit,
            "description": self.description,
        }
        shown |= {"examples": list(self.examples)} if self.examples else {}
        return shown | ({"approved": self.approved} if self.approved else {})

    @property
    def name(self) -> str:
        """What is checked of what, and for which gate."""
        return f"{self.kind} {self.target}: {self.check}" + (f" ({self.gate})" if self.gate else "")

    def __str__(self) -> str:
        examples = f" · e.g. {'; '.join(self.examples[:3])}" if self.examples else ""
        return (
            f"{self.name} · observed {self.observed}, limit {self.limit}{examples} · "
            f"{self.description}" + (f" · approved by {self.approved}" if self.approved else "")
        )

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "Check":
        kind: Literal["feed", "table"] = "feed" if "feed" in data else "table"
        rest = {k: v for k, v in data.items() if k not in ("feed", "table", "examples")}
        return cls(kind=kind, target=data[kind], examples=tuple(data.get("examples", ())), **rest)


def blocking(checks: Iterable[Check]) -> list[Check]:
    """The failed checks that stop publication."""
    return [check for check in checks if check.blocks]


def save_checks(settings: Settings, stage: str, run_id: str, checks: Sequence[Check]) -> None:
    """Keep a stage's results for the command line: `build/checks/<stage>.json`."""
    path = settings.build / "checks" / f"{stage}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    data = {"run_id": run_id, "checks": [check.as_dict() for check in checks]}
    path.write_text(json.dumps(data, ensure_ascii=False, default=str))
