"""The rhythm of a customer and the stage it puts him in (M-05), on arrays: the back-test needs it at past days.

The released classes come from the dbt models; this is the same rule for an order file, without the stage `prospect`.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.clv.arrays import Array
from pipeline.clv.histories import Histories

STAGES = ("new", "growing", "mature", "declining", "churned")


@dataclass(frozen=True)
class Rhythm:
    """Days, one entry a customer; `stage` is a position in STAGES."""

    expected_gap: Array
    churn_days: Array
    stage: NDArray[np.int64]


def rhythm_of(seen: Histories, policy: Mapping[str, float]) -> Rhythm:
    """Expected gap, personal churn limit and stage as of the origin."""
    repeats = seen.purchases >= 2
    common = (
        float(np.median(seen.own_gap[repeats])) if repeats.any() else policy["lifecycle_default_gap_days"]
    )
    weight = policy["lifecycle_shrink_weight"]
    gap = (seen.x * np.nan_to_num(seen.own_gap) + weight * common) / (seen.x + weight)
    decline = np.clip(
        policy["lifecycle_decline_factor"] * gap,
        policy["lifecycle_decline_min_days"],
        policy["lifecycle_decline_max_days"],
    )
    churn = np.clip(
        policy["lifecycle_churn_factor"] * gap,
        policy["lifecycle_churn_min_days"],
        policy["lifecycle_churn_max_days"],
    )
    shrank = (
        (seen.f_half <= policy["lifecycle_decline_frequency_ratio"] * seen.f_previous_half)
        & (seen.f_previous_half >= policy["lifecycle_decline_frequency_previous_min"])
        & (seen.m_half <= policy["lifecycle_decline_monetary_ratio"] * seen.m_previous_half)
    )
    mature = (
        (seen.tenure >= policy["lifecycle_mature_tenure_days"])
        & (seen.f_year >= policy["lifecycle_mature_frequency_min"])
        & (seen.f_half >= policy["lifecycle_mature_recent_frequency_min"])
    )
    first_order = (seen.purchases == 1) & (
        seen.recency <= np.maximum(policy["lifecycle_new_min_days"], decline)
    )
    names = {name: i for i, name in enumerate(STAGES)}
    stage = np.select(
        [seen.recency > churn, first_order, (seen.recency > decline) | shrank, mature],
        [names["churned"], names["new"], names["declining"], names["mature"]],
        names["growing"],
    )
    return Rhythm(gap, churn, stage)
