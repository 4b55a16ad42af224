"""Releases: built apart, audited, verified from disk, and made current by one pointer write.

`releases/<id>/` holds `tables/<schema>/<table>.parquet`, `marts.duckdb`, `index.html`, `customers/*.js` for its search, and
`audiences/*.csv` and `manifest.json`. `CURRENT.json` is the only commit point: whatever dies before its rename has published nothing.
"""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, date, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd

from pipeline import duck
from pipeline.errors import GateStopped, StrataError
from pipeline.ingest import ledger
from pipeline.ingest.files import fsync
from pipeline.ingest.mapping import targets
from pipeline.privacy import access_log, consent, retention
from pipeline.privacy.erasure_gate import erasure_checks
from pipeline.publish import audience_lists, contract, customers, drift, members, page_facts, withheld
from pipeline.publish.report import PAGE_TABLES, render_page
from pipeline.publish.serving import serve
from pipeline.quality import approvals, leaving
from pipeline.quality.checks import Check, blocking, save_checks
from pipeline.quality.policy import thresholds
from pipeline.quality.suites import load_suites, run_suite
from pipeline.settings import Settings
from pipeline.transform import receipt
from pipeline.transform.context import reporting_currency

# What DuckDB 1.0 clients and the tools built on them can read. TIME_NS and BIGNUM, for two, they cannot.
_ALLOWED_TYPES = (
    "VARCHAR",
    "BIGINT",
    "INTEGER",
    "SMALLINT",
    "DOUBLE",
    "BOOLEAN",
    "DATE",
    "TIMESTAMP",
    "DECIMAL",
)


@dataclass(frozen=True)
class PublishedTable:
    """One table that leaves: the columns on its allow-list, in order, and the grain that it is sorted by.

    `schemes` names the column that holds the class of each scheme, where the table classes people (`meta.scheme`).
    `optional` are columns of the grain that are empty in rows about all of it (`meta.optional_grain`). `counted_from` is
    the published list of single people that all its figures can be counted from (`meta.counted_from`), '' where there is
    none, None where a release of an earlier version does not say.
    """

    schema: str
    name: str
    columns: tuple[str, ...]
    grain: tuple[str, ...]
    requires_feeds: tuple[str, ...] = ()
    schemes: Mapping[str, str] = field(default_factory=dict)
    optional: tuple[str, ...] = ()
    counted_from: str | None = ""

    @property
    def key(self) -> str:
        return f"{self.schema}.{self.name}"


@dataclass(frozen=True)
class Published:
    """Outcome of one publication. `changed` is False where the current release already says the same."""

    release: str
    changed: bool
    checks: tuple[Check, ...]
    path: Path


def published_tables(manifest: Mapping[str, Any]) -> list[PublishedTable]:
    """The allow-list: columns with `meta.publish: true` in the dbt project, by table."""
    tables = []
    for node in manifest["nodes"].values():
        if node["resource_type"] != "model":
            continue
        described = {
            name: {**c.get("meta", {}), **c.get("config", {}).get("meta", {})}
            for name, c in node["columns"].items()
        }
        columns = tuple(name for name, meta in described.items() if meta.get("publish"))
        if columns:
            meta = node["config"].get("meta", {})
            tables.append(
                PublishedTable(
                    node["schema"].removeprefix("main_"),
                    node["name"],
                    columns,
                    tuple(meta.get("grain", ())),
                    tuple(meta.get("requires_feeds", ())),
                    {described[name]["scheme"]: name for name in columns if "scheme" in described[name]},
                    tuple(meta.get("optional_grain", ())),
                    meta.get("counted_from", ""),
                )
            )
    return sorted(tables, key=lambda t: t.key)


def pointed(settings: Settings) -> str | None:
    """Id of the current release, whose folder is not looked at; None before the first.

    Raises StrataError where the pointer cannot be read.
    """
    try:
        return str(json.loads(settings.pointer.read_text())["release"])
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        have = ", ".join(list_releases(settings)) or "none"
        raise StrataError(
            f'{settings.pointer} is damaged: write {{"release": "ID", "path": "releases/ID"}} into it, ID being the release '
            f"that was current; there are: {have}"
        ) from error


def current(settings: Settings) -> dict[str, Any] | None:
    """Manifest of the current release, or None before the first. Raises StrataError where it is not there."""
    release = pointed(settings)
    if release is None:
        return None
    if not (settings.releases / release / "manifest.json").exists():
        have = ", ".join(list_releases(settings)) or "none"
        raise StrataError(
            f"release {release}, which {settings.pointer.name} names, is not there; there are: {have}. `strata releases "
            "rollback ID --by WHO` makes one of them current"
        )
    return load_manifest(settings, release)


def load_manifest(settings: Settings, release: str) -> dict[str, Any]:
    path = settings.releases / release / "manifest.json"
    if not path.exists():
        have = ", ".join(list_releases(settings)) or "none"
        raise StrataError(f"there is no release {release}; there are: {have}")
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise StrataError(
            f"{path} is damaged (the manifest is no JSON): remove that folder; is it the current release, `strata "
            "releases rollback ID --by WHO` first"
        ) from error


def list_releases(settings: Settings) -> list[str]:
    """Ids of every complete release, oldest first."""
    if not settings.releases.exists():
        return []
    found = [p.parent for p in settings.releases.glob("*/manifest.json") if not p.parent.name.startswith(".")]
    return sorted((p.name for p in found), key=_order)


def _order(release: str) -> tuple[str, int]:
    day, _, revision = release.partition("-r")
    return day, int(revision or 1)


def newest_as_of(settings: Settings) -> date | None:
    """As-of date of the current release."""
    manifest = current(settings)
    return date.fromisoformat(manifest["as_of_date"]) if manifest else None


def publish(
    settings: Settings,
    as_of: date,
    *,
    run_id: str,
    dbt_manifest: Mapping[str, Any],
    expected_nodes: list[str],
    log: Callable[[str], None] = lambda _: None,
) -> Published:
    """Publish the built warehouse as the release of `as_of`, or say that nothing changed.

    Raises:
        GateStopped: without a valid receipt, or when a suite blocks; nothing has moved then.
        StrataError: when `as_of` lies before the current release.
    """
    before = current(settings)
    approvals.spend(settings, before)
    if before and before["as_of_date"] > as_of.isoformat():
        raise StrataError(
            f"the current release is for {before['as_of_date']}; a release for {as_of} would turn time back. "
            "To look at an older day use `strata releases`, or build it in another home"
        )
    from pipeline.publish import dictionary
    from pipeline.publish.audiences import lists as audiences

    proof = receipt.require(settings, as_of, expected_nodes)
    tables = published_tables(dbt_manifest)
    sweep_leftovers(settings)
    candidate = settings.releases / f".tmp-{run_id}"
    candidate.mkdir(parents=True)
    try:
        log(f"writing {len(tables)} tables")
        in_force = ledger.in_force(ledger.read(settings), as_of)
        refused = consent.refusals(settings, {e.delivery for e in in_force})
        _write_tables(settings, candidate, tables, refused)
        searchable = customers.write(settings, candidate)
        lists = audiences.write(settings, candidate, as_of, before, log)
        checks = [Check.from_dict(dict(c)) for c in proof.checks] + audit(candidate)
        checks += [*withheld.recheck(settings, candidate, refused), retention.check(settings, as_of)]
        checks += erasure_checks(settings, candidate, as_of)
        checks += leaving.check(candidate, tables, as_of)
        checks += audience_lists.check(candidate, lists, refused.channels)
        checks += drift.check(settings, candidate, as_of, before, tables)
        checks += members.check(settings, candidate, as_of, before)
        checks = approvals.applied(settings, checks, as_of, proof.fingerprint)
        save_checks(settings, "release", run_id, checks)
        stopped = blocking(checks)
        if stopped:
            raise GateStopped("nothing was published: " + "\n".join(str(check) for check in stopped))
        hashes = {path: sha256(candidate / path) for path in files_of(candidate)}
        same = before is not None and _says_the_same(before, proof.fingerprint, hashes)
        if before and same and not verify_folder(settings.releases / before["release"]):
            remove(candidate)
            serve(settings, before["release"])
            log(f"release {before['release']} already says this; nothing changed")
            return Published(before["release"], False, tuple(checks), settings.releases / before["release"])
        ready = _ready(settings, as_of, before, proof.fingerprint, hashes)
        if ready:
            remove(candidate)
            point(settings, ready)
            approvals.spend(settings, load_manifest(settings, ready))
            log(f"release {ready}, which a run that died had written, is current")
            return Published(ready, True, tuple(checks), settings.releases / ready)
        _link_unchanged(settings, candidate, before, hashes)
        release = next_id(settings, as_of)
        manifest = _manifest(
            settings, as_of, release, run_id, proof, checks, tables, candidate, before, hashes
        )
        manifest["customers"] = searchable
        manifest["audiences"] = lists
        manifest["before"] = _told_before(settings, before)
        log("writing marts.duckdb, the dictionary and the page")
        write_database(candidate, tables)
        dictionary.write(candidate, tables, dbt_manifest)
        write_page(candidate, tables, manifest)
        seal(settings, candidate, manifest, is_current=True, hashes=hashes)
    except BaseException:
        remove(candidate)
        raise
    approvals.spend(settings, manifest)
    log(f"release {release} is current")
    return Published(release, True, tuple(checks), settings.releases / release)


def seal(
    settings: Settings,
    candidate: Path,
    manifest: dict[str, Any],
    *,
    is_current: bool,
    hashes: Mapping[str, str] | None = None,
) -> None:
    """Write the manifest of a candidate, read everything back, and give it its name `manifest["release"]`.

    Args:
        is_current: move the pointer to it; a republished older release leaves the pointer where it is.
        hashes: SHA-256 of files of the candidate that the caller has asked already. Reading back notices a wrong one.
    """
    known = hashes or {}
    manifest["files"] = {
        path: {
            "sha256": known.get(path) or sha256(candidate / path),
            "bytes": (candidate / path).stat().st_size,
        }
        for path in files_of(candidate)
    }
    _write_json(candidate / "manifest.json", manifest)
    (candidate / "manifest.sha256").write_text(sha256(candidate / "manifest.json") + "\n")
    problems = verify_folder(candidate)
    if problems:
        raise StrataError(f"the candidate does not read back as written: {problems[0]}")
    _commit(settings, candidate, manifest, is_current=is_current)


def audit(folder: Path) -> list[Check]:
    """The suites of `expectations/audiences` on the very files that are about to leave."""
    checks: list[Check] = []
    for suite in load_suites("expectations.audiences").values():
        schema, table = suite.target.split(".")
        checks += run_suite(suite, pd.read_parquet(folder / "tables" / schema / f"{table}.parquet"))
    return checks


def verify(settings: Settings, release: str | None = None) -> tuple[str, list[str]]:
    """(id, problems) of a release, read from disk; the current one where none is named."""
    if release is None:
        manifest = current(settings)
        if manifest is None:
            raise StrataError(f"no release has been published in {settings.home} yet: run `strata run`")
        release = manifest["release"]
    said = load_manifest(settings, release)["release"]
    other = [f"the folder {release} holds release {said}"] if said != release else []
    return release, [*other, *verify_folder(settings.releases / release)]


def verify_folder(folder: Path) -> list[str]:
    """What is wrong with a release folder: every file against the manifest's size and SHA-256, none missing or extra."""
    stated = folder / "manifest.sha256"
    if not stated.is_file() or stated.read_text().strip() != sha256(folder / "manifest.json"):
        return ["manifest.json is not the file that was published"]
    manifest = json.loads((folder / "manifest.json").read_text())
    problems = []
    for path, expected in manifest["files"].items():
        file = folder / path
        if not file.is_file():
            problems.append(f"{path} is missing")
        elif file.stat().st_size != expected["bytes"] or sha256(file) != expected["sha256"]:
            problems.append(f"{path} is not the file that was published")
    extra = set(files_of(folder)) - set(manifest["files"]) - {"manifest.json", "manifest.sha256"}
    return problems + [f"{path} does not belong to the release" for path in sorted(extra)]


def sweep_leftovers(settings: Settings) -> None:
    """Remove what a run that died left behind. Only under the run lock."""
    for path in settings.releases.glob(".tmp-*"):
        remove(path)


def delete(settings: Settings, release: str) -> None:
    """Delete a kept release: gone in one rename, so that whoever dies at it leaves no half release but a leftover."""
    folder = settings.releases / release
    if folder.exists():
        gone = settings.releases / f".tmp-gone-{release}"
        folder.rename(gone)
        fsync(settings.releases)
        remove(gone)


def remove(folder: Path) -> None:
    """Remove a folder that may be read-only already."""
    if folder.exists():
        for path in (folder, *(p for p in folder.rglob("*") if p.is_dir())):
            path.chmod(0o755)
        shutil.rmtree(folder)


def _parquet(table: PublishedTable) -> Path:
    return Path("tables") / table.schema / f"{table.name}.parquet"


def write_page(folder: Path, tables: Iterable[PublishedTable], manifest: Mapping[str, Any]) -> None:
    """`index.html` of a candidate, from its own Parquet."""
    frames = page_facts.of(folder)
    for table in tables:
        if table.key in PAGE_TABLES:
            wanted = [c for c in PAGE_TABLES[table.key] if c in table.columns]
            frames[table.key] = pd.read_parquet(folder / _parquet(table), columns=wanted or None)
    (folder / "index.html").write_text(render_page(frames, manifest), encoding="utf-8")


def _told_before(settings: Settings, before: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """What the page of the release before said at its top: kept, so that it is not told again without single persons."""
    if before is None:
        return None
    told = {"release": before["release"], "as_of_date": before["as_of_date"]}
    return told | page_facts.headline(settings.releases / before["release"])


def _write_tables(
    settings: Settings, folder: Path, tables: Iterable[PublishedTable], refused: consent.Refusals
) -> None:
    """Parquet of each table, sorted by its grain so that equal contents are equal bytes; without who has refused since."""
    warehouse = settings.warehouse
    con = duck.connect(
        [folder, warehouse.parent], database=warehouse, read_only=True, spill=warehouse.parent / ".spill"
    )
    try:
        withheld.register(con, refused)
        for table in tables:
            path = folder / _parquet(table)
            path.parent.mkdir(parents=True, exist_ok=True)
            columns = ", ".join(f'"{c}"' for c in table.columns)
            order = ", ".join(f'"{c}" nulls first' for c in table.grain or table.columns)
            con.execute(
                f'copy (select {withheld.columns(table.schema, table.columns)} from "{table.schema}"."{table.name}" '
                f"where {withheld.condition(table.schema, table.columns)} order by {order}) to "
                f"'{_escaped(path)}' (format parquet, compression zstd)"
            )
            # The warehouse's own types: Parquet knows no HUGEINT, and DuckDB would quietly write it as a double.
            for name, kind, *_ in con.execute(
                f'describe select {columns} from "{table.schema}"."{table.name}"'
            ).fetchall():
                if not kind.startswith(_ALLOWED_TYPES) or "[" in kind:
                    raise StrataError(f"{table.key}.{name} has type {kind}, which older readers cannot open")
    finally:
        con.close()


def _link_unchanged(
    settings: Settings, candidate: Path, before: Mapping[str, Any] | None, hashes: Mapping[str, str]
) -> None:
    """One file on the disk for both releases where the bytes are those of the current one and it still has them."""
    if before is None:
        return
    for path, digest in hashes.items():
        stated, kept = before["files"].get(path), settings.releases / before["release"] / path
        if not stated or stated["sha256"] != digest or not kept.is_file() or sha256(kept) != digest:
            continue
        linked = candidate / f"{path}.link"
        try:
            os.link(kept, linked)
        except OSError:
            # A file system without hard links, or with no more room for them: the candidate keeps its own copy.
            return
        linked.replace(candidate / path)


def write_database(folder: Path, tables: Iterable[PublishedTable]) -> None:
    """`marts.duckdb` from the candidate's own Parquet, in the storage format that DuckDB 1.0 reads."""
    path = folder / "marts.duckdb"
    con = duck.connect([folder], spill=folder.parent.parent / "warehouse" / ".spill")
    try:
        con.execute(f"attach '{_escaped(path)}' as marts (storage_version 'v1.0.0')")
        for table in tables:
            con.execute(f'create schema if not exists marts."{table.schema}"')
            con.execute(
                f'create table marts."{table.schema}"."{table.name}" as '
                f"select * from read_parquet('{_escaped(folder / _parquet(table))}', hive_partitioning = false)"
            )
        con.execute("checkpoint marts")
        con.execute("detach marts")
    finally:
        con.close()
    if path.with_name("marts.duckdb.wal").exists():
        raise StrataError("marts.duckdb was not checkpointed: a log file lies beside it")


def _manifest(
    settings: Settings,
    as_of: date,
    release: str,
    run_id: str,
    proof: receipt.Receipt,
    checks: list[Check],
    tables: list[PublishedTable],
    folder: Path,
    before: Mapping[str, Any] | None,
    hashes: Mapping[str, str],
) -> dict[str, Any]:
    entries = [e for e in ledger.read(settings) if e.dt is None or e.dt < as_of]
    in_force = ledger.in_force(entries, as_of)
    enabled = {
        feed for e in in_force if e.status == "loaded" for feed in targets(e.source or "", e.feed or "")
    }
    described: dict[str, Any] = {}
    policy_version = None
    con = duck.connect([folder])
    for table in tables:
        file = folder / _parquet(table)
        columns = con.execute(
            f"describe select * from read_parquet('{_escaped(file)}', hive_partitioning = false)"
        ).fetchall()
        rows = con.execute(
            f"select count(*) from read_parquet('{_escaped(file)}', hive_partitioning = false)"
        ).fetchone()
        if policy_version is None and "policy_version" in table.columns:
            found = con.execute(
                f"select max(policy_version) from read_parquet('{_escaped(file)}', hive_partitioning = false)"
            ).fetchone()
            policy_version = found[0] if found else None
        missing = [feed for feed in table.requires_feeds if feed not in enabled]
        described[table.key] = {
            "rows": rows[0] if rows else 0,
            "sha256": hashes[_parquet(table).as_posix()],
            "bytes": file.stat().st_size,
            "status": "not_enabled" if missing else "published",
            "columns": {c[0]: c[1] for c in columns},
            "grain": list(table.grain),
            "counted_from": table.counted_from,
            **({"optional_grain": list(table.optional)} if table.optional else {}),
            **({"schemes": table.schemes} if table.schemes else {}),
            **({"missing_feeds": missing} if missing else {}),
        }
    con.close()
    feeds: dict[str, Any] = {}
    for entry in in_force:
        for feed in targets(entry.source or "", entry.feed or ""):
            shown = feeds.setdefault(
                f"{entry.source}/{feed}", {"files": 0, "latest_dt": None, "status": "enabled"}
            )
            shown["files"] += 1
            shown["latest_dt"] = max(filter(None, (shown["latest_dt"], str(entry.dt))))
    accounting = {
        name: sum(getattr(e, name) for e in ledger.last_readings(entries))
        for name in ("rows_read", "rows_loaded", "rows_rejected", "rows_duplicate")
    }
    return {
        "release": release,
        "as_of_date": as_of.isoformat(),
        "policy_version": policy_version,
        "currency": reporting_currency(settings, in_force),
        "k_anon_min": int(thresholds(as_of)["k_anon_min"]),
        **contract.load().as_manifest(),
        "previous_release": before["release"] if before else None,
        "fingerprint": proof.fingerprint,
        "run_id": run_id,
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": {
            name: version(name) for name in ("strata", "duckdb", "dbt-core", "dagster", "great-expectations")
        },
        "tables": described,
        "feeds": feeds,
        "inputs": {e.delivery: e.sha256 for e in in_force},
        "accounting": accounting,
        "checks": [check.as_dict() for check in checks],
        # Anchors the log: a release is read-only, so lines that are cut off later are missed.
        "access_log": asdict(access_log.head(settings)),
    }


def access_log_head(settings: Settings) -> access_log.Head | None:
    """Where the vault's log stood when the current release was made."""
    stated = (current(settings) or {}).get("access_log")
    return access_log.Head(**stated) if stated else None


def _says_the_same(before: Mapping[str, Any], built_from: str, hashes: Mapping[str, str]) -> bool:
    """Same inputs, policy and SQL, and the same bytes in every table but those of `operations` (clock times)."""

    def tables(files: Mapping[str, str]) -> dict[str, str]:
        return {
            p: h
            for p, h in files.items()
            if p.endswith(".parquet") and not p.startswith("tables/operations/")
        }

    published = {path: file["sha256"] for path, file in before["files"].items()}
    return before["fingerprint"] == built_from and tables(published) == tables(hashes)


def next_id(settings: Settings, as_of: date) -> str:
    """The day itself for its first release, then `<D>-rN` above every N that is there: no id is given twice."""
    day = as_of.isoformat()
    there = [p.name for p in settings.releases.iterdir()] if settings.releases.exists() else []
    taken = [_order(name)[1] for name in there if re.fullmatch(rf"{day}(-r\d+)?", name)]
    return f"{day}-r{max(taken) + 1}" if taken else day


def _ready(
    settings: Settings,
    as_of: date,
    before: Mapping[str, Any] | None,
    built_from: str,
    hashes: Mapping[str, str],
) -> str | None:
    """The newest release of the day, if it was written upon the current one, says the same and is whole.

    A run that died between giving it its name and moving the pointer leaves one. It need not be written again.
    """
    of_day = [r for r in list_releases(settings) if r.partition("-r")[0] == as_of.isoformat()]
    if not of_day or (before and of_day[-1] == before["release"]):
        return None
    manifest = load_manifest(settings, of_day[-1])
    upon_current = manifest["previous_release"] == (before["release"] if before else None)
    if not upon_current or "redacts" in manifest or not _says_the_same(manifest, built_from, hashes):
        return None
    return None if verify_folder(settings.releases / of_day[-1]) else of_day[-1]


def _commit(settings: Settings, candidate: Path, manifest: Mapping[str, Any], *, is_current: bool) -> None:
    """Make the folder durable and read-only, give it its name, then write the pointer: the one commit point.

    Raises StrataError where the release does not follow the current one, or its id has been given.
    """
    release, final = manifest["release"], settings.releases / manifest["release"]
    if final.exists():
        raise StrataError(f"release {release} is there already; nothing was published")
    now = pointed(settings)
    if is_current and now not in (
        manifest["previous_release"],
        manifest.get("redacts", {}).get("release"),
    ):
        raise StrataError(
            f"release {release} was built upon {manifest['previous_release']}, but {now} has become current "
            "since; nothing was published: run again"
        )
    for path in files_of(candidate):
        fsync(candidate / path)
        (candidate / path).chmod(0o444)
    for folder in sorted((p for p in candidate.rglob("*") if p.is_dir()), reverse=True):
        fsync(folder)
        folder.chmod(0o555)
    fsync(candidate)
    candidate.chmod(0o555)
    candidate.rename(final)
    fsync(settings.releases)
    if is_current:
        point(settings, release)


def point(settings: Settings, release: str) -> None:
    """The one commit point; the stable path for tools that cannot read it follows."""
    _write_json(settings.pointer, {"release": release, "path": f"releases/{release}"})
    serve(settings, release)


def files_of(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _escaped(path: Path) -> str:
    return str(path).replace("'", "''")


def _write_json(path: Path, data: Mapping[str, Any]) -> None:
    """Write durably and in one rename."""
    temporary = path.with_name(f".{path.name}.tmp")
    with temporary.open("w", encoding="utf-8") as file:
        json.dump(data, file, ensure_ascii=False, indent=1, default=str)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    fsync(path.parent)
