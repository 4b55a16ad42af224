"""Geometry of the inline SVG: numbers in, path strings out. No labels, no colours."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

CURVE_POINTS = 60


def cumulative_curve(profit: pd.Series, k: int) -> list[tuple[float, float]]:
    """(customer share, profit share) from the most profitable customer on; Σ positive profit = 1.

    At most CURVE_POINTS steps, each of at least k customers: a point never shows one person's profit.
    Empty when nobody has a positive profit.
    """
    values = np.sort(profit.dropna().to_numpy(dtype=float))[::-1]
    positive = values[values > 0].sum()
    if positive <= 0:
        return []
    n = len(values)
    step = max(k, -(-n // CURVE_POINTS))
    stops = [*range(step, n, step), n]
    cumulative = np.cumsum(values)
    return [(0.0, 0.0)] + [(stop / n, float(cumulative[stop - 1] / positive)) for stop in stops]


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
