"""Who is to be erased: every source record, id, token and clear value by which a home knows a person.

A value that other people share (a household's phone, a name that two bear) stays theirs: it is no identifier of the
erased person alone, so it is neither removed nor looked for afterwards, and the certificate counts it.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline import duck
from pipeline.duck import literal, quote
from pipeline.home_scan import Needles, scan
from pipeline.identity import tables
from pipeline.ingest.contracts import Contract, load_contracts
from pipeline.ingest.vault import masking
from pipeline.ingest.vault.tombstones import namespace
from pipeline.quality.policy import ErasureRule, erasure_rule, erasure_rules
from pipeline.settings import Settings

GUEST_CONTACTS = "guest_contacts"
_CONTACTS = ("phone", "email")
# Ids of sales stay on the books, without a person, so they are followed but are no identifier afterwards.
_OF_BOOKS = ("order_id",)
_LEAST_LETTERS = 6


@dataclass(frozen=True)
class Subject:
    """What is known of the persons to be erased. It holds clear values: in memory and in the vault only.

    records: (source, id in that source). keys: their customer_keys, earlier ones included.
    follows: (column, value) of further ids. tokens: (kind, token) that are theirs alone. values: (kind, clear value) of those.
    guest_orders: (source, order_id) whose guest contact leaves and nothing else of the order.
    shared_n: tokens that other people have as well, which stay. persons_n: people as identity knows them today; a person
    whose records were merged has more keys than one.
    """

    records: tuple[tuple[str, str], ...]
    keys: tuple[str, ...]
    follows: tuple[tuple[str, str], ...]
    tokens: tuple[tuple[str, str], ...]
    values: tuple[tuple[str, str], ...]
    shared_n: int
    persons_n: int = 0
    guest_orders: tuple[tuple[str, str], ...] = ()

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        pairs = ("records", "follows", "tokens", "values")
        return cls(
            **{name: tuple((str(a), str(b)) for a, b in data[name]) for name in pairs},
            keys=tuple(data["keys"]),
            shared_n=data["shared_n"],
            persons_n=data.get("persons_n", 0),
            guest_orders=tuple((str(a), str(b)) for a, b in data.get("guest_orders", ())),
        )

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    @cached_property
    def clear(self) -> tuple[str, ...]:
        """Clear values that identify by themselves, to be looked for as text."""
        return tuple(
            v
            for kind, v in self.values
            if kind in _CONTACTS
            or (kind in ("address", "id") and len(v) >= _LEAST_LETTERS)
            or (kind == "name" and v.lower() in masking.candidates([v]))
        )

    @cached_property
    def words(self) -> tuple[str, ...]:
        """Ids long enough to be looked for anywhere, as whole words."""
        ids = {i for _, i in self.records} | {v for column, v in self.follows if column not in _OF_BOOKS}
        return tuple(sorted(i for i in ids if len(i) >= _LEAST_LETTERS and not (i.isdigit() and len(i) < 8)))

    def needles(self) -> Needles:
        """All that a scan looks for: clear values, ids, tokens and keys."""
        return Needles([*self.clear, *self.keys, *(t for _, t in self.tokens)], words=self.words)

    def tombstones(self) -> Iterator[tuple[str, str]]:
        """(kind, value) of what must not come in again."""
        yield from (("customer", f"{namespace(s)}\x1f{i}") for s, i in self.records)
        yield from (("key", key) for key in self.keys)
        yield from ((f"column:{column}", value) for column, value in self.follows)
        for kind, value in self.values:
            if kind == "name":
                yield kind, value.lower()
            elif kind in (*_CONTACTS, "id"):
                yield kind, value


class People:
    """The persons as rows of raw: SQL conditions over the feeds, on a connection that knows the subject's values."""

    def __init__(
        self,
        settings: Settings,
        records: Iterable[tuple[str, str]],
        follows: Iterable[tuple[str, str]] = (),
        tokens: Iterable[tuple[str, str]] = (),
        guest_orders: Iterable[tuple[str, str]] = (),
    ) -> None:
        self._raw = settings.raw
        self.con = duck.connect([settings.raw, settings.quarantine], spill=settings.vault / "spill")
        self._register("person_ids", [(namespace(s), i) for s, i in records])
        self._register("followed", follows)
        self._register("gone", tokens)
        self._register("guest_orders", guest_orders)

    def _register(self, name: str, pairs: Iterable[tuple[str, str]]) -> None:
        found = sorted(set(pairs))
        columns = {"what": [a for a, _ in found], "value": [b for _, b in found]}
        self.con.register(name, pa.table({k: pa.array(v, pa.string()) for k, v in columns.items()}))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.con.close()

    def feeds(self) -> Iterator["FeedOfSource"]:
        """Every feed of every source that has files in raw."""
        contracts = load_contracts()
        for folder in sorted(self._raw.glob("[!_]*/*")):
            contract = contracts.get(folder.name)
            if contract and any(folder.glob("*/*/*.parquet")):
                yield FeedOfSource(self.con, folder, folder.parent.name, contract, erasure_rule(folder.name))


@dataclass(frozen=True)
class FeedOfSource:
    """The raw files of one feed of one source."""

    con: duckdb.DuckDBPyConnection
    folder: Path
    source: str
    contract: Contract
    rule: ErasureRule

    @property
    def relation(self) -> str:
        files = literal(str(self.folder / "*" / "*" / "*.parquet"))
        return f"read_parquet({files}, union_by_name = true, hive_partitioning = false, filename = '_file')"

    @cached_property
    def customers(self) -> list[str]:
        """Columns that name a customer of the source."""
        return [n for n, c in self.contract.stored.items() if c.ref == "customer"]

    @cached_property
    def token_columns(self) -> dict[str, str]:
        """Token column → kind."""
        return {
            f"{n}_token": c.pii for n, c in self.contract.stored.items() if c.pii and c.pii != "birth_date"
        }

    @cached_property
    def masked_columns(self) -> list[str]:
        return [f"{n}_masked" for n, c in self.contract.stored.items() if c.pii == "text"]

    @property
    def is_personal(self) -> bool:
        return bool(self.customers or self.token_columns or self.rule.follows)

    def _is_one_of(self, column: str, table: str, what: str) -> str:
        return f"coalesce({quote(column)} in (select value from {table} where what = {literal(what)}), false)"

    @property
    def named(self) -> str:
        """SQL: the row names the person by customer id."""
        hits = [self._is_one_of(c, "person_ids", namespace(self.source)) for c in self.customers]
        return f"({' or '.join(hits) or 'false'})"

    @property
    def nobody(self) -> str:
        """SQL: the row names no customer."""
        return f"({' and '.join(f'{quote(c)} is null' for c in self.customers) or 'true'})"

    @property
    def theirs(self) -> str:
        """SQL: the row speaks of the person, by id, by a followed id, or by a contact that nobody else has."""
        by = [self._is_one_of(c, "followed", c) for c in self.rule.follows]
        by += [self._is_one_of(c, "gone", k) for c, k in self.token_columns.items() if k in _CONTACTS]
        if self.contract.feed == GUEST_CONTACTS:
            by.append(self._is_one_of("order_id", "guest_orders", self.source))
        return f"({self.named} or ({self.nobody} and ({' or '.join(by) or 'false'})))"

    def values(self, column: str, where: str) -> set[str]:
        rows = self.con.execute(
            f"select distinct cast({quote(column)} as varchar) from {self.relation} "
            f"where {quote(column)} is not null and {where}"
        ).fetchall()
        return {row[0] for row in rows}


def resolve(
    settings: Settings,
    records: Collection[tuple[str, str]],
    keys: Collection[str],
    vault: duckdb.DuckDBPyConnection,
) -> Subject:
    """Everything that the home knows about the persons with these source ids or customer_keys.

    Args:
        vault: the open database of clear values.
    """
    every, all_keys, persons_n = _linked(settings, set(records), set(keys))
    with People(settings, every) as people:
        follows = _followed(people)
        own = _tokens(people, "named")
    with People(settings, every, follows, own) as people:
        # A contact that another customer has too says nothing about whose a row without a customer is.
        contacts = {(k, t) for k, t in own if k in _CONTACTS}
        contacts -= _of_others(people, contacts, known_only=True)
    with People(settings, every, follows, contacts) as people:
        own = _tokens(people, "theirs")
        shared = _of_others(people, own, known_only=False)
    gone = own - shared
    values = _clear(vault, gone)
    values -= {("name", name) for name in _ambiguous(settings, {v for k, v in values if k == "name"})}
    return Subject(
        tuple(sorted(every)),
        tuple(sorted(all_keys)),
        tuple(sorted(follows)),
        tuple(sorted(gone)),
        tuple(sorted(values)),
        len(shared),
        persons_n,
    )


def of_guest_orders(
    settings: Settings, orders: Collection[tuple[str, str]], vault: duckdb.DuckDBPyConnection
) -> Subject:
    """The contacts left with these orders, and what of them stands nowhere else."""
    with People(settings, (), guest_orders=orders) as people:
        own = _tokens(people, "theirs")
        shared = _of_others(people, own, known_only=False)
    gone = own - shared
    values = _clear(vault, gone)
    values -= {("name", name) for name in _ambiguous(settings, {v for k, v in values if k == "name"})}
    return Subject(
        (), (), (), tuple(sorted(gone)), tuple(sorted(values)), len(shared), 0, tuple(sorted(orders))
    )


def _linked(
    settings: Settings, records: set[tuple[str, str]], keys: set[str]
) -> tuple[set[tuple[str, str]], set[str], int]:
    """(source records, customer_keys, persons of today), as identity and every kept release link them."""
    table = tables.links(settings, ("known_at", "source", "source_customer_id", "customer_key"))
    rows = table.to_pylist() if table is not None else []
    newest = max((r["known_at"] for r in rows), default=None)
    now = {(r["source"], r["source_customer_id"]): r["customer_key"] for r in rows if r["known_at"] == newest}
    asked = {(namespace(s), i) for s, i in records}
    keys = keys | {key for (s, i), key in now.items() if (namespace(s), i) in asked}
    every = records | {record for record, key in now.items() if key in keys}
    asked = {(namespace(s), i) for s, i in every}
    every |= {(s, i) for s, i in now if (namespace(s), i) in asked}
    others = {key for record, key in now.items() if record not in every}
    held = {r["customer_key"] for r in rows if (r["source"], r["source_customer_id"]) in every}
    for file in settings.releases.glob("[!.]*/tables/core/dim_identity_links.parquet"):
        for row in pq.read_table(file, columns=["source", "source_customer_id", "customer_key"]).to_pylist():
            if (row["source"], row["source_customer_id"]) in every:
                held.add(row["customer_key"])
    return every, (keys | held) - others, len({now[record] for record in every if record in now})


def _followed(people: People) -> set[tuple[str, str]]:
    """(column, value) of ids that stand in rows of the persons and in no other customer's."""
    columns = {c for rule in erasure_rules().values() for c in rule.follows}
    own: set[tuple[str, str]] = set()
    for feed in people.feeds():
        for column in (c for c in columns if c in feed.contract.stored and feed.customers):
            own |= {(column, v) for v in feed.values(column, feed.named)}
    people._register("followed", own)
    for feed in people.feeds():
        for column in (c for c in columns if c in feed.contract.stored and feed.customers):
            asked = feed._is_one_of(column, "followed", column)
            other = f"{asked} and not {feed.named} and not {feed.nobody}"
            own -= {(column, v) for v in feed.values(column, other)}
    return own


def _tokens(people: People, which: str) -> set[tuple[str, str]]:
    """(kind, token) in the rows of the persons."""
    return {
        (kind, token)
        for feed in people.feeds()
        if feed.is_personal
        for column, kind in feed.token_columns.items()
        for token in feed.values(column, getattr(feed, which))
    }


def _of_others(people: People, tokens: set[tuple[str, str]], *, known_only: bool) -> set[tuple[str, str]]:
    """Those of the tokens that stand in rows of others; `known_only`: of others who have a customer id."""
    people._register("asked", tokens)
    found: set[tuple[str, str]] = set()
    for feed in people.feeds():
        mine = feed.named if known_only else feed.theirs
        other = f"not {mine}" + (f" and not {feed.nobody}" if known_only else "")
        for column, kind in feed.token_columns.items():
            # A row of another customer may name its referee: that id is still the referee's alone.
            if kind == "id" and feed.customers and "source_customer_id" not in feed.customers:
                continue
            where = f"{feed._is_one_of(column, 'asked', kind)} and {other}"
            found |= {(kind, token) for token in feed.values(column, where)}
    return found


def _clear(vault: duckdb.DuckDBPyConnection, tokens: set[tuple[str, str]]) -> set[tuple[str, str]]:
    by_kind: dict[str, list[str]] = defaultdict(list)
    for kind, token in tokens:
        by_kind[kind].append(token)
    found: set[tuple[str, str]] = set()
    for kind, made in by_kind.items():
        if kind == "text":
            continue
        vault.register("asked_tokens", pa.table({"token": pa.array(made, pa.string())}))
        rows = vault.execute(
            "select value from clear_values semi join asked_tokens using (token) where kind = $1", [kind]
        ).fetchall()
        found |= {(kind, row[0]) for row in rows}
        vault.unregister("asked_tokens")
    return found


def _ambiguous(settings: Settings, names: set[str]) -> set[str]:
    """Names that stand in feeds which hold nothing of persons, such as that of a product: they tell nobody."""
    if not names:
        return set()
    needles, found = Needles(names), set()
    with People(settings, ()) as people:
        folders = [feed.folder for feed in people.feeds() if not feed.is_personal]
    for folder in folders:
        found |= {hit.value for hit in scan(folder, needles) if hit.value}
    return found
