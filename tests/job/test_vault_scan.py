"""Whole homes, decoded: people of the sample company stand in the vault and nowhere else, whatever the runs said."""

import json
import os
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline import settings as settings_module
from pipeline.home_scan import Needles, scan
from pipeline.identity import tables
from pipeline.identity.links import write_links
from tests.job.conftest import Line

NEW_KEY = "c3" * 32
# A person whom only the files below name.
STRANGER = ("欧阳娜娜", "13987650123", "nana.ouyang@example.org", "朝阳区建国路88号")


def people(line: Line) -> dict[str, list[str]]:
    """Names, phones and e-mails of everybody in the truth."""
    table = pq.read_table(line.landing / "_truth" / "contacts.parquet")
    return {kind: [v for v in table[kind].to_pylist() if v] for kind in ("name", "phone", "email", "address")}


def known(line: Line) -> Needles:
    left = pq.read_table(line.landing / "_truth" / "guest_contacts.parquet").to_pylist()
    guests = [g[n] for g in left if g["kind"] not in ("masked", "placeholder") for n in ("phone", "email")]
    return Needles(
        [*(v for values in people(line).values() for v in values), *filter(None, guests), *STRANGER]
    )


@pytest.fixture(scope="module")
def needles(company: Line) -> Needles:
    return known(company)


def test_people_stand_in_the_vault_only(company: Line, needles: Needles) -> None:
    """Raw, warehouse, release, page, Dagster's storage and the logs of dbt: none of 1,600 values."""
    assert scan(company.home, needles, skip=[company.home / "vault"]) == []


def test_the_vault_has_them_and_the_scan_sees_them_there(company: Line, needles: Needles) -> None:
    found = {hit.value for hit in scan(company.home / "vault", needles)}
    expected = people(company)
    for kind, values in expected.items():
        # Guests and persons without an account are in no file that names them.
        assert len(found & set(values)) > 0.8 * len(set(values)), kind


def test_comments_are_kept_without_the_persons_in_them(company: Line) -> None:
    """Each comment of the truth with a name, phone or e-mail has a masked text with as many gaps."""
    said = pq.read_table(company.landing / "_truth" / "personal_texts.parquet").to_pylist()
    assert len(said) > 5
    raw = str(company.home / "raw" / "crm")
    masked = duckdb.sql(
        f"select ticket_id, text_masked from read_parquet('{raw}/tickets/*/*/*.parquet') union "
        f"select response_id, text_masked from read_parquet('{raw}/survey_responses/*/*/*.parquet')"
    ).fetchall()
    for row in said:
        texts = {text for record, text in masked if record == row["record_id"] and text and "‹" in text}
        assert {text.count("‹") for text in texts} == {len(row["kind"].removeprefix("wide ").split())}, row
        assert {text.split("‹")[0][:3] for text in texts} == {row["text"][:3]}


@pytest.fixture(scope="module")
def refused(company: Line, tmp_path_factory: pytest.TempPathFactory) -> tuple[Line, int, str]:
    """(line, exit code, all that was said) of a run over deliveries that put a person where nobody expects one."""
    line = company.copy(tmp_path_factory.mktemp("refused"))
    name, phone, email, address = STRANGER
    day = date.fromisoformat(max(p.stem for p in line.landing.glob("app/orders/*"))) + timedelta(days=1)

    def land(file: str, text: str) -> None:
        path = line.landing / file.format(day=day)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    land(
        "crm/customers/{day}.csv",
        f"source_customer_id,name,phone,gender\nC1,{name},{phone},{phone}\nC2,{name},{phone}\n",
    )
    land("crm/customers/{day}.shifted.csv", f"source,source_customer_id,name\n{phone},C3,{name}\n")
    land("crm/customers/{day}.headless.csv", f"C4,{name},{phone},{email},{address}\n")
    land("crm/customers/{day}.torn.csv", f'source_customer_id,name\nC5,"{name}\nC6,{phone}\n')
    land(
        "crm/tickets/{day}.csv",
        f"ticket_id,type,created_at,text\nT1,complaint,{name},{phone}\nT2,{email},,\n",
    )
    land("crm/tickets/{day}.jsonl.csv", f'{{"ticket_id": "{phone}", "text": "{name} {email}"}}\n')
    land(
        "app/customers/{day}.jsonl",
        f'{{"source_customer_id": "A1", "birth_date": "{name} {phone} {email}"}}\n{name} {phone}\n',
    )
    land(
        "app/orders/{day}.jsonl",
        f'{{"order_id": "o1", "status": "{phone} {email}", "ordered_at": "{phone}"}}\n',
    )
    table = pa.table({"source_customer_id": ["M1"], "birth_date": [f"{name} {phone}"], "gender": [email]})
    (line.landing / "marketplace" / "customers").mkdir(parents=True, exist_ok=True)
    pq.write_table(table, line.landing / "marketplace" / "customers" / f"{day}.odd.parquet")
    code, answer, errors = line.run()
    return line, code, json.dumps(answer, ensure_ascii=False) + errors


def test_a_run_that_failed_tells_nobodys_data(refused: tuple[Line, int, str], needles: Needles) -> None:
    """Ledger, quarantine, Dagster's event log, check results and the terminal, after rejected rows and files."""
    line, code, said = refused
    assert code == 2
    ledger = pq.read_table(line.home / "raw" / "_ledger")
    assert sum(ledger["rows_rejected"].to_pylist()) > 0 and "rejected" in ledger["status"].to_pylist()
    assert needles.found_in(said) == set()
    assert scan(line.home, needles, skip=[line.home / "vault"]) == []
    assert Needles(STRANGER).found_in(
        b"".join(p.read_bytes() for p in line.landing.glob("*/*/*") if p.is_file())
    )


@dataclass(frozen=True)
class Rotated:
    """A line whose token key was replaced, and what its home held before."""

    line: Line
    answer: dict[str, Any]
    old_tokens: list[str]
    links: list[dict[str, Any]]


def links(line: Line) -> list[dict[str, Any]]:
    """Rows of the table links, in an order of their own: it has none."""
    rows = tables.links(replace(settings_module.load(), home=line.home)).to_pylist()
    return sorted(rows, key=lambda row: (row["known_at"], row["source"], row["source_customer_id"]))


@pytest.fixture(scope="module")
def rotated(company: Line, tmp_path_factory: pytest.TempPathFactory) -> Rotated:
    line = company.copy(tmp_path_factory.mktemp("rotated"))
    with duckdb.connect(str(line.home / "vault" / "vault.duckdb"), read_only=True) as con:
        old = [row[0] for row in con.execute("select token from clear_values").fetchall()]
    before = links(line)
    key_file = line.home.parent / "new.key"
    key_file.write_text(NEW_KEY)
    code, answer, errors = line.strata("vault", "rotate", "--new-key-file", str(key_file))
    assert code == 0, errors
    return Rotated(line, answer, old, before)


def test_a_new_key_changes_every_token_and_no_customer_key(
    rotated: Rotated, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = rotated.line
    assert rotated.answer["values"] == len(rotated.old_tokens) > 1000
    assert scan(line.home, Needles(rotated.old_tokens)) == [], "releases hold no token of a contact either"
    for name, value in {"HOME": line.home, "LANDING": line.landing, "TOKEN_KEY": NEW_KEY}.items():
        monkeypatch.setenv(f"STRATA_{name}", str(value))
    write_links(settings_module.load(), sorted({row["known_at"] for row in rotated.links}))
    assert links(line) == rotated.links


def test_the_command_finds_what_somebody_left_lying(rotated: Rotated) -> None:
    """The vault's own values as needles: of the whole home only the one compressed copy of a phone is told."""
    line = rotated.line
    phone = people(line)["phone"][10]
    canary = pa.table({"note": [f"{n} {phone}" for n in range(500)]})
    path = line.home / "build" / "canary.parquet"
    pq.write_table(canary, path, compression="zstd", use_dictionary=False, write_statistics=False)
    assert phone.encode() not in path.read_bytes(), "a plain search does not see it"
    code, answer, _ = line.strata("vault", "scan", env={"STRATA_TOKEN_KEY": NEW_KEY})
    path.unlink()
    assert (code, answer["hits"]) == (1, [{"file": "build/canary.parquet", "where": "column note"}])
    assert answer["looked_for"] == answer["values"] > 1000
    assert phone not in json.dumps(answer)


def published(line: Line) -> list[list[tuple[Any, ...]]]:
    tables = ("core.dim_identity_links", "audiences.segment_membership", "audiences.segment_summary")
    return [line.query(f"select * from {table} order by all") for table in tables]


@pytest.mark.soak
@pytest.mark.skipif(not os.environ.get("STRATA_SOAK"), reason="a whole run: make soak")
def test_the_next_run_after_a_new_key_publishes_the_same(company: Line, rotated: Rotated) -> None:
    line = rotated.line
    code, _, errors = line.run()
    assert code == 1 and "the token key in STRATA_TOKEN_KEY" in errors, (
        "the old key is none of this home's any more"
    )
    code, answer, errors = line.run(env={"STRATA_TOKEN_KEY": NEW_KEY})
    assert (code, answer["status"]) == (0, "unchanged"), (answer, errors[-3000:])
    assert published(line) == published(company) and line.table_hashes() == company.table_hashes()
    assert scan(line.home, Needles(rotated.old_tokens)) == []
