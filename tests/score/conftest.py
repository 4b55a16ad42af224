"""Order files, and scoring them."""

from collections.abc import Callable, Iterable, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from pipeline.score import presets, run
from pipeline.score.orders import Columns
from pipeline.score.run import Scored

AS_OF = date(2026, 3, 10)
Row = Sequence[Any]


def write_csv(path: Path, rows: Iterable[Row], head: str = "customer,date,amount,order") -> Path:
    """A CSV file of rows in the order of the header; rows may be shorter."""
    width = head.count(",") + 1
    lines = [",".join([*map(str, row), *[""] * (width - len(row))]) for row in rows]
    path.write_text("\n".join([head, *lines, ""]), encoding="utf-8")
    return path


class Scoring:
    """Scores files of one test: `scoring(path, preset=…)`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.out = folder / "out.parquet"

    def __call__(
        self,
        file: Path | Iterable[Row],
        *,
        preset: str | presets.Preset = "rf25",
        as_of: date | None = AS_OF,
        order: str | None = None,
        columns: tuple[str, str, str] = ("customer", "date", "amount"),
        day_first: bool | None = None,
    ) -> Scored:
        path = file if isinstance(file, Path) else write_csv(self.folder / "orders.csv", file)
        chosen = presets.find(preset) if isinstance(preset, str) else preset
        return run.score(path, Columns(*columns, order, day_first), as_of, chosen, self.out)

    @property
    def rows(self) -> dict[Any, dict[str, Any]]:
        """What was written: customer → row."""
        return {row["customer_id"]: row for row in pq.read_table(self.out).to_pylist()}


@pytest.fixture
def scoring(tmp_path: Path) -> Callable[..., Scored]:
    return Scoring(tmp_path)
