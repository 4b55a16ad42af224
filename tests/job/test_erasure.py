"""The whole line with two erasures in one run: one by the command, one by a row of the feed `dsr`."""

import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq
import pytest

from pipeline.home_scan import Needles, scan
from pipeline.ingest.load import sweep
from pipeline.publish import commit, shelf
from pipeline.settings import Settings
from tests.job.conftest import TOKEN_KEY, Line

pytestmark = [
    pytest.mark.soak,
    pytest.mark.skipif(not os.environ.get("STRATA_SOAK"), reason="two whole runs: make soak"),
]


@dataclass(frozen=True)
class Erased:
    """A published company without two of its people. `needles` are theirs by the truth, `ids` by (source, id)."""

    line: Line
    before: Line
    answer: dict[str, Any]
    needles: Needles
    keys: tuple[str, ...]
    ids: tuple[tuple[str, str], ...]


def people_with_accounts(line: Line) -> list[dict[str, Any]]:
    """People of the truth whose contacts nobody shares, with the source ids that the release links to one key."""
    linked = line.query("select customer_key, source, source_customer_id from core.dim_identity_links")
    by_key: dict[str, list[tuple[str, str]]] = {}
    for key, source, customer in linked:
        by_key.setdefault(key, []).append((source, customer))
    found = []
    with duckdb.connect(str(line.home / "vault" / "vault.duckdb"), read_only=True) as con:
        clear = dict(con.execute("select token, value from clear_values").fetchall())
        files = str(line.home / "raw" / "*" / "customers" / "*" / "*" / "*.parquet")
        rows = con.execute(
            "select source_customer_id, name_token, phone_token, email_token, address_token "
            f"from read_parquet('{files}', union_by_name = true)"
        ).fetchall()
    owners: dict[str, set[str]] = {}
    for customer, *tokens in rows:
        for token in filter(None, tokens):
            owners.setdefault(token, set()).add(customer)
    for key, ids in sorted(by_key.items()):
        own = {i for _, i in ids}
        tokens = {t for customer, *ts in rows if customer in own for t in ts if t}
        values = [clear[t] for t in tokens if owners[t] <= own]
        if len(ids) > 1 and len(values) >= 3:
            found.append({"key": key, "ids": ids, "values": values, "tokens": tokens})
    return found


@pytest.fixture(scope="module")
def erased(company: Line, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Erased]:
    line = company.copy(tmp_path_factory.mktemp("erased"))
    one, two, *_ = people_with_accounts(company)
    source, customer = two["ids"][0]
    day = max(p.stem for p in (line.landing / "app" / "orders").iterdir())
    requests = line.landing / source / "dsr" / f"{day}.csv"
    requests.parent.mkdir()
    requests.write_text(
        "request_id,source_customer_id,kind,received_at,due_at\n"
        f"DR1,{customer},delete,{day} 09:00:00,{day} 09:00:00\n"
    )
    source, customer = one["ids"][0]
    code, answer, errors = line.strata(
        "erase", "--source", source, "--customer", customer, "--by", "test", "--reason", "test"
    )
    assert code == 0, (answer, errors[-3000:])
    needles = Needles(
        [v for p in (one, two) for v in (*p["values"], p["key"])],
        words=[i for p in (one, two) for _, i in p["ids"]],
    )
    yield Erased(line, company, answer, needles, (one["key"], two["key"]), (*one["ids"], *two["ids"]))
    for folder in (line.home / "releases").iterdir():
        commit.remove(folder)


def test_both_are_nowhere_in_the_home(erased: Erased) -> None:
    assert scan(erased.before.home, erased.needles), "they were there"
    assert scan(erased.line.home, erased.needles) == []
    certificates = sorted((erased.line.home / "vault" / "certificates").glob("*.json"))
    assert len(certificates) == 2 and erased.answer["status"] == "complete"


def test_a_fresh_release_is_current_and_the_gate_stands_in_it(erased: Erased) -> None:
    manifest = erased.line.manifest()
    own = ("erased_persons_absent", "delete_requests_met")
    way = json.loads((erased.line.home / "build" / "way.json").read_text())
    assert way["way"] == "full build", "a file that was changed in place keeps what was deleted from it"
    gate = [c for c in manifest["checks"] if c["check"] in own]
    assert len(gate) > 5 and all(c["passed"] and c["level"] == "block" for c in gate)
    balance = "select * from operations.row_balance order by all"
    assert erased.line.query(balance) == erased.before.query(balance), "sales are as they were"
    states = erased.line.query("select sum(rows_n) from operations.row_chain where state = 'erased'")
    assert (
        states[0][0] == erased.line.query("select sum(rows_erased) from operations.ingest_ledger")[0][0] > 5
    )


def test_kept_history_is_exact_but_for_them(erased: Erased) -> None:
    """Every table of the republished release equals the original less their rows, but for cells that became small."""
    original = erased.before.manifest()["release"]
    republished = [
        r for r in shelf.list_releases(settings_of(erased.line)) if r != erased.line.manifest()["release"]
    ]
    assert len(republished) == 1 and original not in republished
    folder = erased.line.home / "releases" / republished[0]
    assert shelf.verify_folder(folder) == []
    for path in sorted((erased.before.release / "tables").rglob("*.parquet")):
        name = path.relative_to(erased.before.release)
        before, after = pq.read_table(path).to_pylist(), pq.read_table(folder / name).to_pylist()
        if "is_suppressed" in (before[0] if before else {}):
            continue
        kept = [
            r
            for r in before
            if r.get("customer_key") not in erased.keys
            and (r.get("source"), r.get("source_customer_id")) not in erased.ids
        ]
        assert after == kept, name


def test_all_files_again_bring_nobody_back(erased: Erased, monkeypatch: pytest.MonkeyPatch) -> None:
    line = erased.line
    monkeypatch.setenv("STRATA_TOKEN_KEY", TOKEN_KEY)
    settings = settings_of(line)
    manifest = line.manifest()
    for path in sorted(line.landing.glob("[!_]*/*/*.csv")):
        # Other bytes, same records: a further export of the same day.
        shutil.copyfile(path, path.with_name(f"{path.stem}.again.csv"))
        with path.with_name(f"{path.stem}.again.csv").open("ab") as file:
            file.write(b"\n")
    as_of = shelf.newest_as_of(settings)
    assert as_of
    entries = sweep(settings, as_of, run_id="again", released=as_of).entries
    assert sum('"erased"' in (e.reject_codes or "") for e in entries) > 2
    assert scan(line.home, erased.needles) == []
    assert line.manifest() == manifest


def settings_of(line: Line) -> Settings:
    return Settings(Path(line.home), Path(line.landing), None, "Asia/Shanghai", None, None)
