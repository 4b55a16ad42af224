"""`strata score` and `strata policy check` as they are typed."""

import json
import re
import shutil
from contextlib import nullcontext
from datetime import date
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from pipeline.cli import main
from pipeline.errors import StrataError
from pipeline.score import presets
from pipeline.transform.context import POLICY_DIR
from tests.score.conftest import Scoring, write_csv

NAMED = ["--customer", "customer", "--date", "date", "--amount", "amount"]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    rows = [
        ("a", "2026-03-09", 10),
        ("a", "2026-03-01", 5),
        ("b", "2026-02-01", 7),
        ("c", "2026-03-01", -1),
        ("d", "soon", 1),
    ]
    return write_csv(tmp_path / "orders.csv", rows)


def _run(*args: str | Path) -> tuple[int, str, str]:
    done = CliRunner().invoke(main, [str(a) for a in args], standalone_mode=False)
    return (done.exit_code, done.stdout, done.stderr)


def test_score_prints_the_table_in_both_languages_and_writes_both_files(file: Path) -> None:
    out, page = file.with_name("out.parquet"), file.with_name("out.html")
    for earlier in (out, page):
        earlier.write_text("of the day before")
    code, said, progress = _run("score", file, *NAMED, "--as-of", "2026-03-10", "--out", out, "--html", page)
    assert code == 0
    assert re.search(r"^promising +有希望客户 +Promising +1 ", said, re.M)
    assert (
        "! 1 行未计入：日期无法识别 1 行\n  left out: 1 of 5 rows (no date that can be read: 1 (such as soon))"
        in said
    )
    assert "1 prospects: 只有退货记录 returns only, no purchase" in said
    assert f"→ {out}\n→ {page}" in said
    assert "orders.csv: 5 rows" in progress
    html = page.read_text(encoding="utf-8")
    assert "有希望客户" in html and "returns only, no purchase" in html
    assert not re.search(r"https?://|<script|soon", html)
    assert pq.read_table(out).num_rows == 3, "what stood there is replaced"


def test_the_answer_in_json_has_what_the_text_has(file: Path) -> None:
    code, said, _ = _run("score", file, *NAMED, "--preset", "cn_8", "--as-of", "2026-03-10", "--json")
    found = json.loads(said)
    assert code == 0
    assert (found["rows"], found["rows_left_out"], found["customers"], found["buyers"]) == (
        5,
        {"unreadable_date": 1},
        3,
        2,
    )
    assert found["scoring_mode"] == "absolute"
    assert found["cut_points"]["recency"] == [270, 180, 90, 31]
    assert sum(s["customers"] for s in found["segments"]) == 3
    assert found["without_score"][0]["reason"] == "returns_only"


def test_without_columns_it_says_which_there_are(file: Path) -> None:
    code, _, said = _run("score", file)
    assert code == 1
    assert (
        "say which columns are --customer, --date and --amount; orders.csv has customer, date, amount, order"
        in said
    )


def test_an_unknown_preset_is_answered_with_the_known_ones(file: Path) -> None:
    code, said, _ = _run("score", file, *NAMED, "--preset", "rf52", "--json")
    assert code == 1
    assert "no preset 'rf52'; there are rf25, cn_8" in json.loads(said)["messages"][0]


def test_presets_are_listed_without_a_file() -> None:
    code, said, _ = _run("score", "--list-presets", "--json")
    assert code == 0
    assert [p["preset"] for p in json.loads(said)] == list(presets.load())
    assert "pymc_quartile" in _run("score", "--list-presets")[1]


def test_policy_check_passes_the_seeds() -> None:
    code, said, _ = _run("policy", "check")
    assert (code, said.count(": sound"), "UNSOUND" in said) == (0, len(presets.load()), False)


@pytest.mark.parametrize(
    ("seed", "old", "new", "said"),
    [
        ("rfm_grids", "rf25,1,5,5,4,5,1,5,champions", "rf25,1,5,5,5,5,1,5,champions", "5 of 125 cells in no segment: R5 F4 M1-5"),
        ("rfm_grids", "rf25,6,3,3,3,3,1,5,need_attention", "rf25,6,3,3,3,4,1,5,need_attention", "5 of 125 cells in loyal and need_attention at once: R3 F4 M1-5"),
        ("rfm_grids", "cn_8,1,4,5", "cn_8,1,4,6", "segment HHH: R 4-6 lies outside the scores 1 to 5"),
        ("rfm_grids", "r_rfm,10,1,1,1,5,1,5,Lost", "r_rfm,10,5,5,5,5,5,5,Lost", "1 segment that no customer can reach: Lost"),
        ("rfm_preset_segments", "r_rfm,Others,", "r_rfm,Other,", "segments without a label: Others"),
        ("rfm_presets", "kept,1|2|3|4,disjoint,,\"M-01", "kept,1|2|3,disjoint,,\"M-01", "absolute_cuts '1|2|3' must name 4 of 1|2|3|4"),
        ("rfm_presets", "365,day,total,month,5,quantile", "365,week,total,month,5,quantile", "frequency_unit 'week' is none of day, order"),
    ],
)  # fmt: skip
def test_policy_check_refuses_by_name(
    tmp_path: Path, scoring: Scoring, seed: str, old: str, new: str, said: str
) -> None:
    shutil.copytree(POLICY_DIR, tmp_path / "policy")
    path = tmp_path / "policy" / f"{seed}.csv"
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    code, answer, _ = _run("policy", "check", "--seeds", tmp_path / "policy", "--json")
    assert code == 1
    problems = [p for found in json.loads(answer)["presets"].values() for p in found]
    assert any(said in problem for problem in problems), problems


def test_policy_check_tells_a_folder_without_seeds(tmp_path: Path) -> None:
    code, _, said = _run("policy", "check", "--seeds", tmp_path)
    assert (code, "segment_labels.csv is not in" in said) == (1, True)


@pytest.mark.parametrize(
    ("added", "told"),
    [
        ("rfm_window_days,180,days,2030-01-01,,shorter", "two rows of rfm_window_days in force on 2030-01-01"),
        ("new_key,1,days,2026-01-01,2026-02-01,a\nnew_key,2,days,2026-02-01,,b", ""),
        ("new_key,1,days,2026-01-01,2026-02-02,a\nnew_key,2,days,2026-02-01,,b", "two rows of new_key in force on 2026-02-01"),
    ],
)  # fmt: skip
def test_a_threshold_has_one_value_a_day(tmp_path: Path, added: str, told: str) -> None:
    shutil.copytree(POLICY_DIR, tmp_path / "policy")
    path = tmp_path / "policy" / "thresholds.csv"
    path.write_text(path.read_text(encoding="utf-8").rstrip() + f"\n{added}\n", encoding="utf-8")
    code, answer, _ = _run("policy", "check", "--seeds", tmp_path / "policy", "--json")
    lines = json.loads(answer)["thresholds"]
    assert (code, len(lines)) == (bool(told), bool(told)) and all(told in line for line in lines)
    on_the_day = date(2030, 1, 1) if "2030" in told else date(2026, 2, 1)
    with pytest.raises(StrataError, match=told) if told else nullcontext():
        presets.policy_on(on_the_day, tmp_path / "policy")
    assert presets.policy_on(date(2025, 1, 1), tmp_path / "policy").values["rfm_window_days"] == 365
