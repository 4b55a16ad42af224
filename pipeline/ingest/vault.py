"""The vault: the only place under the home that holds clear personal data, and the keys of its tokens.

A token is the first 32 hex digits of HMAC-SHA256(key, kind 0x1f normalised value). Equal values of one kind have
equal tokens, so people can be matched on tokens; without the key a token says nothing, because all 10^9 mobile
numbers of a country can be hashed in hours but not under a secret key.
"""

import hashlib
import hmac
import json
import os
import re
import secrets
import shutil
import unicodedata
import warnings
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Self

import duckdb
import phonenumbers
import pyarrow as pa

from pipeline.errors import StrataError
from pipeline.settings import Settings

_HEX64 = re.compile(r"[0-9a-fA-F]{64}")
_CN_MOBILE = re.compile(r"1[3-9]\d{9}")
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")


def hkdf(key: bytes, label: str) -> bytes:
    """32 bytes derived from `key` for one fixed purpose (RFC 5869, SHA-256, no salt)."""
    extracted = hmac.digest(b"\0" * 32, key, "sha256")
    return hmac.digest(extracted, label.encode() + b"\x01", "sha256")


def token(key: bytes, kind: str, value: str) -> str:
    """32 hex digits for one normalised value of one kind."""
    return hmac.digest(key, f"{kind}\x1f{value}".encode(), "sha256").hex()[:32]


@lru_cache(maxsize=200_000)
def normalise(kind: str, value: str, country: str) -> str | None:
    """The one spelling of a value that its token is made of; None where the value identifies nobody.

    Phones: E.164 (a masked or impossible number is None). E-mails: trimmed, lower case, with an `@` and a dot.
    Others: NFKC, single spaces, trimmed.
    """
    text = unicodedata.normalize("NFKC", value).strip()
    if kind == "phone":
        digits = re.sub(r"[\s()\-.]", "", text)
        if country == "CN" and _CN_MOBILE.fullmatch(digits):
            return "+86" + digits
        if "*" in digits or len(digits) < 6:
            return None
        try:
            parsed = phonenumbers.parse(digits, country)
        except phonenumbers.NumberParseException:
            return None
        valid = phonenumbers.is_possible_number(parsed)
        return phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164) if valid else None
    if kind == "email":
        text = text.lower()
        return text if _EMAIL.fullmatch(text) else None
    return " ".join(text.split()) or None


class Vault:
    """Keys and clear values of one home. One process at a time, under the run lock; use as a context manager."""

    def __init__(self, settings: Settings) -> None:
        self._folder = settings.vault
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._folder.chmod(0o700)
        # What a sweep that died has spilled holds clear values.
        shutil.rmtree(self._folder / "spill", ignore_errors=True)
        key = _token_key(settings)
        derived = self._derived_keys(key)
        self.key = key
        self.key_id = hashlib.sha256(b"strata key id\x1f" + key).hexdigest()[:8]
        self.minting_key = bytes.fromhex(derived["minting_key"])
        self.holdout_salt = bytes.fromhex(derived["holdout_salt"])
        self._check_key_unchanged(derived)
        self._con: duckdb.DuckDBPyConnection | None = None

    def _derived_keys(self, key: bytes) -> dict[str, str]:
        """Minting key and holdout salt come from the home's first token key and never change after it."""
        path = self._folder / "keys.json"
        if not path.exists():
            first = {
                "minting_key": hkdf(key, "strata minting key v1").hex(),
                "holdout_salt": hkdf(key, "strata holdout salt v1").hex(),
                "first_key_id": hashlib.sha256(b"strata key id\x1f" + key).hexdigest()[:8],
            }
            _write_private(path, json.dumps(first, indent=1))
        return json.loads(path.read_text())

    def _check_key_unchanged(self, derived: dict[str, str]) -> None:
        if derived["first_key_id"] != self.key_id:
            raise StrataError(
                f"the token key (id {self.key_id}) is not the one that this home's tokens were made with "
                f"(id {derived['first_key_id']}): set STRATA_TOKEN_KEY or token.key back to that key"
            )

    def __enter__(self) -> Self:
        path = self._folder / "vault.duckdb"
        self._con = duckdb.connect(str(path))
        path.chmod(0o600)
        self._con.execute(
            "create table if not exists clear_values (kind varchar, token varchar, value varchar, "
            "primary key (kind, token))"
        )
        return self

    def __exit__(self, *_: object) -> None:
        if self._con is not None:
            self._con.close()
            self._con = None

    def tokenise(self, kind: str, values: Sequence[str], country: str) -> list[str | None]:
        """Tokens of the values, in order; the clear values are kept. None where a value identifies nobody."""
        tokens: list[str | None] = []
        kept: dict[str, str] = {}
        for value in values:
            normal = normalise(kind, value, country)
            made = token(self.key, kind, normal) if normal else None
            if made:
                kept[made] = normal  # type: ignore[assignment]
            tokens.append(made)
        self._keep(kind, kept.items())
        return tokens

    def _keep(self, kind: str, items: Iterable[tuple[str, str]]) -> None:
        if self._con is None:
            raise RuntimeError("the vault is not open")
        pairs = list(items)
        if not pairs:
            return
        new_values = pa.table(  # noqa: F841 (DuckDB reads it by name)
            {"token": [t for t, _ in pairs], "value": [v for _, v in pairs]}
        )
        self._con.execute(
            "insert or ignore into clear_values select $1, token, value from new_values", [kind]
        )


def _token_key(settings: Settings) -> bytes:
    """The key from STRATA_TOKEN_KEY or the home's token.key, which is made on first use."""
    given = os.environ.get("STRATA_TOKEN_KEY")
    if given:
        if not _HEX64.fullmatch(given):
            raise StrataError(
                "STRATA_TOKEN_KEY must be 64 hex characters, as `openssl rand -hex 32` prints them"
            )
        return bytes.fromhex(given)
    path = settings.token_key
    if path.exists():
        text = path.read_text().strip()
        if not _HEX64.fullmatch(text):
            raise StrataError(f"{path} must hold 64 hex characters")
        return bytes.fromhex(text)
    if (settings.vault / "keys.json").exists():
        raise StrataError(
            f"this home has tokens but their key is gone: set STRATA_TOKEN_KEY or restore {path} from a backup"
        )
    settings.home.mkdir(parents=True, exist_ok=True)
    text = secrets.token_hex(32)
    _write_private(path, text + "\n")
    warnings.warn(f"made a new token key in {path}; production sets its own STRATA_TOKEN_KEY", stacklevel=2)
    return bytes.fromhex(text)


def _write_private(path: Path, text: str) -> None:
    """Write a new file that only its owner reads, complete or not at all."""
    temporary = path.with_name(path.name + ".tmp")
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
