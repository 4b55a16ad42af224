"""One sample for all tests of this folder."""

import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from delivered import CUSTOMERS, DAYS, SEED, Delivery, read_deliveries

from pipeline.sample import generate


@pytest.fixture(scope="session")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("sample") / "landing"
    generate(out, CUSTOMERS, DAYS, SEED)
    return out


@pytest.fixture(scope="session")
def deliveries(sample: Path) -> list[Delivery]:
    return read_deliveries(sample)


@pytest.fixture(scope="session")
def truth(sample: Path) -> Callable[[str], pa.Table]:
    return lambda name: pq.read_table(sample / "_truth" / f"{name}.parquet")


@pytest.fixture(scope="session")
def totals(sample: Path) -> dict:
    return json.loads((sample / "_truth" / "totals.json").read_text(encoding="utf-8"))
