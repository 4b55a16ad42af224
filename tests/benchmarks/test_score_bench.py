"""The peers of benchmarks.score do the same work as `strata score`."""

from datetime import date
from pathlib import Path

import pytest

from benchmarks import data, peers
from benchmarks import score as bench
from pipeline.score import presets, run
from pipeline.score.orders import Columns


@pytest.mark.parametrize("form", ["parquet", "csv"])
def test_the_peers_give_what_strata_score_gives(tmp_path: Path, form: str) -> None:
    file = bench.prepare(tmp_path, 5000, form)
    outs = {name: tmp_path / f"{name}.parquet" for name in ("ours", *bench.PEERS)}
    columns = Columns("customer", "ordered_on", "amount")
    run.score(file, columns, date.fromisoformat(bench.AS_OF), presets.find("rf25"), outs["ours"])
    for name, peer in bench.PEERS.items():
        peer(file, outs[name])
    assert bench.differences(outs["ours"], outs["pandas"]) == 0
    assert bench.differences(outs["ours"], outs["duckdb"]) == 0
    assert bench.parted(outs["ours"]) == 0
    assert bench.parted(outs["ntile"]) > 0


def test_a_package_that_is_not_there_is_skipped_and_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peers, "has_package", lambda python, package: False)
    found = bench.compare(tmp_path, 2000, 1, "parquet", [bench.PACKAGE], "python-without")
    assert "SKIPPED: openretailscience: python-without has no openretailscience" in capsys.readouterr().err
    assert (list(found["systems"]), found["score_over_openretailscience"]) == (["ours"], None)


def test_a_difference_is_seen(tmp_path: Path) -> None:
    one, other = tmp_path / "one.parquet", tmp_path / "other.parquet"
    row = (
        "'a' as customer_id, 1 as recency_days, 1 as frequency, 1.00 as monetary, 1 as r_score, 1 as f_score"
    )
    for path, score in ((one, 1), (other, 2)):
        bench.duckdb.sql(
            f"copy (select {row}, {score} as m_score, 'x' as segment) to '{path}' (format parquet)"
        )
    assert bench.differences(one, other) == 1


def test_an_order_file_of_a_landing_holds_what_people_bought(tmp_path: Path) -> None:
    data.write(data.Plan(2_000), tmp_path / "landing")
    file, out = tmp_path / "orders.parquet", tmp_path / "out.parquet"
    n = bench.from_landing(tmp_path / "landing", file)
    assert 1_500 < n < 2_000
    columns = Columns("customer", "ordered_on", "amount")
    run.score(file, columns, date.fromisoformat(bench.AS_OF), presets.find("rf25"), out)
    assert bench.unequal(out, out) == []
    fewer = tmp_path / "fewer.parquet"
    bench.duckdb.sql(f"copy (from '{out}' limit 3) to '{fewer}' (format parquet)")
    assert "customers in the result of one only" in bench.unequal(out, fewer)[0]
