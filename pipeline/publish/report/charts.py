"""Geometry of the inline SVG: numbers in, path strings out. No labels, no colours."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

CURVE_POINTS = 60


def step_of(n: int, k: int) -> int:
    """Customers of one step of the curve over `n`: at most CURVE_POINTS steps, each of at least k."""
    return max(k, -(-n // CURVE_POINTS))


def cumulative_curve(steps: pd.DataFrame) -> list[tuple[float, float]]:
    """(customer share, profit share) from the most profitable customers on; Σ positive profit = 1.

    steps: customers, profit and positive_profit, the most profitable first; of k customers or more, so that no point shows
    one person's profit. Empty when nobody has a positive profit.
    """
    positive = float(steps["positive_profit"].sum()) if len(steps) else 0.0
    if positive <= 0:
        return []
    people, profit = steps["customers"].cumsum(), steps["profit"].cumsum()
    n = int(people.iloc[-1])
    return [(0.0, 0.0)] + [(int(x) / n, float(y) / positive) for x, y in zip(people, profit, strict=True)]


def at(curve: Sequence[tuple[float, float]], x: float) -> float:
    """Height of the curve at x, linear between its points."""
    xs, ys = zip(*curve, strict=True)
    return float(np.interp(x, xs, ys))


def polyline(points: Sequence[tuple[float, float]], width: float, height: float, low: float = 0.0) -> str:
    """SVG points for x in [0, 1], y in [low, 1]; y grows upward."""
    span = 1.0 - low
    return " ".join(f"{x * width:.1f},{(1 - y) / span * height:.1f}" for x, y in points)


def sparkline(values: Sequence[float], width: float, height: float) -> str:
    """SVG points of a series from zero to its maximum; empty for fewer than two values or no positive one."""
    top = max(values, default=0.0)
    if len(values) < 2 or top <= 0:
        return ""
    last = len(values) - 1
    return polyline([(i / last, max(v, 0.0) / top) for i, v in enumerate(values)], width, height)


def stack(shares: Sequence[float], width: float) -> list[tuple[float, float]]:
    """(x, width) of the parts of a bar that is `width` long when the shares sum to 1."""
    parts, x = [], 0.0
    for share in shares:
        parts.append((round(x * width, 2), round(share * width, 2)))
        x += share
    return parts
