"""What people decide: it is data, it survives a rebuild, and the alarm rings until it is there."""

import json
import shutil
from collections.abc import Callable
from datetime import date
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from pipeline.cli.identity import identity
from pipeline.errors import StrataError
from pipeline.identity import review, tables
from pipeline.identity.links import write_links
from pipeline.ingest.load import sweep
from pipeline.settings import Settings

Land = Callable[[str, bytes | str], Path]
D = date(2024, 5, 10)


def build(settings: Settings, day: date = D) -> dict[str, object]:
    """Take in what was landed and say who is who; the row that Q-08 judges."""
    sweep(settings, day, run_id="test", released=None)
    write_links(settings, [day])
    return pq.read_table(settings.identity / "quality.parquet").to_pylist()[0]


def keys(settings: Settings) -> dict[str, str]:
    rows = tables.links(settings).to_pylist()
    return {f"{r['source']}/{r['source_customer_id']}": r["customer_key"] for r in rows}


def strata(*args: str) -> tuple[int, object]:
    done = CliRunner().invoke(identity, [*args, "--json"])
    return done.exit_code, json.loads(done.stdout)


@pytest.fixture
def household(settings: Settings, land: Land) -> Settings:
    """Two cards on one phone, and an app account that may be of either; names are not told."""
    head = "source_customer_id,phone,email\n"
    land("crm/customers/2024-05-01.csv", head + "c1,13812345678,\nc2,13812345678,\n")
    land("app/customers/2024-05-02.csv", head + "a1,13812345678,\n")
    return settings


def test_a_decision_is_applied_by_the_next_run_and_survives_a_rebuild(household: Settings) -> None:
    before = build(household)
    assert (before["persons_n"], before["pairs_unresolved_n"]) == (3, 2), (
        "c1 and c2 are two cards of one source"
    )
    code, waiting = strata("review")
    assert code == 0 and waiting["waiting"] == 2
    item = next(i["item"] for i in waiting["items"] if {"c1", "a1"} == {i["left_id"], i["right_id"]})
    code, made = strata("accept", item, "--by", "ann", "--why", "the app account shows the card")
    assert code == 0 and (made[0]["who"], made[0]["why"]) == ("ann", "the app account shows the card")
    after = build(household)
    joined = keys(household)
    assert joined["app/a1"] == joined["crm/c1"] != joined["crm/c2"]
    shutil.rmtree(household.identity)
    assert build(household) == after and keys(household) == joined
    code, _ = strata("reject", "app/a1", "crm/c1", "--why", "it was the wife's card")
    assert code == 0
    build(household)
    assert len(set(keys(household).values())) == 3, "the later word about two records counts"
    assert [d["verdict"] for d in strata("review", "--decided")[1]] == ["reject"]


def test_what_was_said_is_never_lost(household: Settings) -> None:
    build(household)
    strata("accept", "app/a1", "crm/c1", "--why", "one")
    strata("reject", "app/a1", "crm/c1", "--why", "two")
    assert len(household.decisions.read_text().splitlines()) == 2
    assert household.decisions.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("accept", "0123456789ab", "--why", "x"), "does not wait for review"),
        (("accept", "app/a1", "app/a1", "--why", "x"), "is one record"),
        (("accept", "app/a1", "app/nobody", "--why", "x"), "is no record that Strata knows"),
        (("accept", "app/a1", "crm/c1", "--why", " "), "--why is empty"),
    ],
)
def test_a_wrong_call_says_what_to_do(household: Settings, args: tuple[str, ...], says: str) -> None:
    build(household)
    code, said = strata(*args)
    assert code == 1 and says in str(said)
    assert not household.decisions.exists()


def test_a_damaged_line_is_named(household: Settings) -> None:
    household.decisions.parent.mkdir(parents=True)
    household.decisions.write_text('{"verdict": "perhaps"}\n')
    with pytest.raises(StrataError, match=r"identity\.jsonl:1"):
        review.read(household)


def test_a_mailbox_of_many_makes_nobody_one_person_and_rings_until_it_is_judged(
    settings: Settings, land: Land
) -> None:
    rows = "".join(f"c{n:03},,desk@shop.example\n" for n in range(60))
    land("crm/customers/2024-05-01.csv", "source_customer_id,phone,email\n" + rows)
    quality = build(settings)
    assert (quality["persons_n"], quality["oversized_unreviewed_n"]) == (60, 1)
    assert quality["pairs_unresolved_n"] == 59
    (item,) = strata("review")[1]["items"]
    assert (item["records_n"], item["right_id"]) == (60, None)
    assert strata("accept", item["item"], "--why", "x")[0] == 1, "nobody merges sixty at once"
    assert strata("reject", item["item"], "--why", "the desk's own mailbox")[0] == 0
    land("crm/customers/2024-05-02.csv", "source_customer_id,phone,email\nnew,,desk@shop.example\n")
    quality = build(settings)
    assert (quality["persons_n"], quality["oversized_unreviewed_n"], quality["pairs_unresolved_n"]) == (
        61,
        0,
        0,
    )


def test_masked_and_placeholder_values_and_look_alikes(settings: Settings, land: Land) -> None:
    """Nothing links by what nobody is; a full-width digit and a Cyrillic а are what they look like."""
    head = "source_customer_id,phone,email,name,birth_date\n"
    rows = [
        ("138****5678,a***@b.com,,1900-01-01", "138****5678,a***@b.com,,1900-01-01"),
        ("13800000000,test@test.com,,", "138 0000 0000,TEST@test.com,,"),
        ("１３８１２３４５６７８,,王伟,", "+86 138-1234-5678,,王 伟,"),
        (",pаul@mail.example,PAUL LEE,", ",paul@mail.example,Paul Lee,"),
    ]
    land("crm/customers/2024-05-01.csv", head + "".join(f"c{n},{row[0]}\n" for n, row in enumerate(rows)))
    land("app/customers/2024-05-01.csv", head + "".join(f"a{n},{row[1]}\n" for n, row in enumerate(rows)))
    assert build(settings)["persons_n"] == 6
    found = keys(settings)
    assert [found[f"crm/c{n}"] == found[f"app/a{n}"] for n in range(4)] == [False, False, True, True]


def test_a_union_id_of_the_links_feed_joins_and_a_device_alone_does_not(
    settings: Settings, land: Land
) -> None:
    land("app/customers/2024-05-01.csv", "source_customer_id,phone\na1,\na2,\na3,\n")
    land("shop/customers/2024-05-01.csv", "source_customer_id,phone\ns1,\ns2,\ns3,\n")
    head = "link_id,id_type,id_value_hash,source_customer_id,observed_at,confidence\n"
    links = "1,unionid,u1,{}1,2024-04-30 10:00:00,0.9\n2,device,d1,{}2,2024-04-30 10:00:00,1\n3,unionid,u3,{}3,2024-04-30 10:00:00,0.3\n"
    land("app/identity_links/2024-05-03.csv", head + links.replace("{}", "a"))
    land("shop/identity_links/2024-05-03.csv", head + links.replace("{}", "s"))
    quality = build(settings)
    found = keys(settings)
    assert [found[f"app/a{n}"] == found[f"shop/s{n}"] for n in (1, 2, 3)] == [True, False, False]
    assert quality["pairs_unresolved_n"] == 1, (
        "of an identifier that the source is not sure of a person decides"
    )
    rows = tables.history(settings).to_pylist()
    mine = sorted((r for r in rows if r["source_customer_id"] == "s1"), key=lambda r: r["valid_from"])
    assert [(r["rule"], round(r["confidence"], 3), r["observed_at"]) for r in mine if not r["valid_to"]] == [
        ("unionid", 0.891, date(2024, 4, 30))
    ]
    assert [(r["valid_from"], r["valid_to"], r["merged_into"]) for r in mine] == [
        (date(2024, 5, 2), date(2024, 5, 4), found["app/a1"]),
        (date(2024, 5, 4), None, None),
    ]


def test_any_order_of_files_and_days_gives_the_same_keys_and_history(
    settings: Settings, land: Land, tmp_path: Path
) -> None:
    """A home that runs every day, one that takes all at once, one that starts anew from raw."""
    from dataclasses import replace

    head = "source_customer_id,phone,email,updated_at\n"
    land("crm/customers/2024-05-01.csv", head + "c1,13812345678,,\nc2,13912345678,,\n")
    land("app/customers/2024-05-02.csv", head + "a1,13812345678,x@mail.example,2024-05-02 10:00:00\n")
    land("shop/customers/2024-05-03.csv", head + "s1,,x@mail.example,\n")
    land("app/customers/2024-05-04.csv", head + "a1,13912345678,x@mail.example,2024-05-04 10:00:00\n")
    land("app/customers/2024-05-06.csv", head + "a1,,,2024-05-06 10:00:00\n")
    daily, whole = replace(settings, home=tmp_path / "daily"), replace(settings, home=tmp_path / "whole")
    for day in range(2, 11):
        build(daily, date(2024, 5, day))
    build(whole)

    def said(home: Settings) -> list[list[dict]]:
        review = pq.read_table(home.identity / "review.parquet")
        found = (tables.links(home), tables.history(home), review)
        return [sorted(table.to_pylist(), key=lambda row: str(row.values())) for table in found]

    told = said(daily)
    assert told == said(whole)
    shutil.rmtree(daily.identity)
    build(daily)
    assert said(daily) == told
    steps = sorted((r["valid_from"].day, r["source"]) for r in told[1] if r["source"] == "app")
    assert steps == [(3, "app"), (5, "app"), (7, "app")], "joined to c1, then to c2, then alone"
