"""The limits that the gates read: one value of a key a day, or the run says which row to end."""

import shutil
from datetime import date
from pathlib import Path

import pytest

from pipeline.errors import StrataError
from pipeline.quality import policy


def test_two_rows_of_a_threshold_on_one_day_stop_the_gates(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(policy.POLICY_DIR / "thresholds.csv", tmp_path)
    path = tmp_path / "thresholds.csv"
    text = path.read_text(encoding="utf-8").rstrip()
    path.write_text(f"{text}\nk_anon_min,5,people,2030-01-01,,less\n", encoding="utf-8")
    monkeypatch.setattr(policy, "POLICY_DIR", tmp_path)
    assert policy.thresholds(date(2029, 12, 31))["k_anon_min"] == 10
    with pytest.raises(StrataError, match="two rows of k_anon_min in force on 2030-01-01: end the older one"):
        policy.thresholds(date(2030, 1, 1))
    # A suite knows no day: of two values it asks for the one that shows less.
    assert policy.k_anonymity() == 10
