"""Number formats of the page. Every function takes int, float, Decimal or a null and returns text."""

from __future__ import annotations

import math
from collections.abc import Iterable
from decimal import ROUND_HALF_UP, Decimal

import pandas as pd

from pipeline.publish.report.labels import currency

DASH = "–"
MINUS = "−"


def exact(value: object) -> Decimal | None:
    """Finite Decimal, or None for null, NaN and infinity."""
    if value is None or value is pd.NA or value is pd.NaT:
        return None
    number = value if isinstance(value, Decimal) else Decimal(str(value))
    return number if number.is_finite() else None


def total(column: pd.Series) -> Decimal | None:
    """Sum independent of row order (Decimal or fsum): same rows, same bytes. None if all null."""
    values = column.dropna()
    if values.empty:
        return None
    if values.dtype == object:
        return sum(values.tolist(), Decimal(0))
    return exact(math.fsum(values.tolist()))


def add(values: Iterable[Decimal | None]) -> Decimal | None:
    present = [value for value in values if value is not None]
    return sum(present, Decimal(0)) if present else None


def ratio(numerator: object, denominator: object) -> Decimal | None:
    top, bottom = exact(numerator), exact(denominator)
    return top / bottom if top is not None and bottom else None


def _grouped(number: Decimal, digits: int) -> str:
    rounded = number.quantize(Decimal(1).scaleb(-digits), rounding=ROUND_HALF_UP)
    sign = MINUS if rounded < 0 else ""
    return f"{sign}{abs(rounded):,f}"


def count(value: object, digits: int = 0) -> str:
    number = exact(value)
    return DASH if number is None else _grouped(number, digits)


def percent(value: object) -> str:
    """A fraction as percent with one decimal; a share that would round to nothing reads '<0.1%'."""
    number = exact(value)
    if number is None:
        return DASH
    if 0 < number < Decimal("0.0005"):
        return "<0.1%"
    return f"{_grouped(number * 100, 1)}%"


def signed(value: object, digits: int = 1) -> str:
    """NPS style: +32.4, −5.0, 0.0."""
    number = exact(value)
    if number is None:
        return DASH
    text = _grouped(number, digits)
    return f"+{text}" if number > 0 and text.strip("0.,") else text


def relative(now: object, before: object) -> str | None:
    """Change in percent of what was, signed; None where one of them is not known or there was nothing."""
    change = ratio((exact(now) or 0) - (exact(before) or 0), before) if exact(now) is not None else None
    return None if change is None else f"{signed(change * 100)}%"


def money(value: object, code: str, *, whole: bool = False) -> str:
    number = exact(value)
    if number is None:
        return DASH
    symbol, digits = currency(code)
    text = _grouped(number, 0 if whole else digits)
    return f"{MINUS}{symbol}{text[1:]}" if text.startswith(MINUS) else f"{symbol}{text}"


def money_exact(value: object, code: str) -> str:
    """Control totals keep the digits they carry: a sum that must reconcile is not rounded."""
    number = exact(value)
    if number is None:
        return DASH
    symbol, digits = currency(code)
    carried = -int(number.normalize().as_tuple().exponent)
    text = _grouped(number, min(max(carried, digits), 6))
    return f"{MINUS}{symbol}{text[1:]}" if text.startswith(MINUS) else f"{symbol}{text}"


def brief(value: object) -> str:
    """Observed values and limits of checks: any JSON scalar, short."""
    if value is None:
        return DASH
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        text = str(value)
        return text if len(text) <= 80 else f"{text[:79]}…"
    number = exact(value)
    if number is None:
        return DASH
    if number == number.to_integral_value():
        return count(number)
    return f"{float(number):.4g}".replace("-", MINUS)
