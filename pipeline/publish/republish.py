"""The current release again, at once, without people who have refused since: no build, no new numbers of others."""

import secrets
import shutil
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from pipeline import duck
from pipeline.duck import literal, parquet, quote
from pipeline.errors import GateStopped, StrataError
from pipeline.lock import publish_lock
from pipeline.privacy import access_log, consent, erasure_gate, persons
from pipeline.privacy.consent import Refusals
from pipeline.publish import audience_lists, commit, customers, release, shelf, withheld
from pipeline.publish.tables import PARQUET, PublishedTable, path_of
from pipeline.quality import leaving
from pipeline.quality.checks import Check, blocking
from pipeline.settings import Settings


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
        return again(settings, before, before["release"], consent.refusals(settings, before["inputs"]), log)


def again(
    settings: Settings,
    before: dict[str, Any],
    follows: str,
    refused: consent.Refusals,
    log: Callable[[str], None] = lambda _: None,
) -> Republished:
    """Make a release current again without the refused, as the next free id of its day where it holds any of them.

    What holds none of them is not written again: both releases have the same file.

    Args:
        before: its manifest; its files have been verified.
        follows: the current release.
    """
    with publish_lock(settings, log=log):
        folder, day = settings.releases / before["release"], date.fromisoformat(before["as_of_date"])
        refused = Refusals(
            persons.every_key(settings, folder, refused.unprofiled),
            persons.every_key(settings, folder, refused.unmarketed),
            {c: persons.every_key(settings, folder, keys) for c, keys in refused.channels.items()},
        )
        told = before.get("audiences")
        touched = _touched(folder, before, refused)
        if not touched and not blocking(audience_lists.check(folder, told, refused.channels)):
            _stop(_audit(settings, folder, refused, before, day, told, touched))
            if before["release"] != follows:
                commit.point(settings, before["release"])
            return Republished(before["release"], before["release"], 0, 0)
        commit.sweep_leftovers(settings)
        candidate = settings.releases / f".tmp-{secrets.token_hex(8)}"
        candidate.mkdir(parents=True)
        try:
            rows = _copy(settings, candidate, before, refused, touched)
            met: set[str] = set().union(*touched.values())
            searchable = _customers(
                settings, candidate, before, met if touched.keys() & customers.READS else ()
            )
            lists, gone = audience_lists.carry(folder, candidate, told, refused.channels)
            met |= gone
            checks = _audit(settings, candidate, refused, before, day, lists, touched)
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
            _write(settings, candidate, before, manifest, refused, touched)
        except BaseException:
            commit.remove(candidate)
            raise
    log(f"release {name} is current: {rows} rows were left out")
    return Republished(name, before["release"], rows, len(met))


def _stop(checks: list[Check]) -> None:
    stopped = blocking(checks)
    if stopped:
        raise GateStopped("nothing was published: " + "\n".join(str(check) for check in stopped))


def _touched(folder: Path, before: Mapping[str, Any], refused: consent.Refusals) -> dict[str, set[str]]:
    """Table -> customer_keys whose rows must go or lose a channel's flag; tables with none of them are left out."""
    found: dict[str, set[str]] = {}
    with duck.connect([folder]) as con:
        withheld.register(con, refused)
        for key, entry in before["tables"].items():
            schema, _ = key.split(".")
            stays = withheld.unchanged(schema, tuple(entry["columns"]))
            if stays == "true":
                continue
            rows = parquet(_file(folder, key))
            keys = con.execute(f"select distinct customer_key from {rows} where not coalesce({stays}, false)")
            if met := {row[0] for row in keys.fetchall()}:
                found[key] = met
    return found


def _copy(
    settings: Settings,
    candidate: Path,
    before: Mapping[str, Any],
    refused: consent.Refusals,
    touched: Collection[str],
) -> int:
    """The Parquet of each table, written without the refused where it holds any of them; how many rows were left out."""
    folder = settings.releases / before["release"]
    left_out = 0
    with duck.connect([folder, candidate], spill=settings.build / ".spill") as con:
        withheld.register(con, refused)
        for key, entry in before["tables"].items():
            schema, _ = key.split(".")
            source, target = _file(folder, key), _file(candidate, key)
            target.parent.mkdir(parents=True, exist_ok=True)
            if key not in touched:
                commit.link(source, target)
                continue
            names = tuple(entry["columns"])
            con.execute(
                f"copy (select {withheld.columns(schema, names)} from {parquet(source)} "
                f"where {withheld.condition(schema, names)}) to {literal(str(target))} {PARQUET}"
            )
            left_out += entry["rows"] - pq.read_metadata(target).num_rows
    return left_out


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
) -> None:
    """Database, docs of the release `before`, page and manifest of the candidate; then it is the current release."""
    folder = settings.releases / before["release"]
    tables = _tables(manifest)
    database(folder, candidate, refused, {key: manifest["tables"][key]["columns"] for key in touched})
    if (folder / "docs").exists():
        shutil.copytree(folder / "docs", candidate / "docs", copy_function=commit.link)
    hashes = {
        path: _known(folder, candidate, before, path) or shelf.sha256(candidate / path)
        for path in shelf.files_of(candidate)
    }
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
    commit.seal(settings, candidate, manifest, is_current=True, hashes=hashes)


def _known(folder: Path, candidate: Path, before: Mapping[str, Any], path: str) -> str | None:
    """The SHA-256 of a file that both releases have under one number on the disk: it has been compared already."""
    stated, kept = before["files"].get(path), folder / path
    return stated["sha256"] if stated and kept.is_file() and kept.samefile(candidate / path) else None


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


def _tables(manifest: Mapping[str, Any]) -> list[PublishedTable]:
    """The tables of a release, as its manifest states them."""
    return [
        PublishedTable(
            *key.split("."),
            tuple(entry["columns"]),
            tuple(entry.get("grain", ())),
            optional=tuple(entry.get("optional_grain", ())),
            counted_from=entry.get("counted_from"),
        )
        for key, entry in manifest["tables"].items()
    ]


def _audit(
    settings: Settings,
    folder: Path,
    refused: consent.Refusals,
    before: Mapping[str, Any],
    day: date,
    lists: Mapping[str, Any] | None,
    touched: Collection[str],
) -> list[Check]:
    """What the release said of its build, with the checks of the files that are to be current made anew.

    Who may be addressed is asked in any case; what the tables must hold, only where some are not those that passed.
    """
    written = [table for table in _tables(before) if table.key in touched]
    anew = release.audit(folder) + leaving.check(folder, written, day) if written else []
    anew += audience_lists.check(folder, lists, refused.channels)
    # Without the delete requests: an overdue one of somebody else is no reason to keep this one waiting.
    anew += erasure_gate.absent(settings, folder)
    with duck.connect([folder]) as con:
        withheld.register(con, refused)
        anew.append(withheld.still_published(con, folder))
    made = {(check.target, check.check) for check in anew}
    kept = [Check.from_dict(dict(c)) for c in before["checks"]]
    return [check for check in kept if (check.target, check.check) not in made] + anew
