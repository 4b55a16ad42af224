"""Raw, quarantine and vault without the erased persons: written beside the old files, then swapped in.

A DuckDB DELETE leaves the bytes in the file, and a Parquet file cannot lose a row, so whatever holds a person is
written anew. Nothing that is read has changed until all of it is on disk; the swap is one rename a file and can be
done again after a crash.
"""

import re
import shutil
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline import duck
from pipeline.duck import literal, parquet, quote
from pipeline.home_scan import Needles
from pipeline.identity import tables
from pipeline.ingest.files import fsync, write_parquet
from pipeline.ingest.ledger import ERASED_SCHEMA
from pipeline.ingest.vault.private import close_folder, forget_compared, fsync_folder, private_files
from pipeline.privacy.erasure_subject import FeedOfSource, People, Subject
from pipeline.settings import Settings

GAP = "‹erased›"
"""What stands in a text of others where it named the person."""

_BATCH_ROWS = 100_000
_TEXTS = 5_000


@dataclass
class Removed:
    """Counts of what the rewriting took out."""

    rows: Counter[str] = field(default_factory=Counter)
    guests: Counter[str] = field(default_factory=Counter)
    files: int = 0
    vault_values: int = 0
    texts_of_others: int = 0
    quarantined: int = 0

    def as_dict(self) -> dict[str, object]:
        return {
            "raw_rows": dict(sorted(self.rows.items())),
            "rows_kept_as_guest": dict(sorted(self.guests.items())),
            "raw_files": self.files,
            "vault_values": self.vault_values,
            "texts_of_others": self.texts_of_others,
            "quarantined_values": self.quarantined,
        }


def staged_folder(settings: Settings) -> Path:
    return settings.home / "erasure"


def private_folder(settings: Settings) -> Path:
    return settings.vault / "erasure-staging"


def stage(settings: Settings, subject: Subject, erasure: str, today: date) -> Removed:
    """Write vault, raw and quarantine without the persons beside the old; what an earlier attempt left is cleared away."""
    clear_staging(settings)
    removed = Removed()
    mentions = _stage_vault(settings, subject, removed)
    tokens = {*subject.tokens, *(("text", t) for t in mentions)}
    by_delivery: Counter[tuple[str, str]] = Counter()
    with People(settings, subject.records, subject.follows, tokens, subject.guest_orders) as people:
        for feed in people.feeds():
            if feed.is_personal:
                _stage_feed(settings, feed, subject, removed, by_delivery)
        _stage_quarantine(settings, people, subject, removed)
    rows = [
        {"erasure": erasure, "delivery": delivery, "feed": feed, "rows_n": n, "erased_on": today}
        for (delivery, feed), n in sorted(by_delivery.items())
    ]
    target = staged_folder(settings) / "raw" / "_erased" / f"{erasure}.parquet"
    write_parquet(pa.Table.from_pylist(rows, ERASED_SCHEMA), target)
    for folder in (target.parent, *(p for p in staged_folder(settings).rglob("*") if p.is_dir())):
        fsync_folder(folder)
    return removed


def clear_staging(settings: Settings) -> None:
    for folder in (staged_folder(settings), private_folder(settings)):
        shutil.rmtree(folder, ignore_errors=True)


def swap(settings: Settings) -> None:
    """Bring the staged files into their places, and drop what was built from the old ones. It can be done again."""
    touched = set()
    staged = staged_folder(settings)
    for path in sorted(staged.rglob("*.parquet")):
        target = settings.home / path.relative_to(staged)
        target.parent.mkdir(parents=True, exist_ok=True)
        path.replace(target)
        touched.add(target.parent)
    new_vault = private_folder(settings) / "vault.duckdb"
    if new_vault.exists():
        # A log of the old file must not be replayed into the new one.
        (settings.vault / "vault.duckdb.wal").unlink(missing_ok=True)
        new_vault.replace(settings.vault / "vault.duckdb")
    forget_compared(settings.vault)
    for folder in (*touched, settings.vault, settings.home):
        fsync_folder(folder)
    for path in settings.warehouse.parent.glob(f"{settings.warehouse.name}*"):
        path.unlink()
    clear_staging(settings)


def cut_links(settings: Settings, subject: Subject) -> int:
    """Take the persons out of every table of identity; rows taken out of its links.

    The resumable state goes as a whole: the next run folds the deliveries that are left.
    """
    for path in sorted(settings.identity.glob("*.parquet")):
        if not tables.holds(path):
            table = pq.read_table(path)
            gone = _naming(table, subject)
            if gone.any():
                write_parquet(table.filter(pa.array(~gone)), path)
    held = tables.rows(settings)
    if held is None:
        return 0
    gone = _naming(held, subject)
    tables.replace(settings, held.filter(pa.array(~gone)))
    return int((gone & held["valid_to"].is_null().to_numpy()).sum())


def _naming(table: pa.Table, subject: Subject) -> np.ndarray:
    """Which rows of a table of identity name the persons' records or keys."""
    named = set(table.column_names)
    pairs = [
        (source, record)
        for side in ("", "left_", "right_")
        for source, record in ((f"{side}source", f"{side}source_customer_id"), (f"{side}source", f"{side}id"))
        if {source, record} <= named
    ]
    records, keys = set(subject.records), set(subject.keys)
    gone = np.zeros(len(table), bool)
    for source, record in pairs:
        found = zip(table[source].to_pylist(), table[record].to_pylist(), strict=True)
        gone |= np.array([pair in records for pair in found], bool)
    for name in named & {"customer_key", "merged_into", "split_from"}:
        gone |= np.array([key in keys for key in table[name].to_pylist()], bool)
    return gone


def _stage_vault(settings: Settings, subject: Subject, removed: Removed) -> list[str]:
    """Write the vault without the persons' values and without texts that name them; tokens of those texts."""
    database, private = settings.vault / "vault.duckdb", private_folder(settings)
    if not database.exists():
        return []
    private.mkdir(mode=0o700)
    # Opened for writing, so that a log that a killed run left is brought in first.
    with (
        private_files(),
        duck.connect([settings.vault], database=database, spill=private / "spill") as before,
    ):
        before.execute("checkpoint")
    needles = Needles(subject.clear, words=subject.words)
    with (
        private_files(),
        duck.connect([settings.vault], database=private / "vault.duckdb", spill=private / "spill") as con,
    ):
        con.execute(f"attach {literal(str(database))} as before (read_only)")
        kinds, tokens = [k for k, _ in subject.tokens], [t for _, t in subject.tokens]
        con.register(
            "own", pa.table({"kind": pa.array(kinds, pa.string()), "token": pa.array(tokens, pa.string())})
        )
        rest = con.execute(
            "select token, value from before.clear_values anti join own using (kind, token) where kind = 'text' order by token"
        ).fetchall()
        mentions = [
            token
            for start in range(0, len(rest), _TEXTS)
            if needles.found_in("\n".join(v for _, v in rest[start : start + _TEXTS]))
            for token, value in rest[start : start + _TEXTS]
            if needles.found_in(value)
        ]
        con.register("mentions", pa.table({"token": pa.array(mentions, pa.string())}))
        con.execute(
            "create table clear_values (kind varchar, token varchar, value varchar, key_id varchar, primary key (kind, token))"
        )
        con.execute(
            "insert into clear_values select kind, token, value, key_id from before.clear_values "
            "anti join own using (kind, token) where kind <> 'text' or token not in (select token from mentions)"
        )
        counted = con.execute(
            "select (select count(*) from before.clear_values) - (select count(*) from clear_values)"
        ).fetchone()
        removed.vault_values = counted[0] if counted else 0
        removed.texts_of_others = len(mentions)
        con.execute("detach before")
        con.execute("checkpoint")
    close_folder(private)
    fsync(private / "vault.duckdb")
    return mentions


def _pattern(subject: Subject) -> str:
    """A regular expression that finds the persons' clear values and ids in a text, or nothing at all."""
    escaped = [re.sub(r"([!-/:-@\[-`{-~])", r"\\\1", v) for v in (*subject.clear, *subject.words)]
    return "|".join(sorted(escaped, key=len, reverse=True)) or "^\b$"


def _stage_feed(
    settings: Settings,
    feed: FeedOfSource,
    subject: Subject,
    removed: Removed,
    by_delivery: Counter[tuple[str, str]],
) -> None:
    gone = [f"coalesce({_in_gone(c, k)}, false)" for c, k in feed.token_columns.items()]
    named = [
        f"coalesce(regexp_matches({quote(c)}, {literal(_pattern(subject))}, 'i'), false)"
        for c in feed.masked_columns
    ]
    touched = " or ".join((feed.theirs, *gone, *named))
    for file, theirs in feed.con.execute(
        f"select _file, count(*) filter (where {feed.theirs}) from {feed.relation} where {touched} group by 1 order by 1"
    ).fetchall():
        path = Path(file)
        counts = removed.guests if feed.rule.as_guest else removed.rows
        counts[feed.contract.feed] += theirs
        removed.files += 1
        _rewrite(feed, path, staged_folder(settings) / path.relative_to(settings.home), subject, by_delivery)


def _in_gone(column: str, kind: str) -> str:
    return f"{quote(column)} in (select value from gone where what = {literal(kind)})"


def _rewrite(
    feed: FeedOfSource, path: Path, target: Path, subject: Subject, by_delivery: Counter[tuple[str, str]]
) -> None:
    """Write one raw file without the persons: same columns, same order, same metadata."""
    schema = pq.read_schema(path)
    relation = parquet(path)
    columns = []
    for name in schema.names:
        made = quote(name)
        if name in feed.token_columns:
            made = f"case when {_in_gone(name, feed.token_columns[name])} then null else {made} end"
        elif name in feed.masked_columns:
            made = f"regexp_replace({made}, {literal(_pattern(subject))}, {literal(GAP)}, 'gi')"
        personal = name in feed.customers or name in feed.token_columns or name in feed.masked_columns
        if feed.rule.as_guest and personal:
            made = f"case when not {feed.theirs} then {made} end"
        columns.append(f"{made} as {quote(name)}")
    where = "" if feed.rule.as_guest else f" where not {feed.theirs}"
    if where:
        gone = feed.con.execute(
            f"select _delivery, count(*) from {relation} where {feed.theirs} group by 1"
        ).fetchall()
        by_delivery.update({(delivery, feed.contract.feed): n for delivery, n in gone})
    target.parent.mkdir(parents=True, exist_ok=True)
    reader = feed.con.execute(f"select {', '.join(columns)} from {relation}{where}").to_arrow_reader(
        _BATCH_ROWS
    )
    with pq.ParquetWriter(target, schema, compression="zstd") as writer:
        for batch in reader:
            writer.write_table(pa.Table.from_batches([batch]).cast(schema))
    fsync(target)


def _stage_quarantine(settings: Settings, people: People, subject: Subject, removed: Removed) -> None:
    """Rejected values that name the persons lose their value; the record's place and code stay, they name nobody."""
    short = {i for _, i in subject.records}
    needles = Needles(subject.clear, words=subject.words)
    for path in _quarantined(settings):
        table = pq.read_table(path)
        values = table["value"].to_pylist()
        cleared = [None if v and (v in short or needles.found_in(v)) else v for v in values]
        if cleared != values:
            removed.quarantined += sum(a != b for a, b in zip(values, cleared, strict=True))
            column = pa.array(cleared, table.schema.field("value").type)
            target = staged_folder(settings) / path.relative_to(settings.home)
            write_parquet(table.set_column(table.schema.get_field_index("value"), "value", column), target)


def _quarantined(settings: Settings) -> Iterable[Path]:
    for path in sorted(settings.quarantine.rglob("*.parquet")):
        if "_duplicates" not in path.parts and "value" in pq.read_schema(path).names:
            yield path
