"""The current release again, at once, without people who have refused since: no build, no new numbers of others."""

import secrets
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from pipeline import duck
from pipeline.duck import literal, parquet
from pipeline.errors import GateStopped, StrataError
from pipeline.lock import publish_lock
from pipeline.privacy import access_log, consent, persons
from pipeline.privacy.consent import Refusals
from pipeline.privacy.erasure_gate import erasure_checks
from pipeline.publish import audience_lists, commit, customers, release, shelf, withheld
from pipeline.publish.tables import PARQUET, PublishedTable, write_database
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
        StrataError: where nothing was published yet.
        GateStopped: where a row that must not leave is still there.
    """
    with publish_lock(settings, log=log):
        before = shelf.current(settings)
        if before is None:
            raise StrataError(f"no release has been published in {settings.home} yet: run `strata run`")
        return again(settings, before, before["release"], consent.refusals(settings, before["inputs"]), log)


def again(
    settings: Settings,
    before: dict[str, Any],
    follows: str,
    refused: consent.Refusals,
    log: Callable[[str], None] = lambda _: None,
) -> Republished:
    """Make a release current again without the refused, as the next free id of its day where it holds any of them.

    Args:
        before: its manifest.
        follows: the current release.
    """
    with publish_lock(settings, log=log):
        folder = settings.releases / before["release"]
        problems = shelf.verify_folder(folder)
        if problems:
            raise StrataError(f"release {before['release']} is damaged and is not made again: {problems[0]}")
        refused = Refusals(
            persons.every_key(settings, folder, refused.unprofiled),
            persons.every_key(settings, folder, refused.unmarketed),
            {c: persons.every_key(settings, folder, keys) for c, keys in refused.channels.items()},
        )
        commit.sweep_leftovers(settings)
        candidate = settings.releases / f".tmp-{secrets.token_hex(8)}"
        candidate.mkdir(parents=True)
        try:
            rows, met = _copy(settings, candidate, before, refused)
            searchable = customers.write(settings, candidate, words_of=folder)
            lists, gone = audience_lists.carry(folder, candidate, before.get("audiences"), refused.channels)
            met |= gone
            day = date.fromisoformat(before["as_of_date"])
            checks = _audit(settings, candidate, refused, before, day, lists, is_changed=bool(met))
            stopped = blocking(checks)
            if stopped:
                raise GateStopped("nothing was published: " + "\n".join(str(check) for check in stopped))
            if not met:
                commit.remove(candidate)
                if before["release"] != follows:
                    commit.point(settings, before["release"])
                return Republished(before["release"], before["release"], 0, 0)
            name = commit.next_id(settings, day)
            manifest: dict[str, Any] = before | {
                "release": name,
                "previous_release": follows,
                "run_id": f"withdrawal-{secrets.token_hex(8)}",
                "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
                "customers": searchable,
                "audiences": lists,
                "withheld": {"persons": len(met), "rows": rows},
                "access_log": vars(access_log.head(settings)),
            }
            manifest["checks"] = [check.as_dict() for check in checks]
            _write(settings, candidate, folder, manifest)
        except BaseException:
            commit.remove(candidate)
            raise
    log(f"release {name} is current: {rows} rows were left out")
    return Republished(name, before["release"], rows, len(met))


def _copy(
    settings: Settings, candidate: Path, before: dict[str, Any], refused: consent.Refusals
) -> tuple[int, set[str]]:
    """Copy each table's Parquet without the refused; (rows left out, keys of those who were in it or addressed)."""
    folder = settings.releases / before["release"]
    left_out, met = 0, set()
    con = duck.connect([folder, candidate], spill=settings.build / ".spill")
    try:
        withheld.register(con, refused)
        for key, entry in before["tables"].items():
            schema, table = key.split(".")
            source, target = (f / "tables" / schema / f"{table}.parquet" for f in (folder, candidate))
            target.parent.mkdir(parents=True, exist_ok=True)
            names = tuple(entry["columns"])
            rows = parquet(source)
            con.execute(
                f"copy (select {withheld.columns(schema, names)} from {rows} where {withheld.condition(schema, names)}) "
                f"to {literal(str(target))} {PARQUET}"
            )
            if "customer_key" not in names:
                continue
            kept = parquet(target)
            changed = con.execute(
                f"select customer_key from (select * from {rows} except all select * from {kept})"
            ).fetchall()
            met.update(row[0] for row in changed)
            left_out += entry["rows"] - pq.read_metadata(target).num_rows
    finally:
        con.close()
    return left_out, met


def _write(settings: Settings, candidate: Path, before: Path, manifest: dict[str, Any]) -> None:
    """Database, docs of the release `before`, page and manifest of the candidate; then it is the current release."""
    tables = _tables(manifest)
    described = {}
    for table in tables:
        file = candidate / "tables" / table.schema / f"{table.name}.parquet"
        described[table.key] = manifest["tables"][table.key] | {
            "rows": pq.read_metadata(file).num_rows,
            "sha256": shelf.sha256(file),
            "bytes": file.stat().st_size,
        }
    manifest["tables"] = described
    write_database(candidate, tables)
    if (before / "docs").exists():
        shutil.copytree(before / "docs", candidate / "docs", copy_function=shutil.copyfile)
    release.write_page(candidate, tables, manifest)
    commit.seal(settings, candidate, manifest, is_current=True)


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
    candidate: Path,
    refused: consent.Refusals,
    before: dict[str, Any],
    day: date,
    lists: dict[str, Any] | None,
    *,
    is_changed: bool,
) -> list[Check]:
    """What the release said of its build, with the checks of the published files made anew.

    Who may be addressed is asked in any case; what the tables must hold, only where they are not those that passed.
    """
    anew = release.audit(candidate) + leaving.check(candidate, _tables(before), day) if is_changed else []
    anew += audience_lists.check(candidate, lists, refused.channels)
    # An overdue request of somebody else is no reason to keep this one waiting.
    anew += [c for c in erasure_checks(settings, candidate, day) if c.check == "erased_persons_absent"]
    con = duck.connect([candidate])
    try:
        withheld.register(con, refused)
        anew.append(withheld.still_published(con, candidate))
    finally:
        con.close()
    made = {(check.target, check.check) for check in anew}
    kept = [Check.from_dict(dict(c)) for c in before["checks"]]
    return [check for check in kept if (check.target, check.check) not in made] + anew
