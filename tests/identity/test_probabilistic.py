"""The second stage of matching: what it takes for one person, what it never does, and that it says the same each time."""

import dataclasses
import itertools
import subprocess
import sys
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline import duck
from pipeline import settings as settings_module
from pipeline.identity import likely, probabilistic, tables
from pipeline.identity.links import write_links
from pipeline.identity.probabilistic import COLUMNS, Policy, candidate_pairs
from pipeline.ingest import ledger
from pipeline.ingest.files import write_parquet
from pipeline.ingest.load import sweep
from pipeline.privacy import access_log
from pipeline.settings import Settings

DAY = date(2026, 1, 1)
POLICY = dataclasses.replace(Policy.on(DAY), enabled=True, training_pairs_max=20_000)
FIRST = [
    "ada",
    "ben",
    "carl",
    "dora",
    "emil",
    "finn",
    "gina",
    "hugo",
    "iris",
    "jona",
    "kurt",
    "lena",
    "milo",
    "nora",
    "otto",
    "paul",
    "rita",
    "sven",
    "tara",
    "udo",
    "vera",
    "willi",
]
LAST = [
    "abbott",
    "becker",
    "carson",
    "dalton",
    "eckert",
    "farmer",
    "garcia",
    "hansen",
    "iverson",
    "jacobs",
    "keller",
    "larsen",
    "mercer",
    "norton",
]
HAN = [
    "王伟",
    "李娜",
    "张敏",
    "刘洋",
    "陈静",
    "杨磊",
    "赵芳",
    "黄强",
    "周军",
    "吴艳",
    "徐杰",
    "孙涛",
    "胡明",
    "朱超",
    "高秀英",
    "林建国",
    "何海燕",
    "郭春梅",
    "马志远",
    "罗文博",
]


def crowd() -> list[dict]:
    """200 people, each with a second record that has one slip: enough for the parameters to be learnt."""
    rows: list[dict] = []
    for i, (first, last) in enumerate(itertools.islice(itertools.product(FIRST, LAST), 200)):
        born = date(1950, 1, 1) + timedelta(days=i * 97 % 20_000)
        person = {
            "name": f"{first} {last}" if i % 4 else HAN[i // 4 % len(HAN)] + HAN[i // 80][-1],
            "birth_date": born,
            "gender": ("female", "male")[i % 2],
            "address": f"{i * 7 % 150 + 1} {LAST[i % 14]}{FIRST[i % 22]} street",
            "city": LAST[i % 11] + "ville",
            "postcode": str(10_000 + i * 13 % 9_000),
            "phone": f"+86138{(i * 48_271 + 12_345_678) % 10**8:08d}",
            "email": f"{first}.{last}{i}@example.org",
        }
        slip = (
            {"phone": None},
            {"email": None, "address": None},
            {"birth_date": None},
            {"phone": None, "email": None},
            {"name": f"{last} {first}" if i % 4 else person["name"], "email": None},
        )[i % 5]
        rows += [person, person | slip]
    return rows


CROWD = crowd()


LATIN = {
    "name": "Martha Kowalski",
    "birth_date": date(1984, 3, 7),
    "address": "12 Oakwood Lane Flat 4",
    "city": "Springvale",
    "postcode": "40213",
}
CHINESE = {
    "name": "欧晓彤",
    "birth_date": date(1991, 5, 12),
    "address": "上海市梧桐路18号3单元502室",
    "city": "上海",
    "postcode": "200031",
}


def apart(i: int, base: dict) -> dict:
    """The same kind of person elsewhere, so that the pairs of one crowd do not meet."""
    han = not base["name"].isascii()
    return base | {
        "name": HAN[i][0] + "瑾瑜珩琬玥琰璇"[i % 7] + "昀晖昶"[i % 3]
        if han
        else f"{FIRST[-i]}line {LAST[i]}owski",
        "birth_date": base["birth_date"] + timedelta(days=411 * (i + 1)),
        "address": f"{base['address'][:2]}{i}{base['address'][2:]}",
        "postcode": str(int(base["postcode"]) + 17 * (i + 1)),
    }


def one_person() -> dict[str, tuple[dict, dict]]:
    a, b, c, d, e, f = (apart(i, LATIN) for i in range(1, 7))
    g, h = apart(7, CHINESE), apart(8, CHINESE)
    born = d["birth_date"].replace(month=11, day=4)
    return {
        "a letter left out": (a, a | {"name": a["name"][:3] + a["name"][4:]}),
        "name swapped": (b, b | {"name": " ".join(reversed(b["name"].split()))}),
        "birth date off by one": (c, c | {"birth_date": c["birth_date"] + timedelta(days=1)}),
        "day and month swapped": (
            d | {"birth_date": born},
            d | {"birth_date": born.replace(month=4, day=11)},
        ),
        "address turned round": (e, e | {"address": " ".join(reversed(e["address"].split())), "city": None}),
        "postcode transposed": (
            f,
            f | {"address": None, "postcode": f["postcode"][:3] + f["postcode"][4] + f["postcode"][3]},
        ),
        "Han name equal": (g, g | {"address": None}),
        "Han family name last": (h, h | {"name": h["name"][1:] + h["name"][0]}),
    }


def two_people() -> dict[str, tuple[dict, dict]]:
    a, b, c, d, e = (apart(i, LATIN) for i in range(9, 14))
    f, g, h = (apart(i, CHINESE) for i in range(14, 17))
    other = date(1957, 10, 23)
    here = {"address": None, "postcode": None}
    return {
        "siblings": (a, a | {"name": "Ludovic " + a["name"].split()[1], "birth_date": other}),
        "spouses": (b, b | {"name": "Ludovic Zamora", "birth_date": other}),
        "father and son of one name": (
            c | {"phone": "+8613900000001"},
            c | {"phone": "+8613700000002", "birth_date": other},
        ),
        "twins of two sexes": (
            d | {"gender": "male"},
            d | {"gender": "female", "name": "Ludovica " + d["name"].split()[1]},
        ),
        "a nameless record of the house": (e | {"name": None, "birth_date": None}, e),
        "Han siblings": (f, f | {"name": f["name"][:2] + "轩", "birth_date": other}),
        "Han twins": (g, g | {"name": g["name"][:2] + "轩"}),
        "two of three Han characters": (h | here, h | {"name": h["name"][:2]} | here),
    }


ROWS = [*CROWD, *(row for pair in (one_person() | two_people()).values() for row in pair)]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    """Pairs of the crowd and of all the cases: one model, one run."""
    home = settings_module.load()
    home = dataclasses.replace(home, home=tmp_path_factory.mktemp("crowd") / "home")
    return candidate_pairs(pd.DataFrame(ROWS, dtype=object), home, POLICY)


def made(found: pd.DataFrame, cases: dict[str, tuple[dict, dict]], first: int) -> dict[str, bool]:
    pairs = set(zip(found["left"], found["right"], strict=True))
    return {case: (first + 2 * i, first + 2 * i + 1) in pairs for i, case in enumerate(cases)}


def test_one_person_with_a_slip_is_found(found: pd.DataFrame) -> None:
    cases = one_person()
    assert made(found, cases, len(CROWD)) == dict.fromkeys(cases, True)


def test_what_a_household_shares_joins_nobody(found: pd.DataFrame) -> None:
    cases = two_people()
    assert made(found, cases, len(CROWD) + 2 * len(one_person())) == dict.fromkeys(cases, False)


def test_same_records_in_any_order_give_the_same_pairs(found: pd.DataFrame, settings: Settings) -> None:
    assert len(found) > 150
    frame = pd.DataFrame(ROWS, dtype=object)
    order = np.random.default_rng(3).permutation(len(frame))
    again = candidate_pairs(frame.iloc[order].reset_index(drop=True), settings, POLICY)
    ends = np.sort(order[again[["left", "right"]].to_numpy()], axis=1)
    named = {(int(a), int(b)): p for (a, b), p in zip(ends, again["probability"], strict=True)}
    assert named == {(a, b): p for a, b, p in found.itertuples(index=False)}


def test_a_value_of_thousands_blocks_nothing_and_too_few_records_say_nothing(settings: Settings) -> None:
    shop = [
        {"email": "team@example.org", "name": f"{a} {b}{i}"} for i in range(14) for a in FIRST for b in LAST
    ]
    found = candidate_pairs(pd.DataFrame([*CROWD, *shop], dtype=object), settings, POLICY)
    assert len(found) and found["right"].max() < len(CROWD)
    few = pd.DataFrame(CROWD[: POLICY.training_records_min - 1], dtype=object)
    assert not len(candidate_pairs(few, settings, POLICY))
    nothing_known = pd.DataFrame({"name": [None] * 200})
    assert not len(candidate_pairs(nothing_known, settings, POLICY))


def test_splink_is_imported_by_the_stage_alone_and_draws_nothing() -> None:
    code = "import sys, pipeline.identity.probabilistic, pipeline.identity.links\nprint('splink' in sys.modules)\n"
    code += "from splink import DuckDBAPI, Linker\nprint('altair' in sys.modules)"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.split() == ["False", "False"]


@pytest.fixture
def home(settings: Settings, land: Callable[[str, str], Path]) -> Settings:
    """The crowd in two sources, taken in: clear values are in the vault alone."""
    for k, source in enumerate(("app", "crm")):
        frame = pd.DataFrame(CROWD[k::2]).astype({"birth_date": str})
        frame.insert(0, "source_customer_id", [f"{source}{i}" for i in range(len(frame))])
        land(
            f"{source}/customers/2026-01-01.jsonl",
            frame.to_json(orient="records", lines=True),
        )
    sweep(settings, date(2026, 1, 2), run_id="r", released=None)
    return settings


def test_the_vault_gives_the_clear_columns_and_notes_the_opening(home: Settings) -> None:
    records = likely.read_records(home, ledger.in_force(ledger.read(home), date(2026, 1, 2)))
    clear = probabilistic.vault_records(home, records)
    own = {f"app{i}": row for i, row in enumerate(CROWD[::2])}
    assert set(clear) <= set(COLUMNS) and len(clear) == len(records) == len(CROWD)
    for i, row in zip(records.index, clear.to_dict("records"), strict=True):
        if wanted := own.get(records["source_customer_id"][i]):
            assert row["phone"] == wanted["phone"] and row["email"] == wanted["email"]
            assert row["name"].lower() == wanted["name"] and row["address"] == wanted["address"]
            assert row["birth_date"] == wanted["birth_date"].isoformat()
    assert access_log.read(home)[-1]["purpose"] == "matching"
    assert not probabilistic.vault_records(home, records.assign(name_token="0" * 32))["name"].notna().any()


def links(home: Settings) -> list[dict]:
    return tables.links(home).to_pylist()


def test_the_daily_job_uses_the_stage_where_policy_switches_it_on(
    home: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    day = date(2026, 1, 2)
    alone = write_links(home, [day])[day]
    assert not (home.identity / "likely.parquet").exists()
    monkeypatch.setattr(Policy, "on", classmethod(lambda cls, as_of: POLICY))
    persons = write_links(home, [day])[day]
    assert persons < alone and persons >= len(CROWD) // 2
    rules = tables.links(home)["rule"].to_pylist()
    assert "probabilistic" in rules
    first = pq.read_table(home.identity / "likely.parquet").to_pylist()
    assert {row["known_from"] for row in first} == {day}
    # A pair keeps its day, and stays though another model would not find it: its records have not changed.
    keys = {(r["source"], r["source_customer_id"]): r["customer_key"] for r in links(home)}
    later = day + timedelta(days=1)
    for path in home.identity.iterdir():
        path.unlink()
    assert write_links(home, [later])[later] == persons
    assert pq.read_table(home.identity / "likely.parquet").to_pylist() == first, "it follows from raw"
    assert {(r["source"], r["source_customer_id"]): r["customer_key"] for r in links(home)} == keys
    nothing = pd.DataFrame({"left": [], "right": [], "probability": []})
    monkeypatch.setattr(likely, "candidate_pairs", lambda records, settings, policy: nothing)
    monkeypatch.setattr(likely, "FORMAT", 0)
    later += timedelta(days=1)
    assert write_links(home, [later])[later] == persons
    assert pq.read_table(home.identity / "likely.parquet").to_pylist() == first
    monkeypatch.setattr(
        Policy, "on", classmethod(lambda cls, as_of: dataclasses.replace(POLICY, enabled=False))
    )
    assert write_links(home, [later])[later] == alone
    assert not (home.identity / "likely.parquet").exists()


def test_nothing_is_computed_where_nothing_came(
    home: Settings, land: Callable[[str, str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other than deliveries of customers, erasures and policy decide nothing."""
    opened = []
    monkeypatch.setattr(Policy, "on", classmethod(lambda cls, as_of: POLICY))
    find = likely.candidate_pairs

    def watched(*given: Any) -> pd.DataFrame:
        opened.append(len(given[0]))
        return find(*given)

    monkeypatch.setattr(likely, "candidate_pairs", watched)

    def links_on(n: int) -> int:
        day = date(2026, 1, 1) + timedelta(days=n)
        sweep(home, day, run_id=f"r{n}", released=None)
        return write_links(home, [day])[day]

    persons = links_on(1)
    first = (home.identity / "likely.parquet").read_bytes()
    land("app/orders/2026-01-02.csv", "order_id,source_customer_id\no1,app1\n")
    assert links_on(2) == persons and len(opened) == 1
    assert (home.identity / "likely.parquet").read_bytes() == first
    land("app/customers/2026-01-03.csv", "source_customer_id,name\nnew,Zoe Zander\n")
    assert links_on(3) == persons + 1 and opened[1:] == [len(CROWD) + 1]
    write_parquet(pa.table({"erasure": ["e"]}), home.raw / "_erased" / "e.parquet")
    links_on(4)
    assert len(opened) == 3, "an erasure takes rows out of deliveries that stay as they are"
    monkeypatch.setattr(
        Policy, "on", classmethod(lambda cls, as_of: dataclasses.replace(POLICY, probability_min=0.9))
    )
    links_on(5)
    links_on(6)
    assert len(opened) == 4


def test_the_weights_are_those_of_splink(settings: Settings) -> None:
    """Of the proposed pairs with one birth date, term frequencies included."""
    con = duck.connect([], spill=settings.vault / "spill")
    probabilistic._load(con, pd.DataFrame(ROWS, dtype=object))
    probabilistic._add_keys(con, POLICY)
    model = probabilistic._trained(
        con, ["name", "dob", "address", "city", "postcode", "phone", "email"], POLICY
    )
    assert model
    probabilistic._propose(con)
    probabilistic._predict(con, model)
    model |= {"blocking_rules_to_generate_predictions": [{"blocking_rule": "l.key_dob = r.key_dob"}]}
    theirs = probabilistic._linker(con, model).inference.predict()
    con.execute(f"create view theirs as from {theirs.physical_name}")
    row = con.execute(
        "select count(*), max(abs(s.match_weight - t.match_weight)) from scored as s "
        "join theirs as t using (unique_id_l, unique_id_r)"
    ).fetchone()
    assert row and row[0] > 100 and row[1] < 1e-9
