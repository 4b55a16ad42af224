"""No name, phone, e-mail or address stands in clear anywhere under the home but in the vault."""

import json
import shutil
import stat
import traceback
import warnings
from collections.abc import Callable
from datetime import date
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.errors import StrataError
from pipeline.home_scan import Needles, scan
from pipeline.identity.links import write_links
from pipeline.ingest.load import sweep
from pipeline.ingest.vault import Vault
from pipeline.settings import MAPPINGS_DIR, Settings

Land = Callable[[str, bytes | str], Path]
AS_OF = date(2024, 5, 7)
PERSONAL = (
    "欧阳娜娜",
    "Ludwig Mies",
    "13812345678",
    "+8613812345678",
    "16602345679",
    "lm@example.org",
    "LM@Example.ORG",
    "nana@例子.中国",
    "朝阳区建国路88号",
    "12 Rue de l'Exemple",
    "1987-06-05",
    "13555556666",
)
CUSTOMERS = (
    "source_customer_id,name,phone,email,address,birth_date,gender\n"
    "c1,欧阳娜娜,138 1234 5678,nana@例子.中国,北京市朝阳区建国路88号,1987-06-05,female\n"
    'c2,Ludwig Mies,+86 13812345678,LM@Example.ORG,"12 Rue de l\'Exemple, Paris",1987-06-05,male\n'
    # Shifted by one: the phone stands where the gender should. Rejected, and not shown in the quarantine.
    "c3,x,,,1987-06-05,1987-06-05,13812345678\n"
    # Not to be read at all.
    "c4,欧阳娜娜,13812345678\n"
)
TICKETS = (
    '{"ticket_id": "t1", "type": "complaint", "created_at": "2024-05-06 09:00:00", "text": "我的快递一直没有到 13812345678"}\n'
    '{"ticket_id": "t2", "type": "nonsense", "created_at": "2024-05-06 09:00:00", "topic": "nana@例子.中国"}\n'
)


def leaks(home: Path, personal: tuple[str, ...] = PERSONAL) -> list[tuple[str, str | None]]:
    """(file, value) of every clear value outside the vault."""
    return sorted({(hit.file, hit.value) for hit in scan(home, Needles(personal), skip=[home / "vault"])})


ORDERS = (
    "order_id,channel_id,status,ordered_at\n"
    # A feed without personal columns shows the value that broke a rule, and a person may stand in it.
    "o1,web,欧阳娜娜 135 5555 6666,2024-05-06 10:00:00\n"
    "o2,web,on_hold,2024-05-06 10:00:00\n"
)


@pytest.fixture
def loaded(settings: Settings, land: Land) -> Settings:
    land("shop/customers/2024-05-06.csv", CUSTOMERS)
    land("shop/tickets/2024-05-06.jsonl", TICKETS)
    land("shop/orders/2024-05-06.csv", ORDERS)
    land("crm/customers/2024-05-06.csv", "source,source_customer_id,name\n13812345678,c9,欧阳娜娜\n")
    sweep(settings, AS_OF, run_id="test", released=None)
    write_links(settings, [AS_OF])
    return settings


def test_nothing_personal_stands_outside_the_vault(loaded: Settings) -> None:
    assert leaks(loaded.home) == []


def test_the_vault_alone_knows_the_values(loaded: Settings) -> None:
    with duckdb.connect(str(loaded.vault / "vault.duckdb"), read_only=True) as con:
        values = dict(con.execute("select value, kind from clear_values").fetchall())
    assert values["+8613812345678"] == "phone"
    assert values["lm@example.org"] == "email"
    assert values["欧阳娜娜"] == "name"


def test_vault_and_keys_are_their_owners_alone(
    loaded: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def mode(path: Path) -> int:
        return stat.S_IMODE(path.stat().st_mode)

    assert mode(loaded.vault) == 0o700
    assert {p.name: mode(p) for p in loaded.vault.iterdir()} == {
        name: 0o600 for name in ("vault.duckdb", "keys.json", "access_log.jsonl")
    }
    monkeypatch.delenv("STRATA_TOKEN_KEY")
    other = type(loaded)(tmp_path / "second", loaded.landing, None, loaded.timezone, None, None)
    with pytest.warns(UserWarning, match="production sets its own STRATA_TOKEN_KEY"):
        Vault(other)
    assert mode(other.token_key) == 0o600
    assert len(bytes.fromhex(other.token_key.read_text())) == 32


def test_a_rejected_value_is_shown_without_the_person_in_it(loaded: Settings) -> None:
    found = pq.read_table(loaded.quarantine / "shop/orders/2024-05-06/rev=1.parquet").to_pylist()
    assert [(r["column"], r["value"]) for r in found] == [("status", "‹name› ‹phone›"), ("status", "on_hold")]


def test_a_comment_leaves_the_vault_without_the_person_in_it(loaded: Settings) -> None:
    comment = pq.read_table(loaded.raw / "shop/tickets/dt=2024-05-06/rev=1/2024-05-06.parquet").to_pylist()[0]
    assert comment["text_masked"] == "我的快递一直没有到 ‹phone›"
    assert len(comment["text_token"]) == 32


def test_an_error_of_a_mapping_tells_no_value(
    settings: Settings, land: Land, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = tmp_path / "mappings"
    shutil.copytree(MAPPINGS_DIR, folder)
    monkeypatch.setattr("pipeline.ingest.mapping.MAPPINGS_DIR", folder)
    (folder / "online_retail" / "orders.sql").write_text(
        "select cast(description as integer) as order_id, _delivery, _row from delivered"
    )
    land(
        "online_retail/transactions/2011-01-04.csv",
        "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n"
        "1,a1,欧阳娜娜 13812345678,2,2011-01-04 10:00:00,2.5,1.0,UK\n",
    )
    with pytest.raises(
        StrataError, match=r"orders\.sql: Conversion Error: Could not convert string \(a value\)"
    ) as told:
        sweep(settings, date(2011, 1, 5), run_id="test", released=None)
    shown = "".join(traceback.format_exception(told.value))
    assert "欧阳娜娜" not in shown and "13812345678" not in shown


def test_names_are_known_before_the_comments_of_the_same_sweep_are_read(
    settings: Settings, land: Land
) -> None:
    """`app` comes before `shop`, and its comments name a customer of shop."""
    land(
        "app/tickets/2024-05-06.jsonl",
        '{"ticket_id": "t1", "type": "complaint", "created_at": "2024-05-06 09:00:00", "text": "欧阳娜娜来过"}\n',
    )
    land("shop/customers/2024-05-06.csv", CUSTOMERS)
    sweep(settings, AS_OF, run_id="test", released=None)
    comment = pq.read_table(settings.raw / "app/tickets/dt=2024-05-06/rev=1/2024-05-06.parquet").to_pylist()[
        0
    ]
    assert comment["text_masked"] == "‹name›来过"


def rows(settings: Settings) -> list[dict[str, object]]:
    return pq.read_table(settings.raw / "shop/customers/dt=2024-05-06/rev=1/2024-05-06.parquet").to_pylist()


def test_equal_people_have_equal_tokens(loaded: Settings) -> None:
    first, second = rows(loaded)
    assert first["phone_token"] == second["phone_token"] is not None
    assert first["name_token"] != second["name_token"]
    assert (first["birth_year"], first["birth_month_day"]) == (1987, "06-05")
    for value in (first["phone_token"], first["email_token"], first["name_token"], first["address_token"]):
        assert len(str(value)) == 32 and int(str(value), 16)


def tokens(settings: Settings, kind: str, *values: str, country: str = "CN") -> list[str | None]:
    with Vault(settings) as vault:
        return vault.tokenise(kind, values, country)


@pytest.mark.parametrize(
    "spelling",
    [
        "13812345678",
        "138-1234-5678",
        "138 1234 5678",
        "+86 138 1234 5678",
        "+8613812345678",
        "0086 13812345678",
        "１３８１２３４５６７８",
        "(138) 1234.5678",
    ],
)
def test_one_phone_in_every_spelling_is_one_token(settings: Settings, spelling: str) -> None:
    one, two = tokens(settings, "phone", "13812345678", spelling)
    assert one == two is not None


@pytest.mark.parametrize("value", ["138****5678", "1381234****", "0", "-", "n/a", "12345", "无"])
def test_a_phone_that_says_nobody_has_no_token(settings: Settings, value: str) -> None:
    assert tokens(settings, "phone", value) == [None]


def test_emails_differ_by_more_than_case_and_space(settings: Settings) -> None:
    one, two, three, none = tokens(
        settings, "email", " LM@Example.ORG", "lm@example.org", "lm2@example.org", "no mail"
    )
    assert one == two != three
    assert none is None


def test_equal_text_of_another_kind_has_another_token(settings: Settings) -> None:
    assert tokens(settings, "name", "x@example.org") != tokens(settings, "email", "x@example.org")


def test_another_key_makes_other_tokens(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    mine = tokens(settings, "phone", "13812345678")
    monkeypatch.setenv("STRATA_TOKEN_KEY", "cd" * 32)
    other = type(settings)(tmp_path / "second", settings.landing, None, settings.timezone, None, None)
    assert tokens(other, "phone", "13812345678") != mine


def test_another_key_in_the_same_home_is_an_error(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    Vault(settings)
    monkeypatch.setenv("STRATA_TOKEN_KEY", "cd" * 32)
    with pytest.raises(StrataError, match="is not the one that this home's tokens were made with"):
        Vault(settings)


def test_a_key_that_is_gone_is_an_error_and_no_new_one_is_made(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("STRATA_TOKEN_KEY")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        Vault(settings)
    settings.token_key.unlink()
    with pytest.raises(StrataError, match=r"their key is gone: set STRATA_TOKEN_KEY or restore .*token\.key"):
        Vault(settings)
    assert not settings.token_key.exists()


@pytest.mark.parametrize("value", ["xyz", "ab" * 31, "ab" * 33, "zz" * 32])
def test_a_token_key_that_is_no_hex_is_an_error(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("STRATA_TOKEN_KEY", value)
    with pytest.raises(StrataError, match="64 hex characters"):
        Vault(settings)


def test_the_minting_key_stays_and_differs_from_the_others(settings: Settings) -> None:
    first, again = Vault(settings), Vault(settings)
    assert first.minting_key == again.minting_key
    assert len({first.key, first.minting_key, first.holdout_salt}) == 3
    (settings.vault / "keys.json").unlink()
    assert Vault(settings).minting_key == first.minting_key, "derived again from the same first key"


def test_the_ledger_shows_no_value_of_a_shifted_row(loaded: Settings) -> None:
    table = pa.concat_tables([pq.read_table(p) for p in sorted(loaded.ledger.glob("*.parquet"))]).to_pylist()
    refused = next(row for row in table if row["source"] == "crm")
    assert refused["reject_code"] == "wrong_source"
    assert "13812345678" not in json.dumps(table, default=str)
