"""A new token key makes every token again, changes no customer_key, and survives being killed anywhere."""

import json
import os
import shutil
from collections.abc import Callable
from datetime import date
from functools import partial
from pathlib import Path

import duckdb
import pyarrow.parquet as pq
import pytest

from pipeline.errors import StrataError
from pipeline.home_scan import Needles, scan
from pipeline.identity import tables
from pipeline.identity.links import write_links
from pipeline.ingest.load import sweep
from pipeline.ingest.vault import Vault
from pipeline.ingest.vault.keys import KEY_ID, id_of, token
from pipeline.ingest.vault.rotation import rotate
from pipeline.settings import Settings
from tests.kills import killed_at

Land = Callable[[str, bytes | str], Path]
AS_OF = date(2024, 5, 7)
OLD, NEW = "ab" * 32, "cd" * 32
NEW_KEY = bytes.fromhex(NEW)
RAW = "shop/customers/dt=2024-05-06/rev=1/2024-05-06.parquet"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A home with two customers, a ticket, links and a warehouse, whose key is in token.key."""
    folder = tmp_path_factory.mktemp("built")
    settings = Settings(folder / "home", folder / "landing", None, "Asia/Shanghai", None, None)
    settings.home.mkdir()
    settings.token_key.write_text(OLD + "\n")
    for file, text in {
        "shop/customers/2024-05-06.csv": "source_customer_id,name,phone,email\nc1,王芳,13812345678,\nc2,李静,,lj@example.org\n",
        "app/customers/2024-05-06.csv": "source_customer_id,name,phone\na1,王芳,+86 138 1234 5678\n",
        "shop/tickets/2024-05-06.jsonl": '{"ticket_id": "t1", "type": "complaint", '
        '"created_at": "2024-05-06 09:00:00", "text": "王芳 13812345678"}\n',
    }.items():
        path = settings.landing / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("STRATA_TOKEN_KEY", raising=False)
        sweep(settings, AS_OF, run_id="test", released=None)
        write_links(settings, [AS_OF])
    settings.warehouse.parent.mkdir(parents=True)
    settings.warehouse.write_text("tokens of the old key")
    return settings


@pytest.fixture
def home(built: Settings, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.delenv("STRATA_TOKEN_KEY")
    shutil.copytree(built.home, settings.home)
    return settings


def tokens(settings: Settings) -> set[str]:
    """Every token that the vault knows."""
    with duckdb.connect(str(settings.vault / "vault.duckdb"), read_only=True) as con:
        return {row[0] for row in con.execute("select token from clear_values").fetchall()}


def links(settings: Settings) -> list[dict[str, object]]:
    """Rows of the table links, in an order of their own: it has none."""
    rows = tables.links(settings).to_pylist()
    return sorted(rows, key=lambda row: (row["known_at"], row["source"], row["source_customer_id"]))


def check_whole(settings: Settings, key: str) -> None:
    """Every token of vault and raw is of this key, and the row order of raw is as it was."""
    made = Vault(settings)
    assert made.key == bytes.fromhex(key)
    with duckdb.connect(str(settings.vault / "vault.duckdb"), read_only=True) as con:
        for kind, known, value, key_id in con.execute("from clear_values").fetchall():
            assert known == token(made.key, kind, value) and key_id == made.key_id
    rows = pq.read_table(settings.raw / RAW)
    assert rows["source_customer_id"].to_pylist() == ["c1", "c2"]
    assert rows["name_token"].to_pylist() == [token(made.key, "name", n) for n in ("王芳", "李静")]
    assert rows["phone_token"].to_pylist() == [token(made.key, "phone", "+8613812345678"), None]
    ticket = pq.read_table(settings.raw / "shop/tickets/dt=2024-05-06/rev=1/2024-05-06.parquet").to_pylist()[
        0
    ]
    assert ticket["text_token"] == token(made.key, "text", "王芳 13812345678")
    assert ticket["text_masked"] == "‹name› ‹phone›"
    assert not (settings.home / "rotation").exists() and not (settings.vault / "rotation").exists()


def test_a_new_key_makes_every_token_again(home: Settings) -> None:
    before, old_tokens = pq.read_table(home.raw / RAW), tokens(home)
    done = rotate(home, NEW_KEY)
    assert (done.values, done.files, done.key_id) == (5, 3, id_of(NEW_KEY))
    check_whole(home, NEW)
    after = pq.read_table(home.raw / RAW)
    assert after.schema == before.schema
    assert after.schema.metadata[KEY_ID.encode()] == done.key_id.encode()
    kept = [name for name in before.column_names if not name.endswith("_token")]
    assert after.select(kept) == before.select(kept)
    assert home.token_key.read_text().strip() == NEW
    assert not home.warehouse.exists()
    assert scan(home.home, Needles(old_tokens)) == []
    assert len(tokens(home)) == len(old_tokens)


def test_no_customer_key_changes(home: Settings, land: Land) -> None:
    before = links(home)
    rotate(home, NEW_KEY)
    write_links(home, [AS_OF])
    assert links(home) == before
    assert len({row["customer_key"] for row in before}) == 2, "one person was linked by a phone token"
    land("web/customers/2024-05-06.csv", "source_customer_id,name,phone\nw1,王芳,13812345678\n")
    sweep(home, AS_OF, run_id="later", released=None)
    write_links(home, [AS_OF])
    assert {r["customer_key"] for r in links(home)} == {r["customer_key"] for r in before}


def test_the_old_key_is_refused_afterwards(home: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    rotate(home, NEW_KEY)
    monkeypatch.setenv("STRATA_TOKEN_KEY", OLD)
    with pytest.raises(StrataError, match="is not the one that this home's tokens were made with"):
        Vault(home)


def test_a_key_from_the_environment_leaves_no_key_file(
    home: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    home.token_key.unlink()
    monkeypatch.setenv("STRATA_TOKEN_KEY", OLD)
    assert not rotate(home, NEW_KEY).key_file_replaced
    assert not home.token_key.exists()
    monkeypatch.setenv("STRATA_TOKEN_KEY", NEW)
    check_whole(home, NEW)


def test_rotating_twice_and_back_again_ends_where_it_began(home: Settings) -> None:
    first = tokens(home)
    rotate(home, NEW_KEY)
    again = rotate(home, NEW_KEY)
    assert (again.values, again.files) == (0, 0)
    rotate(home, bytes.fromhex(OLD))
    assert tokens(home) == first
    check_whole(home, OLD)


def test_a_wrong_old_key_rotates_nothing(home: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STRATA_TOKEN_KEY", "ef" * 32)
    before = tokens(home)
    with pytest.raises(StrataError, match="is not the one"):
        rotate(home, NEW_KEY)
    assert tokens(home) == before


def test_tokens_that_the_vault_does_not_know_stop_the_rotation(home: Settings) -> None:
    with duckdb.connect(str(home.vault / "vault.duckdb")) as con:
        con.execute("delete from clear_values where kind = 'email'")
    with pytest.raises(StrataError, match="holds tokens that the vault does not know"):
        rotate(home, NEW_KEY)
    assert not (home.home / "rotation").exists()
    assert Vault(home).key == bytes.fromhex(OLD)


@pytest.mark.soak
def test_killed_at_any_point_one_of_the_keys_works_and_doing_it_again_finishes(
    home: Settings, built: Settings
) -> None:
    customer_keys = links(home)
    outcomes: list[str] = []
    n = 1
    while True:
        n += 1 if os.environ.get("STRATA_SOAK") else 7
        shutil.rmtree(home.home)
        shutil.copytree(built.home, home.home)
        if not killed_at(n, partial(rotate, home, NEW_KEY)):
            break
        committed = json.loads((home.vault / "keys.json").read_text())["key_id"] == id_of(NEW_KEY)
        outcomes.append("new" if committed else "old")
        if n % 2:
            # A run comes first: it works with the key that the home has now.
            check_whole(home, NEW if committed else OLD)
            write_links(home, [AS_OF])
            assert links(home) == customer_keys
        rotate(home, NEW_KEY)
        check_whole(home, NEW)
    assert outcomes.count("old") > 2 and outcomes.count("new") > 2, outcomes
    assert outcomes == sorted(outcomes, key=["old", "new"].index), "one point in time divides the two"
