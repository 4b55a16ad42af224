"""The second stage by increments: a day that looks only at what came finds what a run over all records finds."""

import dataclasses
import json
import os
import random
import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import duckdb
import pandas as pd
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from pipeline.cli.identity import identity
from pipeline.identity import delivered, likely, tables
from pipeline.identity.learning import Policy
from pipeline.identity.likely import write_likely
from pipeline.identity.links import write_links
from pipeline.ingest import ledger
from pipeline.ingest.load import sweep
from pipeline.ingest.vault import Vault, token
from pipeline.ingest.vault.rotation import rotate
from pipeline.lock import run_lock
from pipeline.privacy import erasure
from pipeline.settings import Settings
from tests.identity.test_probabilistic import CROWD, LAST

Land = Callable[[str, str], Path]
DAY = date(2026, 1, 1)
DAYS = 7
# So few that keys pass it every day.
POLICY = dataclasses.replace(Policy.on(DAY), enabled=True, training_pairs_max=20_000, propose_records_max=2)
PEOPLE = CROWD[:380]
KNOWN_TWICE = CROWD[386]
"""Nobody else has a key of hers, until two more records say what her two do; later they say something else."""
ELSE = {"name": "Zora Quill", "birth_date": date(1999, 9, 9)}


def slip(rng: random.Random, row: dict) -> dict:
    """The same person as another source has them."""
    dropped = rng.sample(["phone", "email", "address", "birth_date", "postcode", "city"], rng.randrange(1, 5))
    name = row["name"]
    return (
        row | dict.fromkeys(dropped) | {"name": name[1:] if rng.random() < 0.3 and name.isascii() else name}
    )


def deliver(land: Land, source: str, day: date, rows: dict[str, dict]) -> None:
    frame = pd.DataFrame([{"source_customer_id": i} | row for i, row in rows.items()]).astype(
        {"birth_date": str}
    )
    land(f"{source}/customers/{day}.jsonl", frame.replace("None", None).to_json(orient="records", lines=True))


def pairs(home: Settings) -> list[dict]:
    return pq.read_table(home.identity / "likely.parquet").to_pylist()


def as_found(rows: list[dict]) -> list[dict]:
    """The pairs that count today."""
    days = ("known_from", "known_to")
    return [{k: v for k, v in row.items() if k not in days} for row in rows if not row["known_to"]]


def counted_on(rows: list[dict], day: date) -> set[tuple]:
    """The pairs that count on a day, as identity takes them."""
    columns = ("left_source", "left_id", "right_source", "right_id", "probability")
    return {
        tuple(row[c] for c in columns)
        for row in rows
        if row["known_from"] <= day < (row["known_to"] or date.max)
    }


def find(home: Settings, day: date, policy: Policy = POLICY) -> None:
    with run_lock(home):
        write_likely(home, ledger.read(home), day, policy)


def dies(*_: object) -> None:
    raise KeyboardInterrupt


def beside(home: Settings, folder: Path, *without: str) -> Settings:
    """A copy of the home; of it the files are missing that the next run makes anew."""
    other = replace(home, home=folder)
    shutil.copytree(home.home, folder)
    for name in without:
        (folder / name).unlink(missing_ok=True)
    return other


@pytest.mark.parametrize("seed", range(1, 40 if os.environ.get("STRATA_SOAK") else 2))
def test_day_by_day_is_as_a_run_over_everything(
    settings: Settings, land: Land, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """Records come, change and go, files are replaced, keys pass the cap both ways, people are erased, a run dies."""
    rng = random.Random(seed)
    asked: list[str | None] = []
    propose = likely.propose

    def watched(con: duckdb.DuckDBPyConnection, policy: Policy, of: str | None = None) -> None:
        asked.append(of)
        propose(con, policy, of)

    monkeypatch.setattr(likely, "propose", watched)
    first = {
        source: {f"{source}{i}": row for i, row in enumerate(PEOPLE[k::2])}
        for k, source in enumerate(("app", "crm"))
    }
    held = {name: row for rows in first.values() for name, row in rows.items()}
    hers = {"app": {"app-her": KNOWN_TWICE}, "crm": {"crm-her": KNOWN_TWICE}}
    found_hers = []
    for n in range(DAYS):
        day, as_of = DAY + timedelta(days=n), DAY + timedelta(days=n + 1)
        for source in ("app", "crm"):
            came = (
                {f"{source}-{n}-{i}": slip(rng, rng.choice(PEOPLE)) for i in range(6)} if n else first[source]
            )
            again = rng.sample([name for name in held if name.startswith(source)], 4) if n else []
            came |= {name: slip(rng, rng.choice([held[name], rng.choice(PEOPLE)])) for name in again}
            held |= came
            more = {0: hers[source], 2: {f"{source}-too": KNOWN_TWICE}, 4: {f"{source}-too": ELSE}}
            deliver(land, source, day, came | more.get(n, {}))
        if n == 3:
            # The first file again, without some of its people.
            gone = rng.sample(sorted(first["app"]), 15)
            left = {name: row for name, row in first["app"].items() if name not in gone}
            deliver(land, "app", DAY, left | hers["app"])
        sweep(settings, as_of, run_id=f"r{n}", released=day if n else None)
        if n == 5:
            erased = rng.sample(sorted(name for name in held if name.startswith("crm-")), 3)
            with run_lock(settings):
                erasure.begin(settings, [("crm", name) for name in erased], (), (), by="x", reason="y")
                erasure.settle(settings)
            assert not (settings.vault / "matching.duckdb").exists()
        before = pairs(settings) if n else []
        whole = beside(settings, tmp_path / f"whole{n}", "vault/matching.duckdb")
        if n == 6:
            with monkeypatch.context() as killed, pytest.raises(KeyboardInterrupt):
                killed.setattr(likely, "write_parquet", dies)
                find(settings, as_of)
        asked.clear()
        find(settings, as_of)
        assert asked == [None if n in (0, 5, 6) else "asked"], (
            f"day {n}: all are asked about, or those that came"
        )
        now = pairs(settings)
        if n:
            find(whole, as_of)
            assert pairs(whole) == now, f"day {n}: over all records, beside the pairs of before"
            once = beside(settings, tmp_path / f"once{n}", "vault/matching.duckdb", "identity/likely.parquet")
            find(once, as_of)
            assert as_found(pairs(once)) == as_found(now), f"day {n}: over all records, from raw"
            past = [DAY + timedelta(days=k) for k in range(n + 1)]
            assert [counted_on(now, d) for d in past] == [counted_on(before, d) for d in past], (
                "no past day moves"
            )
        found_hers += [any((r["left_id"], r["right_id"]) == ("app-her", "crm-her") for r in as_found(now))]
    assert found_hers == [True, True, False, False, True, True, True], "keys that pass the cap, up and down"
    assert len(now) > 60


def test_the_model_is_learnt_once_and_tells_nobody(
    settings: Settings, land: Land, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It outlives days, a new token key and a lost file of what is compared."""
    path, other_key = settings.vault / "matching.json", "cd" * 32

    def next_day(n: int, rows: dict[str, dict], policy: Policy = POLICY) -> tuple[str | None, list[dict]]:
        if rows:
            deliver(land, "app", DAY + timedelta(days=n), rows)
        sweep(settings, DAY + timedelta(days=n + 1), run_id=f"r{n}", released=None)
        find(settings, DAY + timedelta(days=n + 1), policy)
        return json.loads(path.read_text())["learnt_on"] if path.exists() else None, pairs(settings)

    crowd = {f"a{i}": row for i, row in enumerate(CROWD)}
    assert next_day(0, dict(list(crowd.items())[:20]) | {"x": ELSE}) == (None, []), "too few to learn from"
    learnt_on, found = next_day(1, crowd)
    assert learnt_on == "2026-01-03" and len(found) > 100
    held, key = path.read_text(), Vault(settings).minting_key
    assert all(token(key, "city", f"{name}ville") in held for name in LAST[:11])
    names = {" ".join(sorted(row["name"].split())) for row in CROWD if row["name"].isascii()}
    assert not [name for name in names if token(key, "full_name", name) in held or name in held]
    assert (path.stat().st_mode & 0o777, (settings.vault / "matching.duckdb").stat().st_mode & 0o777) == (
        0o600,
        0o600,
    )

    assert next_day(2, {"new": CROWD[0] | {"phone": None}})[0] == learnt_on
    rotate(settings, bytes.fromhex(other_key))
    assert not (settings.vault / "matching.duckdb").exists()
    monkeypatch.setenv("STRATA_TOKEN_KEY", other_key)
    assert next_day(3, {"newer": ELSE}) == (learnt_on, pairs(settings))
    assert path.read_text() == held
    told = CliRunner().invoke(identity, ["learn", "--json"])
    assert json.loads(told.stdout) == {"forgotten": True}
    learnt_on, now = next_day(4, {})
    assert learnt_on == "2026-01-06" and {r["known_from"] for r in now} >= {r["known_from"] for r in found}
    assert next_day(5, {"last": ELSE}, replace(POLICY, relearn_growth=1.01))[0] == learnt_on
    assert (
        next_day(6, {f"b{i}": ELSE for i in range(5)}, replace(POLICY, relearn_growth=1.01))[0]
        == "2026-01-08"
    )
    assert next_day(7, {"y": ELSE}, replace(POLICY, rules_recall=0.4))[0] == "2026-01-09"


def test_a_pair_that_ends_leaves_the_days_before_as_they_were(
    settings: Settings, land: Land, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So the first stage goes on from its state."""
    monkeypatch.setattr(Policy, "on", classmethod(lambda cls, as_of: POLICY))
    whole: list[str] = []
    read = delivered.Raw.whole
    monkeypatch.setattr(delivered.Raw, "whole", lambda self, feed: whole.append(feed) or read(self, feed))

    def linked(n: int, source: str, rows: dict[str, dict]) -> dict[str, str]:
        deliver(land, source, DAY + timedelta(days=n), rows)
        as_of = DAY + timedelta(days=n + 1)
        sweep(settings, as_of, run_id=f"{source}{n}", released=None)
        whole.clear()
        write_links(settings, [as_of])
        return keys(settings)

    def keys(home: Settings) -> dict[str, str]:
        return {
            row["source_customer_id"]: row["customer_key"]
            for row in tables.links(home, newest=True).to_pylist()
        }

    linked(0, "app", {f"app{i}": row for i, row in enumerate(PEOPLE)})
    linked(1, "app", {"app-her": KNOWN_TWICE})
    found = linked(2, "crm", {"crm-her": KNOWN_TWICE | {"phone": None, "email": None}})
    assert found["app-her"] == found["crm-her"]
    found = linked(3, "crm", {"crm-her": ELSE})
    assert found["app-her"] != found["crm-her"] and not whole, "nothing of raw is read again"
    past = [row for row in tables.history(settings).to_pylist() if row["source_customer_id"] == "crm-her"]
    assert sorted((row["valid_from"].day, row["valid_to"] and row["valid_to"].day) for row in past) == [
        (4, 5),
        (5, None),
    ]
    shutil.rmtree(settings.identity)
    write_links(settings, [DAY + timedelta(days=4)])
    assert keys(settings) == found
