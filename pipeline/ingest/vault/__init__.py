"""The vault: the only place under the home that holds clear personal data.

A token is the first 32 hex digits of HMAC-SHA256(key, kind 0x1f normalised value). Equal values of one kind have
equal tokens, so people can be matched on tokens; without the key a token says nothing, because all 10^9 mobile
numbers of a country can be hashed in hours but not under a secret key.
"""

from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Self

import duckdb
import pyarrow as pa

from pipeline import duck
from pipeline.errors import StrataError
from pipeline.identity.normalise import normalise
from pipeline.ingest.vault import masking
from pipeline.ingest.vault.keys import note_opening, open_keys, token
from pipeline.ingest.vault.private import close_folder, private_files
from pipeline.ingest.vault.rotation import settle
from pipeline.ingest.vault.tombstones import Tombstones
from pipeline.settings import Settings

# Texts that are searched for known names at a time: bounds what is held of their n-grams.
_MASK_BATCH = 10_000


class Vault:
    """Keys and clear values of one home. One process at a time, under the run lock.

    Made, it has checked the keys and finished what a replacement of the key left half done; as a context manager it
    opens the database of clear values, which `access_log.jsonl` notes.
    """

    def __init__(self, settings: Settings, purpose: str = "ingest") -> None:
        self._settings, self._purpose, self._folder = settings, purpose, settings.vault
        settle(settings)
        keys = open_keys(settings)
        close_folder(self._folder)
        self.key, self.key_id = keys.token_key, keys.key_id
        self.minting_key, self.holdout_salt = keys.minting_key, keys.holdout_salt
        self.tombstones = Tombstones(settings, keys.minting_key, normalise)
        self._con: duckdb.DuckDBPyConnection | None = None

    def __enter__(self) -> Self:
        path = self._folder / "vault.duckdb"
        with private_files():
            try:
                self._con = duck.connect([self._folder], database=path, spill=self._folder / "spill")
                self._con.execute(
                    "create table if not exists clear_values (kind varchar, token varchar, value varchar, "
                    "key_id varchar, primary key (kind, token))"
                )
                # A vault of the time before rotation says no key with its rows: it has but one.
                self._con.execute("alter table clear_values add column if not exists key_id varchar")
                self._con.execute("update clear_values set key_id = $1 where key_id is null", [self.key_id])
            except duckdb.Error as error:
                raise StrataError(
                    f"{path} cannot be opened ({str(error).splitlines()[0]}): end the process that has it open, "
                    "or restore the vault from a backup"
                ) from error
        self._check_one_key(path)
        held = self._open.execute("select count(*) from clear_values").fetchone()
        note_opening(self._settings, self._purpose, held[0] if held else 0)
        return self

    def __exit__(self, *_: object) -> None:
        if self._con is not None:
            with private_files():
                self._con.close()
            self._con = None
        close_folder(self._folder)

    def _check_one_key(self, path: Path) -> None:
        row = self._open.execute("select min(key_id), max(key_id) from clear_values").fetchone()
        if row and row[0] and set(row) != {self.key_id}:
            other = next(key_id for key_id in row if key_id != self.key_id)
            self.__exit__()
            raise StrataError(
                f"{path} holds values of key {other}, keys.json beside it says {self.key_id}: "
                "restore both from one backup"
            )

    @property
    def database(self) -> duckdb.DuckDBPyConnection:
        """The open database of clear values."""
        return self._open

    @property
    def _open(self) -> duckdb.DuckDBPyConnection:
        if self._con is None:
            raise RuntimeError("the vault is not open")
        return self._con

    def tokenise(self, kind: str, values: Sequence[str], country: str) -> list[str | None]:
        """Tokens of the values, in order; the clear values are kept. None where a value identifies nobody."""
        tokens: list[str | None] = []
        kept: dict[str, str] = {}
        unwanted = self.tombstones.texts_of_erased(values, country) if kind == "text" else ()
        for value in values:
            normal = normalise(kind, value, country)
            if not normal or value in unwanted:
                tokens.append(None)
                continue
            made = token(self.key, kind, normal)
            kept[made] = normal
            tokens.append(made)
        self._keep(kind, kept.items())
        return tokens

    def clear(self, tokens: Iterable[str]) -> dict[str, str]:
        """The clear values of tokens; a token that the vault does not know is left out."""
        self._open.register("asked_for", pa.table({"token": pa.array(sorted(set(tokens)), pa.string())}))
        rows = self._open.execute(
            "select token, value from clear_values semi join asked_for using (token)"
        ).fetchall()
        self._open.unregister("asked_for")
        return dict(rows)

    def mask(self, texts: Sequence[str], country: str) -> list[str]:
        """The texts with the personal data in them masked, the names that the vault knows by now included."""
        masked: list[str] = []
        for start in range(0, len(texts), _MASK_BATCH):
            batch = texts[start : start + _MASK_BATCH]
            masked += masking.mask(batch, self._known_names(masking.candidates(batch)), country)
        return masked

    def identifiers(self, limit: int | None) -> tuple[list[str], int]:
        """(phones, e-mails, addresses, ids and full names that the vault holds, how many there are in all).

        At most `limit` of them, picked by their tokens: evenly, and the same ones each time.
        """
        rows = self._open.execute(
            "select kind, value from clear_values where kind in ('phone', 'email', 'name') "
            "or (kind in ('address', 'id') and length(value) > 5) order by token"
        ).fetchall()
        # A word alone (a nickname such as 会员) stands everywhere and tells nobody.
        found = [v for kind, v in rows if kind != "name" or v.lower() in masking.candidates([v])]
        return found[:limit], len(found)

    def _known_names(self, spellings: Collection[str]) -> set[str]:
        """Those of the lower-case spellings that are the name of somebody."""
        self._open.register("asked", pa.table({"spelling": pa.array(sorted(spellings), pa.string())}))
        rows = self._open.execute(
            "select spelling from asked semi join (select lower(value) as known from clear_values where kind = 'name') "
            "on spelling = known"
        ).fetchall()
        return {row[0] for row in rows} | self.tombstones.names_among(spellings)

    def _keep(self, kind: str, items: Iterable[tuple[str, str]]) -> None:
        pairs = list(items)
        con = self._open
        if not pairs:
            return
        con.register("new_values", pa.table({"token": [t for t, _ in pairs], "value": [v for _, v in pairs]}))
        with private_files():
            con.execute(
                "insert or ignore into clear_values select $1, token, value, $2 from new_values",
                [kind, self.key_id],
            )
