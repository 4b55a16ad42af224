"""Where a home keeps what its back-tests found, and what a model foretells that has passed them.

`evaluation/model_backtest/<D>.parquet` has no personal data; `evaluation/forecasts/<D>.parquet` has one row a customer.
A build for D reads the files of days before D, so that a day that is built again comes out the same.
"""

from collections.abc import Mapping
from datetime import date, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.ingest.files import write_parquet
from pipeline.settings import Settings

SCHEMA = pa.schema(
    [
        ("evaluated_as_of", pa.date32()),
        ("subject", pa.string()),
        ("measure", pa.string()),
        ("method", pa.string()),
        ("origin", pa.date32()),
        ("ahead_days", pa.int32()),
        ("bucket", pa.string()),
        ("people", pa.int64()),
        ("predicted", pa.float64()),
        ("actual", pa.float64()),
        ("error", pa.float64()),
        ("score", pa.float64()),
        ("is_chosen", pa.bool_()),
        ("reason", pa.string()),
        ("reason_zh", pa.string()),
    ]
)

FORECASTS = pa.schema(
    [
        ("forecast_as_of", pa.date32()),
        ("customer_key", pa.string()),
        ("expected_orders", pa.float64()),
        ("p_alive", pa.float64()),
        ("value", pa.decimal128(18, 4)),
    ]
)
_FORECASTS_KEPT = 3


def folder(settings: Settings) -> Path:
    return settings.home / "evaluation" / "model_backtest"


def forecasts(settings: Settings) -> Path:
    return settings.home / "evaluation" / "forecasts"


def keep_template(settings: Settings) -> None:
    """Empty files, so that a home that has evaluated nothing yet reads as empty tables."""
    for place, schema in ((folder(settings), SCHEMA), (forecasts(settings), FORECASTS)):
        template = place / "none.parquet"
        # A home of before may have one with fewer columns; the files beside it are read by name.
        if not template.exists() or pq.read_schema(template) != schema:
            write_parquet(schema.empty_table(), template)


def _before(place: Path, as_of: date) -> list[Path]:
    return sorted(p for p in place.glob("????-??-??.parquet") if p.stem < as_of.isoformat())


def known_before(settings: Settings, as_of: date) -> list[Path]:
    """The evaluations that a build for `as_of` reads, oldest first."""
    return _before(folder(settings), as_of)


def read_by(settings: Settings, as_of: date) -> list[Path]:
    """Every file of here that decides a build for `as_of`: the evaluations, the newest forecast, and the one
    before it, by which the classes of the day before may have been computed."""
    return [*known_before(settings, as_of), *_before(forecasts(settings), as_of)[-2:]]


def keep_forecast(settings: Settings, table: pa.Table, as_of: date) -> Path:
    """Write the forecast of a day; of those before it two stay for builds of earlier days."""
    path = forecasts(settings) / f"{as_of}.parquet"
    write_parquet(table, path)
    for old in sorted(forecasts(settings).glob("????-??-??.parquet"))[:-_FORECASTS_KEPT]:
        old.unlink()
    return path


def is_due(settings: Settings, as_of: date, policy: Mapping[str, float]) -> bool:
    """Whether the last evaluation is `evaluation_every_days` old, or there is none. One of `as_of` itself counts."""
    found = known_before(settings, as_of + timedelta(days=1))
    return not found or as_of - date.fromisoformat(found[-1].stem) >= timedelta(
        days=round(policy["evaluation_every_days"])
    )
