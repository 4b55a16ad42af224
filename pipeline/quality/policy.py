"""Value sets of the policy seeds, so that no suite retypes them."""

import csv

from pipeline.transform.context import POLICY_DIR


def _column(seed: str, column: str) -> list[str]:
    with (POLICY_DIR / f"{seed}.csv").open(encoding="utf-8") as file:
        return sorted({row[column] for row in csv.DictReader(file)})


def schemes() -> list[str]:
    """Schemes with labels, sorted."""
    return _column("segment_labels", "scheme")


def classes() -> list[str]:
    """Classes with labels over all schemes, sorted."""
    return _column("segment_labels", "class")


def k_anonymity() -> int:
    """Smallest group that a shared summary may show (P-30)."""
    with (POLICY_DIR / "thresholds.csv").open(encoding="utf-8") as file:
        return max(int(float(row["value"])) for row in csv.DictReader(file) if row["key"] == "k_anon_min")
