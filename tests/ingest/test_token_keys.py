"""A home that holds tokens and whose key or vault is missing or another one is left as it is, and says why."""

import json
import shutil
import stat
from collections.abc import Callable
from datetime import date
from pathlib import Path

import duckdb
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from pipeline.cli import main
from pipeline.errors import StrataError
from pipeline.home import layout
from pipeline.ingest.load import sweep
from pipeline.ingest.vault import Vault
from pipeline.ingest.vault.keys import KEY_ID
from pipeline.settings import Settings

Land = Callable[[str, bytes | str], Path]
AS_OF = date(2024, 5, 7)
KEY = "ab" * 32
CUSTOMERS = "source_customer_id,name,phone,email\nc1,王芳,13812345678,wf@example.org\n"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    folder = tmp_path_factory.mktemp("built")
    settings = Settings(folder / "home", folder / "landing", None, "Asia/Shanghai", None, None)
    settings.home.mkdir()
    settings.token_key.write_text(KEY + "\n")
    path = settings.landing / "shop/customers/2024-05-06.csv"
    path.parent.mkdir(parents=True)
    path.write_text(CUSTOMERS, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("STRATA_TOKEN_KEY", raising=False)
        sweep(settings, AS_OF, run_id="test", released=None)
    return settings


@pytest.fixture
def home(built: Settings, settings: Settings, land: Land, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A home with tokens whose key is in token.key, and a delivery that waits."""
    monkeypatch.delenv("STRATA_TOKEN_KEY")
    shutil.copytree(built.home, settings.home)
    land("shop/customers/2024-05-06.csv", CUSTOMERS)
    land("shop/customers/2024-05-05.csv", CUSTOMERS.replace("c1", "c2"))
    return settings


def state(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Mode and bytes of every file below a folder, but for the lock."""
    return {
        str(p.relative_to(folder)): (p.stat().st_mode, p.read_bytes() if p.is_file() else b"")
        for p in sorted(folder.rglob("*"))
        if p.name != "run.lock"
    }


def other_key(home: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STRATA_TOKEN_KEY", "cd" * 32)


def malformed_key(home: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STRATA_TOKEN_KEY", "ab" * 31)


def key_file_gone(home: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    home.token_key.unlink()


def key_file_changed(home: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    home.token_key.write_text("cd" * 32)


def key_file_malformed(home: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    home.token_key.write_bytes(b"\xff\xfe")


def derived_keys_gone(home: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    (home.vault / "keys.json").unlink()


def derived_keys_gone_and_no_raw(home: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    (home.vault / "keys.json").unlink()
    shutil.rmtree(home.raw)


def derived_keys_damaged(home: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    (home.vault / "keys.json").write_text('{"first_key_id": "1"}')


def database_gone(home: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    (home.vault / "vault.duckdb").unlink()


def vault_gone(home: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.rmtree(home.vault)


def vault_and_key_gone(home: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.rmtree(home.vault)
    home.token_key.unlink()


CASES: dict[Callable[[Settings, pytest.MonkeyPatch], None], str] = {
    other_key: r"the token key in STRATA_TOKEN_KEY \(id \w{8}\) is not the one that this home's tokens were made with",
    malformed_key: "STRATA_TOKEN_KEY must hold 64 hex characters",
    key_file_gone: r"their key is gone: set STRATA_TOKEN_KEY or restore .*token\.key",
    key_file_changed: r"the token key in .*token\.key \(id \w{8}\) is not the one",
    key_file_malformed: r"token\.key cannot be read",
    derived_keys_gone: r"raw holds tokens but .*keys\.json is gone: restore the whole folder",
    derived_keys_gone_and_no_raw: r"the vault holds tokens but .*keys\.json is gone",
    derived_keys_damaged: r"keys\.json is damaged or cannot be read",
    database_gone: r"raw holds tokens but .*vault\.duckdb is gone",
    vault_gone: r"raw holds tokens but .*keys\.json and .*vault\.duckdb are gone",
    vault_and_key_gone: r"raw holds tokens but .*keys\.json and .*vault\.duckdb are gone",
}


@pytest.mark.parametrize("spoil", CASES, ids=lambda case: case.__name__)
def test_a_missing_or_unknown_key_stops_and_changes_nothing(
    home: Settings, monkeypatch: pytest.MonkeyPatch, spoil: Callable[[Settings, pytest.MonkeyPatch], None]
) -> None:
    spoil(home, monkeypatch)
    before = state(home.home)
    with pytest.raises(StrataError, match=CASES[spoil]) as told:
        Vault(home)
    assert "\n" not in str(told.value) and "cd" * 32 not in str(told.value)
    assert state(home.home) == before


def test_the_command_says_it_in_one_line_and_begins_no_run(
    home: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    layout.ensure(home)
    other_key(home, monkeypatch)
    before = state(home.home)
    answer = CliRunner().invoke(main, ["run"])
    assert answer.exit_code == 1
    assert answer.stderr.startswith("strata: the token key in STRATA_TOKEN_KEY")
    assert answer.stderr.count("\n") == 1
    assert state(home.home) == before


def test_the_right_key_goes_on(home: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """The clean case of all of the above: from the file, and the same key from the environment."""
    assert len(sweep(home, AS_OF, run_id="again", released=None).entries) == 1
    monkeypatch.setenv("STRATA_TOKEN_KEY", KEY.upper())
    assert sweep(home, AS_OF, run_id="again", released=None).entries == ()


def test_a_new_home_without_tokens_may_take_any_key(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Vault(settings):
        pass
    (settings.vault / "keys.json").unlink()
    monkeypatch.setenv("STRATA_TOKEN_KEY", "cd" * 32)
    assert Vault(settings).key == bytes.fromhex("cd" * 32)


def test_a_vault_and_keys_of_two_backups_are_refused(home: Settings) -> None:
    with duckdb.connect(str(home.vault / "vault.duckdb")) as con:
        con.execute("update clear_values set key_id = '00000000'")
    with pytest.raises(StrataError, match="holds values of key 00000000"), Vault(home):
        pass


def test_what_carries_tokens_names_their_key(home: Settings) -> None:
    key_id = Vault(home).key_id
    assert json.loads((home.vault / "keys.json").read_text())["key_id"] == key_id
    with duckdb.connect(str(home.vault / "vault.duckdb"), read_only=True) as con:
        assert con.execute("select distinct key_id from clear_values").fetchall() == [(key_id,)]
    raw = home.raw / "shop/customers/dt=2024-05-06/rev=1/2024-05-06.parquet"
    assert pq.read_schema(raw).metadata[KEY_ID.encode()] == key_id.encode()
    assert KEY[:16] not in json.dumps([key_id, *map(str, state(home.vault))])


def test_wider_modes_of_an_existing_home_are_corrected_and_spill_is_removed(home: Settings) -> None:
    spill = home.vault / "spill" / "duckdb_temp_storage.tmp"
    spill.parent.mkdir()
    spill.write_text("王芳")
    for path in (home.vault, spill.parent):
        path.chmod(0o755)
    for path in (home.vault / "vault.duckdb", home.vault / "keys.json", home.token_key, spill):
        path.chmod(0o644)
    with Vault(home) as vault:
        vault.tokenise("name", ["李静"], "CN")
        # The log of what is not yet in the file, too.
        assert {p.name: stat.S_IMODE(p.stat().st_mode) for p in home.vault.iterdir()} == {
            "vault.duckdb": 0o600,
            "vault.duckdb.wal": 0o600,
            "keys.json": 0o600,
            "access_log.jsonl": 0o600,
        }
    assert stat.S_IMODE(home.vault.stat().st_mode) == 0o700
    assert stat.S_IMODE(home.token_key.stat().st_mode) == 0o600
    assert sorted(p.name for p in home.vault.iterdir()) == ["access_log.jsonl", "keys.json", "vault.duckdb"]


def test_each_opening_of_the_vault_is_noted(home: Settings) -> None:
    before = (home.vault / "access_log.jsonl").read_text()
    with Vault(home, "scan"):
        pass
    after = (home.vault / "access_log.jsonl").read_text()
    assert after.startswith(before)
    assert json.loads(after.removeprefix(before))["purpose"] == "scan"
