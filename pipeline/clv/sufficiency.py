"""Is there enough data for a forecast of customers' value? Limits are policy; under one of them the answer is null."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.clv.histories import Histories
from pipeline.clv.said import Said, listed, say


@dataclass(frozen=True)
class Need:
    """One question: `observed` against the least that policy asks for, in the last `days` where that matters."""

    name: str
    observed: int
    limit: int
    days: int

    @property
    def met(self) -> bool:
        return self.observed >= self.limit


def needs(seen: Histories, policy: Mapping[str, float]) -> list[Need]:
    """What the data have and what policy asks for; `seen` must have a period of `clv_recent_days`."""
    days = round(policy["clv_recent_days"])
    history = int(seen.tenure.max(initial=0))
    observed = {
        "buyers": len(seen),
        "repeat_buyers": int((seen.x > 0).sum()),
        "history_days": history,
        "recent_purchases": int(seen.period_purchases.sum()),
    }
    return [Need(name, n, round(policy[f"clv_min_{name}"]), days) for name, n in observed.items()]


def unmet(asked: list[Need]) -> Said | None:
    """Why there is no forecast, in one line; None where there is enough."""
    short = [
        say(f"need_{need.name}", observed=f"{need.observed:,}", limit=f"{need.limit:,}", days=need.days)
        for need in asked
        if not need.met
    ]
    return say("not_enough", needs=listed(short)) if short else None


def as_dict(asked: list[Need]) -> dict[str, Any]:
    return {
        "sufficient": all(need.met for need in asked),
        "needs": {
            need.name: {"observed": need.observed, "limit": need.limit, "met": need.met} for need in asked
        },
    }
