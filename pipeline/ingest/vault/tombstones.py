"""Tombstones: keyed tokens of what was erased, so that an old file does not bring a person back.

`vault/tombstones.json` holds, per erased value, its kind, a token and the day of the erasure. The token's key is derived
from the minting key, which never rotates: a new token key leaves tombstones as they are. Without the key a tombstone
says nothing, and with it only whether a given value was erased.

| kind | value |
|---|---|
| customer | owner of the id's namespace, 0x1f, id |
| key | customer_key |
| phone, email, name, id | the normalised value that the vault's token was made of |
| column:<name> | a further id of the person, by the column in which it stands (member_id, visitor_id) |
"""

import json
import re
from collections.abc import Callable, Collection, Iterable
from datetime import date
from functools import lru_cache

import duckdb
import pyarrow as pa
from duckdb.func import FunctionNullHandling, PythonUDFType
from duckdb.sqltypes import DATE, VARCHAR

from pipeline.duck import quote
from pipeline.ingest.contracts import Contract, Source, load_sources
from pipeline.ingest.vault import masking
from pipeline.ingest.vault.keys import hkdf, token
from pipeline.ingest.vault.private import write_private
from pipeline.quality.policy import ErasureRule
from pipeline.settings import Settings

CODE = "erased"
"""Reject code of a record that speaks of an erased person."""

_DIGITS = re.compile(r"\+?\d[\d \-]{5,17}\d")
_MAIL = re.compile(r"[^\s@<>()\"'，。；：]+@[^\s@<>()\"'，。；：]+\.[A-Za-z]{2,}")
# A person who comes back after an erasure is a new one, if the row says so.
_CAME = ("registered_at", "created_at")


def namespace(source: str) -> str:
    """The source whose customer ids `source` uses."""
    declared = load_sources().get(source)
    return (declared.customer_ids_of if declared else None) or source


class Tombstones:
    """What one home has erased. Empty in most homes, and then it costs nothing."""

    def __init__(
        self, settings: Settings, minting_key: bytes, normalise: Callable[[str, str, str], str | None]
    ) -> None:
        self._normalise = normalise
        self._path = settings.vault / "tombstones.json"
        self._key = hkdf(minting_key, "strata tombstones v1")
        rows = json.loads(self._path.read_text(encoding="utf-8")) if self._path.exists() else []
        self._dates = {(r["kind"], r["token"]): date.fromisoformat(r["erased_on"]) for r in rows}
        self._kinds = {kind for kind, _ in self._dates}
        self.erased_on = lru_cache(maxsize=500_000)(self._erased_on)

    def __bool__(self) -> bool:
        return bool(self._dates)

    def __len__(self) -> int:
        return len(self._dates)

    def token(self, kind: str, value: str) -> str:
        """The tombstone's token of one value, 32 hex digits."""
        return token(self._key, kind, value)

    def _erased_on(self, kind: str, value: str) -> date | None:
        return self._dates.get((kind, self.token(kind, value))) if kind in self._kinds else None

    def has_customer(self, source: str, customer_id: str) -> bool:
        """Whether the id of a source, or of the namespace that it uses, was erased."""
        return self.erased_on("customer", f"{namespace(source)}\x1f{customer_id}") is not None

    def add(self, values: Iterable[tuple[str, str]], erased_on: date) -> None:
        """Set up tombstones for (kind, value); those that stand keep their day. Durable when it returns."""
        for kind, value in values:
            self._dates.setdefault((kind, self.token(kind, value)), erased_on)
        rows = [
            {"kind": kind, "token": made, "erased_on": day.isoformat()}
            for (kind, made), day in sorted(self._dates.items())
        ]
        write_private(self._path, json.dumps(rows, indent=0) + "\n")
        self._kinds = {kind for kind, _ in self._dates}
        self.erased_on.cache_clear()

    def names_among(self, spellings: Iterable[str]) -> set[str]:
        """Those of the lower-case spellings that are the name of an erased person."""
        return {s for s in spellings if self.erased_on("name", s)} if "name" in self._kinds else set()

    def texts_of_erased(self, texts: Collection[str], country: str) -> set[str]:
        """Those of the texts that name an erased person, or their phone or e-mail."""
        if not self:
            return set()
        # Few texts name anybody who was erased, so all are asked together first.
        named = bool(self.names_among(masking.candidates(texts)))
        return {
            text
            for text in texts
            if (named and self.names_among(masking.candidates([text]))) or self._has_contact(text, country)
        }

    def _has_contact(self, text: str, country: str) -> bool:
        found = [("phone", m) for m in _DIGITS.findall(text)] + [("email", m) for m in _MAIL.findall(text)]
        normal = ((kind, self._normalise(kind, value, country)) for kind, value in found)
        return any(value and self.erased_on(kind, value) for kind, value in normal)

    def _ask(self, con: duckdb.DuckDBPyConnection, source: Source) -> None:
        """Let the connection's SQL ask `erased_on(kind, value)`."""
        if con.execute("select 1 from duckdb_functions() where function_name = 'erased_on'").fetchone():
            return
        owner = namespace(source.source)

        def erased_on(kinds: pa.ChunkedArray, values: pa.ChunkedArray) -> pa.Array:
            days: list[date | None] = []
            for kind, value in zip(kinds.to_pylist(), values.to_pylist(), strict=True):
                if value is None:
                    days.append(None)
                    continue
                text = f"{owner}\x1f{value}" if kind == "customer" else value
                if kind in ("phone", "email", "id"):
                    text = self._normalise(kind, value, source.country) or ""
                days.append(self.erased_on(kind, text))
            return pa.array(days, pa.date32())

        con.create_function(
            "erased_on",
            erased_on,
            [VARCHAR, VARCHAR],
            DATE,
            type=PythonUDFType.ARROW,
            null_handling=FunctionNullHandling.SPECIAL,
        )

    def turned_away(
        self,
        con: duckdb.DuckDBPyConnection,
        sql: str,
        rules: list[tuple[str, str | None]],
        contract: Contract,
        source: Source,
        rule: ErasureRule,
    ) -> tuple[str, list[tuple[str, str | None]]]:
        """`classified_sql`'s SQL and rules, with one more for records that speak of an erased person.

        Such a record breaks the rule `erased`; or it comes in as that of a guest, where the feed's erasure rule says so.
        """
        if not self:
            return sql, rules
        self._ask(con, source)
        hit = " or ".join(self._conditions(contract, rule)) or "false"
        replaced = [
            f"case when {_asks('id', n)} is null{f' and not ({hit})' if rule.as_guest else ''} then {quote(n)} end as {quote(n)}"
            for n, c in contract.stored.items()
            if c.pii == "id"
        ]
        if rule.as_guest:
            replaced += [
                f"case when not ({hit}) then {quote(n)} end as {quote(n)}"
                for n, c in contract.stored.items()
                if c.ref == "customer"
            ]
        else:
            broken = f"case when _rule is null and ({hit}) then {len(rules)} else _rule end"
            replaced.append(f"cast({broken} as smallint) as _rule")
        if not replaced:
            return sql, rules
        return f"select * replace ({', '.join(replaced)}) from ({sql})", [*rules, (CODE, None)]

    def follow(
        self,
        con: duckdb.DuckDBPyConnection,
        rules: list[tuple[str, str | None]],
        contract: Contract,
        source: Source,
    ) -> None:
        """Set up tombstones for the customer ids of the rows of `classified` that were turned away.

        A card that was changed brings the erased phone under a new id: what else comes of that id is the person's too.
        """
        if self and (CODE, None) in rules:
            self._follow(con, "classified", f"_rule = {rules.index((CODE, None))}", contract, source)

    def _follow(
        self, con: duckdb.DuckDBPyConnection, relation: str, hit: str, contract: Contract, source: Source
    ) -> None:
        names = [n for n, c in contract.stored.items() if c.ref == "customer"]
        contacts = any(c.pii in ("phone", "email") for c in contract.columns.values())
        if not names or not contacts:
            return
        ids = con.execute(
            f"select distinct cast({quote(names[0])} as varchar) from {relation} where ({hit}) and {quote(names[0])} is not null"
        ).fetchall()
        owner = namespace(source.source)
        new = [("customer", f"{owner}\x1f{i}") for (i,) in ids if not self.has_customer(source.source, i)]
        if new:
            self.add(new, max(self._dates.values()))

    def _conditions(self, contract: Contract, rule: ErasureRule) -> list[str]:
        """SQL conditions of which one holds for a row that speaks of an erased person; none of them is ever null."""
        came = [quote(n) for n in _CAME if n in contract.columns]
        since = f"coalesce(cast({came[0]} as date), date '1900-01-01')" if came else "date '1900-01-01'"
        found = []
        for name, column in contract.stored.items():
            if column.ref == "customer":
                found.append(f"{_asks('customer', name)} is not null")
            elif column.pii in ("phone", "email"):
                found.append(f"coalesce({_asks(column.pii, name)} >= {since}, false)")
        found += [f"{_asks(f'column:{name}', name)} is not null" for name in rule.follows]
        return found

    def cut_mapped(
        self,
        con: duckdb.DuckDBPyConnection,
        relation: str,
        contract: Contract,
        source: Source,
        rule: ErasureRule,
    ) -> None:
        """Take erased persons out of a table that a mapping filled: rows go, or stay as those of a guest."""
        hit = " or ".join(self._conditions(contract, rule))
        if not self or not hit:
            return
        self._ask(con, source)
        self._follow(con, relation, hit, contract, source)
        if rule.as_guest:
            personal = [n for n, c in contract.stored.items() if c.ref == "customer" or c.pii == "id"]
            cut = ", ".join(f"{quote(n)} = null" for n in personal)
            con.execute(f"update {relation} set {cut} where {hit}")
        else:
            con.execute(f"delete from {relation} where {hit}")


def _asks(kind: str, column: str) -> str:
    return f"erased_on('{kind}', cast({quote(column)} as varchar))"
