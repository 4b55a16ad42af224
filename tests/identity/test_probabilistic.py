"""The second stage of matching: what it takes for one person, what it never does, and that it says the same each time."""

import dataclasses
import itertools
import subprocess
import sys
from collections.abc import Callable
from copy import deepcopy
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks.identity import delivered_records
from pipeline import duck
from pipeline import settings as settings_module
from pipeline.identity import learning, likely, probabilistic, tables
from pipeline.identity.comparisons import ORDERED
from pipeline.identity.links import write_links
from pipeline.identity.probabilistic import COLUMNS, Policy, candidate_pairs, in_clear
from pipeline.ingest.files import write_parquet
from pipeline.ingest.load import sweep
from pipeline.ingest.vault import Vault
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
NOTHING_MADE = "create or replace temp table made (one bigint, other bigint, probability double)"


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
    told = delivered_records(home, date(2026, 1, 2))
    given = pa.Table.from_pandas(told, preserve_index=False).drop_columns(["source", "first_seen"])
    with Vault(home, "matching") as vault:
        clear = in_clear(vault, given).to_pylist()
        nobody = in_clear(vault, given.set_column(1, "name_token", pa.array(["0" * 32] * len(given))))
    own = {f"app{i}": row for i, row in enumerate(CROWD[::2])}
    assert set(clear[0]) <= {"source_customer_id", *COLUMNS} and len(clear) == len(CROWD)
    for row in clear:
        if wanted := own.get(row["source_customer_id"]):
            assert row["phone"] == wanted["phone"] and row["email"] == wanted["email"]
            assert row["name"].lower() == wanted["name"] and row["address"] == wanted["address"]
            assert row["birth_date"] == wanted["birth_date"].isoformat()
    assert access_log.read(home)[-1]["purpose"] == "matching"
    assert nobody["name"].null_count == len(CROWD)


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
    monkeypatch.setattr(likely, "score", lambda con, *_: con.execute(NOTHING_MADE))
    assert learning.forget(home)
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
    find = likely.propose

    def watched(con: duckdb.DuckDBPyConnection, policy: Policy, of: str | None = None) -> None:
        opened.append(con.execute(f"select count(*) from {of or 'compared'}").fetchall()[0][0])
        find(con, policy, of)

    monkeypatch.setattr(likely, "propose", watched)

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
    assert links_on(3) == persons + 1 and opened == [len(CROWD), 1]
    write_parquet(pa.table({"erasure": ["e"]}), home.raw / "_erased" / "e.parquet")
    links_on(4)
    assert len(opened) == 3, "an erasure takes rows out of deliveries that stay as they are"
    monkeypatch.setattr(
        Policy, "on", classmethod(lambda cls, as_of: dataclasses.replace(POLICY, probability_min=0.9))
    )
    links_on(5)
    links_on(6)
    assert len(opened) == 4


def test_the_weights_are_those_of_splink(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the proposed pairs with one birth date, term frequencies included."""
    con = duck.connect([], spill=settings.vault / "spill")
    rows = [
        {c: str(row[c]) if row.get(c) else None for c in COLUMNS} | {"number": i}
        for i, row in enumerate(ROWS)
    ]
    con.register("records", pa.Table.from_pylist(rows))
    con.execute(f"create table compared as {probabilistic.ROWS}")
    predicted = []
    train = learning._trained

    def watched(*given: Any) -> dict | None:
        trained = train(*given)
        rules = {"blocking_rules_to_generate_predictions": [{"blocking_rule": "l.key_dob = r.key_dob"}]}
        found = learning._linker(con, deepcopy(trained) | rules).inference.predict()
        predicted.append(con.execute(f"from {found.physical_name}").to_arrow_table())
        return trained

    monkeypatch.setattr(learning, "_trained", watched)
    # Splink's terms are all there are.
    model = learning.learn(con, dataclasses.replace(POLICY, term_records_min=1), b"key", DAY)
    assert model and "features" not in {row[0] for row in con.execute("show tables").fetchall()}
    probabilistic.propose(con, POLICY)
    probabilistic.score(con, model, POLICY, b"key")
    con.register("theirs", predicted[0])
    row = con.execute(
        f"""
        with ids as (
            select number, row_number() over (order by {", ".join(ORDERED)}, number) as unique_id from compared
        ),
        ours as (
            select least(l.unique_id, r.unique_id) as unique_id_l, greatest(l.unique_id, r.unique_id) as unique_id_r,
                match_weight
            from scored join ids as l on l.number = one join ids as r on r.number = other
        )
        select count(*), max(abs(ours.match_weight - theirs.match_weight))
        from ours join theirs using (unique_id_l, unique_id_r)
        """
    ).fetchone()
    assert row and row[0] > 100 and row[1] < 1e-9
