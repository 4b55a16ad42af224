"""Where a home keeps what its back-tests found: `evaluation/model_backtest/<D>.parquet`, without personal data.

A build for D reads the files of days before D, so that a day that is built again comes out the same.
"""

from collections.abc import Mapping
from datetime import date, timedelta
from pathlib import Path

import pyarrow as pa

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
    ]
)


def folder(settings: Settings) -> Path:
    return settings.home / "evaluation" / "model_backtest"


def keep_template(settings: Settings) -> None:
    """An empty file, so that a home that has evaluated nothing yet reads as an empty table."""
    path = folder(settings) / "none.parquet"
    if not path.exists():
        write_parquet(SCHEMA.empty_table(), path)


def known_before(settings: Settings, as_of: date) -> list[Path]:
    """The evaluations that a build for `as_of` reads, oldest first."""
    return sorted(p for p in folder(settings).glob("????-??-??.parquet") if p.stem < as_of.isoformat())


def is_due(settings: Settings, as_of: date, policy: Mapping[str, float]) -> bool:
    """Whether the last evaluation is `evaluation_every_days` old, or there is none. One of `as_of` itself counts."""
    found = known_before(settings, as_of + timedelta(days=1))
    return not found or as_of - date.fromisoformat(found[-1].stem) >= timedelta(
        days=round(policy["evaluation_every_days"])
    )
