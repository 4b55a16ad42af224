"""The keys of one home: the token key, which may be replaced, and the two derived keys, which never change.

The token key comes from STRATA_TOKEN_KEY or the home's `token.key`. `vault/keys.json` says by its id which one the
home's tokens are made with, and holds the minting key (of `customer_key`) and the holdout salt: both were derived
from the home's first token key and stay when it is replaced. What carries tokens names their key by the same id:
each row of the vault, and each Parquet file of raw under `KEY_ID` in its metadata.
"""

import hashlib
import hmac
import json
import os
import re
import secrets
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import duckdb

from pipeline import duck
from pipeline.errors import StrataError
from pipeline.ingest.contracts import load_contracts
from pipeline.ingest.vault.private import write_private
from pipeline.privacy import access_log
from pipeline.settings import Settings

KEY_ID = "strata_token_key_id"
"""Name under which a Parquet file of raw holds the id of the key of its tokens."""

_HEX64 = re.compile(r"[0-9a-fA-F]{64}")


@dataclass(frozen=True)
class Keys:
    """The keys of one home. `key_id` is 8 hex digits, a hash of the token key that does not give it away."""

    token_key: bytes
    key_id: str
    minting_key: bytes
    holdout_salt: bytes


def hkdf(key: bytes, label: str) -> bytes:
    """32 bytes derived from `key` for one fixed purpose (RFC 5869, SHA-256, no salt)."""
    extracted = hmac.digest(b"\0" * 32, key, "sha256")
    return hmac.digest(extracted, label.encode() + b"\x01", "sha256")


def id_of(key: bytes) -> str:
    """8 hex digits that tell token keys apart."""
    return hashlib.sha256(b"strata key id\x1f" + key).hexdigest()[:8]


def token(key: bytes, kind: str, value: str) -> str:
    """32 hex digits for one normalised value of one kind."""
    return hmac.digest(key, f"{kind}\x1f{value}".encode(), "sha256").hex()[:32]


def tokens(key: bytes, kind: str, values: Iterable[str]) -> list[str]:
    """`token` of each of many values: the key is taken in once, which is half of a token's cost."""
    keyed, made = hmac.new(key, f"{kind}\x1f".encode(), "sha256"), []
    for value in values:
        own = keyed.copy()
        own.update(value.encode())
        made.append(own.hexdigest()[:32])
    return made


def parse_key(text: str, origin: str) -> bytes:
    """The key that 64 hex characters spell. Raises StrataError naming `origin`, never the text."""
    if not _HEX64.fullmatch(text.strip()):
        raise StrataError(f"{origin} must hold 64 hex characters, as `openssl rand -hex 32` prints them")
    return bytes.fromhex(text.strip())


def open_keys(settings: Settings) -> Keys:
    """The keys of the home; they are made where the home is new.

    Raises StrataError, before anything is written, where the home has tokens and its key is missing, malformed or
    another one, or where a part of the vault is gone.
    """
    in_use = _in_use(settings)
    record = read_record(settings)
    if in_use:
        _check_whole(settings, record, in_use)
    key, origin = _token_key(settings, must_exist=bool(record or in_use))
    if record is None:
        record = {
            "minting_key": hkdf(key, "strata minting key v1").hex(),
            "holdout_salt": hkdf(key, "strata holdout salt v1").hex(),
            "first_key_id": id_of(key),
            "key_id": id_of(key),
            "key_since": now(),
        }
        write_record(settings, record)
    if record["key_id"] != id_of(key):
        raise StrataError(
            f"the token key in {origin} (id {id_of(key)}) is not the one that this home's tokens were made with "
            f"(id {record['key_id']}): set it back to that key, or replace the key with `strata vault rotate`"
        )
    return Keys(
        key, record["key_id"], bytes.fromhex(record["minting_key"]), bytes.fromhex(record["holdout_salt"])
    )


def read_record(settings: Settings) -> dict[str, Any] | None:
    """What keys.json says, or None where there is none. Raises StrataError where it cannot be read."""
    path = settings.vault / "keys.json"
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        for name in ("minting_key", "holdout_salt"):
            parse_key(record[name], name)
        # A home of the time before rotation has its first key.
        return {"key_id": record["first_key_id"]} | record
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, StrataError) as error:
        raise StrataError(f"{path} is damaged or cannot be read: restore it from a backup") from error


def write_record(settings: Settings, record: dict[str, Any]) -> None:
    """Replace keys.json in one durable rename."""
    settings.vault.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_private(settings.vault / "keys.json", json.dumps(record, indent=1) + "\n")


def now() -> str:
    """The time in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def note_opening(settings: Settings, purpose: str, count: int | None = None) -> None:
    """One line each time that the clear values, `count` of them, come within reach of a process."""
    access_log.record(settings, access_log.operator(), "vault opened", purpose, count)


def _in_use(settings: Settings) -> str:
    """What in the home holds tokens: raw, the vault, or nothing ('')."""
    for feed, contract in load_contracts().items():
        if any(name.endswith("_token") for name in contract.raw_schema()):
            for path in settings.raw.glob(f"*/{feed}/*/*/*.parquet"):
                if path.relative_to(settings.raw).parts[0] != "_schema":
                    return "raw"
    database = settings.vault / "vault.duckdb"
    if not database.exists():
        return ""
    if (settings.vault / "keys.json").exists():
        return "the vault"
    try:
        with duck.connect([settings.vault], database=database, read_only=True) as con:
            row = con.execute("select count(*) from clear_values").fetchone()
    except duckdb.Error:
        row = None
    return "the vault" if row is None or row[0] else ""


def _check_whole(settings: Settings, record: dict[str, Any] | None, in_use: str) -> None:
    missing = [
        str(settings.vault / name)
        for name, there in (
            ("keys.json", record is not None),
            ("vault.duckdb", (settings.vault / "vault.duckdb").exists()),
        )
        if not there
    ]
    if missing:
        raise StrataError(
            f"{in_use} holds tokens but {' and '.join(missing)} "
            f"{'is' if len(missing) == 1 else 'are'} gone: restore the whole folder {settings.vault} from a backup"
        )


def _token_key(settings: Settings, *, must_exist: bool) -> tuple[bytes, str]:
    """(key, where it comes from): STRATA_TOKEN_KEY, else the home's token.key, which is made on first use."""
    given = os.environ.get("STRATA_TOKEN_KEY")
    if given:
        return parse_key(given, "STRATA_TOKEN_KEY"), "STRATA_TOKEN_KEY"
    path = settings.token_key
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        if must_exist:
            raise StrataError(
                f"this home has tokens but their key is gone: set STRATA_TOKEN_KEY or restore {path} from a backup"
            ) from None
        settings.home.mkdir(parents=True, exist_ok=True)
        text = secrets.token_hex(32)
        write_private(path, text + "\n")
        warnings.warn(
            f"made a new token key in {path}; production sets its own STRATA_TOKEN_KEY", stacklevel=3
        )
    except (OSError, UnicodeDecodeError) as error:
        raise StrataError(
            f"{path} cannot be read: {type(error).__name__}; make it readable for its owner"
        ) from error
    else:
        path.chmod(0o600)
    return parse_key(text, str(path)), str(path)
