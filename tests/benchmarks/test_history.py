"""A measured table leaves its ratios in the history, and the committed history has the columns that are written."""

import csv

from benchmarks import history


def report(rows: int, **ratios: float | None) -> dict:
    return {"rows": rows, "load": [0.4, 1.25], "cpu_ratios": ratios}


def test_each_size_adds_a_line_and_what_was_not_measured_is_empty(tmp_path):
    path = tmp_path / "results" / "history.csv"
    history.append([report(1_000_000, ours_over_script=21.053, pandas_over_ours=None)], path)
    history.append([report(1_000_000, ours_over_script=20.0), report(10_000_000, build_over_script=9)], path)
    lines = list(csv.DictReader(path.open()))
    assert [(line["rows"], line["ours_over_script"], line["build_over_script"]) for line in lines] == [
        ("1000000", "21.05", ""),
        ("1000000", "20.00", ""),
        ("10000000", "", "9.00"),
    ]
    assert {line["load"] for line in lines} == {"1.25"}
    assert all(line["commit"] for line in lines)


def test_the_committed_history_has_these_columns_in_the_order_of_time():
    with history.HISTORY.open() as file:
        lines = csv.DictReader(file)
        assert tuple(lines.fieldnames or ()) == history.COLUMNS
        times = [line["measured_at"] for line in lines]
    assert times == sorted(times) and len(times) >= 5
