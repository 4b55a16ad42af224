"""Is there enough data for a forecast of customers' value? Limits are policy; under one of them the answer is null."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.clv.histories import Histories


@dataclass(frozen=True)
class Need:
    """One question: `observed` against the least that policy asks for."""

    name: str
    observed: int
    limit: int
    what: str

    @property
    def met(self) -> bool:
        return self.observed >= self.limit


def needs(seen: Histories, policy: Mapping[str, float]) -> list[Need]:
    """What the data have and what policy asks for; `seen` must have a period of `clv_recent_days`."""
    days = round(policy["clv_recent_days"])
    history = int(seen.tenure.max(initial=0))
    return [
        Need("buyers", len(seen), round(policy["clv_min_buyers"]), "buyers"),
        Need("repeat_buyers", int((seen.x > 0).sum()), round(policy["clv_min_repeat_buyers"]), "buyers with a second purchase"),
        Need("history_days", history, round(policy["clv_min_history_days"]), "days since the first purchase of all"),
        Need("recent_purchases", int(seen.period_purchases.sum()), round(policy["clv_min_recent_purchases"]), f"purchase days in the last {days} days"),
    ]  # fmt: skip


def unmet(asked: list[Need]) -> str | None:
    """Why there is no forecast, in one line; None where there is enough."""
    short = [f"{need.observed:,} {need.what} ({need.limit:,} needed)" for need in asked if not need.met]
    return f"not enough data: {'; '.join(short)}" if short else None


def as_dict(asked: list[Need]) -> dict[str, Any]:
    return {
        "sufficient": all(need.met for need in asked),
        "needs": {
            need.name: {"observed": need.observed, "limit": need.limit, "met": need.met} for need in asked
        },
    }
