"""The current release again, at once, without people who have refused since: no build, no new numbers of others."""

import secrets
import shutil
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq

from pipeline import duck
from pipeline.duck import literal, parquet, quote
from pipeline.errors import GateStopped, StrataError
from pipeline.lock import publish_lock
from pipeline.privacy import access_log, consent, erasure_gate
from pipeline.publish import audience_lists, commit, customers, shelf, withheld
from pipeline.publish.tables import PARQUET, path_of, stated_tables
from pipeline.quality.checks import Check, blocking
from pipeline.settings import Settings

_OTHER_ROWS = (
    "A table that was made again without those who have refused holds other rows than the release less theirs.\n\nThe release "
    "was not made. Look at the disk and its free space and do it again; if it stays, tell us."
)


@dataclass(frozen=True)
class Republished:
    """`release` is current; `before` was. They are the same where nobody who refused was in it. `rows` were left out."""

    release: str
    before: str
    rows: int
    persons: int

    @property
    def told(self) -> str:
        """The outcome as a line for the terminal."""
        if self.release == self.before:
            return f"release {self.release} does not hold the person: nothing to publish"
        what = (
            f"without {self.rows} rows of {self.before}" if self.rows else "with the channel's flag cleared"
        )
        return f"release {self.release} is current {what}"


def without_refused(settings: Settings, log: Callable[[str], None] = lambda _: None) -> Republished:
    """Publish the current release as the next free `<D>-rN` without the rows that refusals at the desk forbid.

    Shared sums stay as they were until the next run: a count less one would tell who left.

    Raises:
        StrataError: where nothing was published yet, or the release is damaged.
        GateStopped: where a row that must not leave is still there.
    """
    with publish_lock(settings, log=log):
        before = shelf.current(settings)
        if before is None:
            raise StrataError(f"no release has been published in {settings.home} yet: run `strata run`")
        problems = shelf.verify_folder(settings.releases / before["release"])
        if problems:
            raise StrataError(f"release {before['release']} is damaged and is not made again: {problems[0]}")
        known = before["inputs"]
        # With the words that a run has taken in which a gate then stopped: they belong into the next release, which is this.
        refused = consent.refusals(settings, known) | consent.delivered_since(settings, known)
        return again(settings, before, before["release"], refused, log)


def again(
    settings: Settings,
    before: dict[str, Any],
    follows: str,
    refused: consent.Refusals,
    log: Callable[[str], None] = lambda _: None,
    note: Callable[[str, int], None] = lambda *_: None,
) -> Republished:
    """Make a release current again without the refused, as the next free id of its day where it holds any of them.

    What holds none of them is not written again: both releases have the same file.

    Args:
        before: its manifest; its files have been verified.
        follows: the current release.
        note: writes down the release that is about to become current and how many persons are left out of it.
    """
    with publish_lock(settings, log=log):
        folder, day = settings.releases / before["release"], date.fromisoformat(before["as_of_date"])
        refused = consent.as_held(settings, folder, refused)
        told = before.get("audiences")
        touched = _touched(folder, refused)
        lists_hold = audience_lists.check(folder, told, refused.channels)
        if not touched and not blocking(lists_hold):
            _stop(_audit(settings, folder, refused, before, lists_hold, {}))
            if before["release"] != follows:
                note(before["release"], 0)
                commit.point(settings, before["release"])
            return Republished(before["release"], before["release"], 0, 0)
        commit.sweep_leftovers(settings)
        candidate = settings.releases / f".tmp-{secrets.token_hex(8)}"
        candidate.mkdir(parents=True)
        try:
            met: set[str] = set().union(*touched.values())
            cut = refused.of(met)
            rows = _copy(settings, candidate, before, cut, touched)
            searchable = _customers(
                settings, candidate, before, met if touched.keys() & customers.READS else ()
            )
            lists, gone = audience_lists.carry(folder, candidate, told, refused.channels)
            met |= gone
            lists_hold = audience_lists.check(candidate, lists, refused.channels)
            checks = _audit(settings, candidate, refused, before, lists_hold, touched)
            _stop(checks)
            name = commit.next_id(settings, day)
            manifest: dict[str, Any] = before | {
                "release": name,
                "previous_release": follows,
                "run_id": f"withdrawal-{secrets.token_hex(8)}",
                "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
                "customers": searchable,
                "audiences": lists,
                "withheld": {"persons": len(met), "rows": rows},
                # That warehouse still holds those who were left out: history must not go on from its rows.
                "warehouse": None,
                "access_log": vars(access_log.head(settings)),
            }
            manifest["checks"] = [check.as_dict() for check in checks]
            hashes = _write(settings, candidate, before, manifest, cut, touched)
            note(name, len(met))
            commit.seal(settings, candidate, manifest, is_current=True, hashes=hashes)
        except BaseException:
            commit.remove(candidate)
            raise
    log(f"release {name} is current: {rows} rows were left out")
    return Republished(name, before["release"], rows, len(met))


def _stop(checks: list[Check]) -> None:
    stopped = blocking(checks)
    if stopped:
        raise GateStopped("nothing was published: " + "\n".join(str(check) for check in stopped))


def _touched(folder: Path, refused: consent.Refusals) -> dict[str, set[str]]:
    """Table -> customer_keys whose rows must go or lose a channel's flag; tables with none of them are left out."""
    with duck.connect([folder]) as con:
        withheld.register(con, refused)
        looks = withheld.looks_at(con, folder)
        if not looks:
            return {}
        found: dict[str, set[str]] = defaultdict(set)
        parts = (f"select {literal(key)}, customer_key from ({sql})" for key, sql in looks.items())
        for key, person in con.execute(" union ".join(parts)).fetchall():
            found[key].add(person)
    return dict(found)


def _copy(
    settings: Settings,
    candidate: Path,
    before: Mapping[str, Any],
    refused: consent.Refusals,
    touched: Collection[str],
) -> int:
    """The Parquet of each table, written without the refused where it holds any of them; how many rows were left out."""
    folder = settings.releases / before["release"]
    tables = before["tables"]
    for key in tables:
        _file(candidate, key).parent.mkdir(parents=True, exist_ok=True)
        if key not in touched:
            commit.link(_file(folder, key), _file(candidate, key))

    def write(cursor: duckdb.DuckDBPyConnection, key: str) -> None:
        withheld.register(cursor, refused)
        cursor.execute(
            f"copy ({_kept(folder, key, tables[key]['columns'])}) to {literal(str(_file(candidate, key)))} {PARQUET}"
        )

    with duck.connect([folder, candidate], spill=settings.build / ".spill") as con:
        duck.share_out(con, _largest_first(tables, touched), write)
    return sum(tables[key]["rows"] - pq.read_metadata(_file(candidate, key)).num_rows for key in touched)


def _kept(folder: Path, key: str, columns: Iterable[str]) -> str:
    """SQL of what a table of the release holds without the refused."""
    schema, names = key.split(".")[0], tuple(columns)
    return (
        f"select {withheld.columns(schema, names)} from {parquet(_file(folder, key))} "
        f"where {withheld.condition(schema, names)}"
    )


def _largest_first(tables: Mapping[str, Any], keys: Collection[str]) -> list[str]:
    return sorted(keys, key=lambda key: -tables[key]["rows"] * len(tables[key]["columns"]))


def _alike(
    settings: Settings,
    candidate: Path,
    refused: consent.Refusals,
    before: Mapping[str, Any],
    touched: Collection[str],
) -> list[Check]:
    """Each table that was written again holds the rows of the release less those of the refused, and nothing else: their
    number and the sum of their hashes. So every rule that its rows have passed holds for those that are left."""
    folder, tables = settings.releases / before["release"], before["tables"]
    checks = []

    def ask(cursor: duckdb.DuckDBPyConnection, key: str) -> None:
        withheld.register(cursor, refused)
        columns = ", ".join(quote(name) for name in tables[key]["columns"])
        asked = f"select count(*), sum(hash({columns})::hugeint) from ({{}})"
        sides = (_kept(folder, key, tables[key]["columns"]), f"from {parquet(_file(candidate, key))}")
        meant, written = (cursor.execute(asked.format(rows)).fetchone() or () for rows in sides)
        told = f"{written[0]} rows of {meant[0]}" + ("" if written[0] != meant[0] else ", not the same ones")
        checks.append(
            Check(
                "table", key, "rows_are_those_of_the_release", "block", meant == written,
                0 if meant == written else told, 0, _OTHER_ROWS, gate="Q-17",
            )
        )  # fmt: skip

    with duck.connect([folder, candidate], spill=settings.build / ".spill") as con:
        duck.share_out(con, _largest_first(tables, touched), ask)
    return sorted(checks, key=lambda check: check.target)


def _file(folder: Path, key: str) -> Path:
    schema, table = key.split(".")
    return folder / "tables" / schema / f"{table}.parquet"


def _customers(
    settings: Settings, candidate: Path, before: Mapping[str, Any], met: Collection[str]
) -> dict[str, int] | None:
    """The files of single customers: those of the release, but where somebody of `met` stood."""
    folder, told = settings.releases / before["release"], before.get("customers")
    return customers.write(settings, candidate, words_of=folder, kept=(told, met) if told else None)


def _write(
    settings: Settings,
    candidate: Path,
    before: Mapping[str, Any],
    manifest: dict[str, Any],
    refused: consent.Refusals,
    touched: Collection[str],
) -> dict[str, str]:
    """Database, docs of the release `before`, page and what the manifest says of the tables; SHA-256 of all files but the
    page."""
    # The page and what it is drawn with take long to import, and a rollback without refusals needs none of it.
    from pipeline.publish import release

    folder = settings.releases / before["release"]
    tables = stated_tables(manifest)
    database(folder, candidate, refused, {key: manifest["tables"][key]["columns"] for key in touched})
    if (folder / "docs").exists():
        shutil.copytree(folder / "docs", candidate / "docs", copy_function=commit.link)
    hashes = _hashes(settings, candidate, before)
    described = {}
    for table in tables:
        file = path_of(table)
        described[table.key] = manifest["tables"][table.key] | {
            "rows": pq.read_metadata(candidate / file).num_rows,
            "sha256": hashes[file.as_posix()],
            "bytes": (candidate / file).stat().st_size,
        }
    manifest["tables"] = described
    release.write_page(candidate, tables, manifest)
    return hashes


def _hashes(settings: Settings, candidate: Path, before: Mapping[str, Any]) -> dict[str, str]:
    """SHA-256 of every file; of one that both releases have under one number on the disk the stated one: it has been
    compared already."""
    folder, known = settings.releases / before["release"], {}
    for path, stated in before["files"].items():
        kept, own = folder / path, candidate / path
        if kept.is_file() and own.is_file() and kept.samefile(own):
            known[path] = stated["sha256"]
    return known | shelf.sha256_of(candidate, set(shelf.files_of(candidate)) - known.keys())


def database(
    folder: Path, candidate: Path, refused: consent.Refusals, touched: Mapping[str, Collection[str]]
) -> None:
    """`marts.duckdb` of the candidate: that of the release, less the rows and flags of the refused.

    Copying costs a tenth of writing it anew from Parquet. What was deleted can be asked for no more; its bytes may stay in
    the file until the next release, as a refusal asks for no erasure (an erasure writes the file anew, publish/redaction.py).

    Args:
        touched: columns of each table that holds any of the refused.
    """
    path = candidate / "marts.duckdb"
    if not touched:
        commit.link(folder / path.name, path)
        return
    shutil.copyfile(folder / path.name, path)
    path.chmod(0o644)
    with duck.connect([candidate]) as con:
        con.execute(f"attach {literal(str(path))} as marts")
        withheld.register(con, refused)
        for key, names in touched.items():
            schema, name = key.split(".")
            table = f"marts.{quote(schema)}.{quote(name)}"
            con.execute(f"delete from {table} where ({withheld.condition(schema, tuple(names))}) is not true")
            if flags := withheld.cleared(schema, tuple(names)):
                con.execute(
                    f"update {table} set {flags} where ({withheld.unchanged(schema, tuple(names))}) is not true"
                )
        con.execute("checkpoint marts")
        con.execute("detach marts")
    if path.with_name("marts.duckdb.wal").exists():
        raise StrataError("marts.duckdb was not checkpointed: a log file lies beside it")


def _audit(
    settings: Settings,
    folder: Path,
    refused: consent.Refusals,
    before: Mapping[str, Any],
    lists_hold: list[Check],
    written: Mapping[str, Collection[str]],
) -> list[Check]:
    """What the release said of its build, with the checks that may turn out otherwise today made anew.

    Those are who may be addressed and who was erased. All else was asked of these very bytes, which their hashes prove,
    or of rows that are all there still (docs/decisions/025-what-a-rollback-asks.md).

    Args:
        folder: the release, or the candidate without the refused.
        lists_hold: what was found in its lists.
        written: tables that are not the release's own files, with the customer_keys that were cut out of each.
    """
    anew = (
        _alike(settings, folder, refused.of(set().union(*written.values())), before, written)
        if written
        else []
    )
    anew += lists_hold
    # Without the delete requests: an overdue one of somebody else is no reason to keep this one waiting.
    anew += erasure_gate.absent(settings, folder)
    with duck.connect([folder]) as con:
        withheld.register(con, refused)
        # Of the other tables `_touched` has asked the same: they hold nobody.
        anew.append(withheld.still_published(con, folder, written))
    made = {(check.target, check.check) for check in anew}
    kept = [Check.from_dict(dict(c)) for c in before["checks"]]
    return [check for check in kept if (check.target, check.check) not in made] + anew
