"""`strata releases`."""

import sys
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import click

from pipeline.cli.shared import answer, errors_in_one_line, home_option, json_option, settings_of
from pipeline.errors import StrataError


@click.group()
def releases() -> None:
    """What has been published."""


@releases.command("list")
@home_option
@json_option
@errors_in_one_line
def list_(home: Path | None, as_json: bool) -> None:
    """Every release, oldest first."""
    settings = settings_of(home)
    from pipeline.publish.shelf import list_releases, load_manifest, pointed

    now = pointed(settings)
    manifests = [load_manifest(settings, release) for release in list_releases(settings)]
    rows = [
        {k: m[k] for k in ("release", "as_of_date", "created_at", "policy_version")}
        | {"current": m["release"] == now, "in_place_of": (m.get("redacts") or {}).get("release")}
        for m in manifests
    ]
    text = "\n".join(
        f"{'*' if r['current'] else ' '} {r['release']:<14} as of {r['as_of_date']}  made {r['created_at']}"
        + (f"  in place of {r['in_place_of']}, without erased persons" if r["in_place_of"] else "")
        for r in rows
    )
    answer(as_json, rows, text or f"no release in {settings.home} yet: run `strata run`")


@releases.command()
@click.argument("release", required=False)
@home_option
@json_option
@errors_in_one_line
def show(release: str | None, home: Path | None, as_json: bool) -> None:
    """Tables, checks and paths of one release (default: the current one)."""
    settings = settings_of(home)
    from pipeline.publish.shelf import current, load_manifest

    manifest = load_manifest(settings, release) if release else current(settings)
    if manifest is None:
        raise StrataError(f"no release has been published in {settings.home} yet: run `strata run`")
    folder = settings.releases / manifest["release"]
    warned = [c for c in manifest["checks"] if not c["passed"]]
    lines = [
        f"release {manifest['release']} · as of {manifest['as_of_date']} · {manifest['currency']} · "
        f"policy {manifest['policy_version']}",
        f"  page      {folder / 'index.html'}",
        f"  database  {folder / 'marts.duckdb'}",
        f"  checks    {len(manifest['checks'])}, {len(warned)} with warnings",
        "  rows      "
        + ", ".join(f"{n:,} {k.removeprefix('rows_')}" for k, n in manifest["accounting"].items()),
    ]
    lines += [f"  {name:<32} {t['rows']:>10,} rows  {t['status']}" for name, t in manifest["tables"].items()]
    lines.append("  the UI    make ui   (or: strata ui), then http://127.0.0.1:3000")
    answer(as_json, manifest | {"folder": str(folder)}, "\n".join(lines))


@releases.command()
@click.argument("release", required=False)
@home_option
@json_option
@errors_in_one_line
def verify(release: str | None, home: Path | None, as_json: bool) -> None:
    """Read every file of a release from disk and compare it with its manifest."""
    settings = settings_of(home)
    from pipeline.publish.shelf import verify as verify_release

    name, problems = verify_release(settings, release)
    text = (
        f"release {name} is whole"
        if not problems
        else f"release {name} is damaged:\n  " + "\n  ".join(problems)
    )
    answer(as_json, {"release": name, "ok": not problems, "problems": problems}, text)
    sys.exit(1 if problems else 0)


@releases.command()
@click.argument("before")
@click.argument("after", required=False)
@home_option
@json_option
@errors_in_one_line
def diff(before: str, after: str | None, home: Path | None, as_json: bool) -> None:
    """What differs between release BEFORE and release AFTER (default: the current one)."""
    settings = settings_of(home)
    from pipeline.publish import comparison
    from pipeline.publish.shelf import pointed

    other = after or pointed(settings)
    if other is None:
        raise StrataError(f"no release has been published in {settings.home} yet: run `strata run`")
    found = comparison.compare(settings, before, other)
    answer(as_json, asdict(found), comparison.told(found))


@releases.command()
@click.option("--dry-run", is_flag=True, help="Say what would be removed.")
@home_option
@json_option
@errors_in_one_line
def prune(dry_run: bool, home: Path | None, as_json: bool) -> None:
    """Remove releases that policy keeps no longer (`release_keep_count`, `release_keep_days`); every run does it."""
    settings = settings_of(home)
    from pipeline.lock import run_lock
    from pipeline.progress import say
    from pipeline.publish import pruning

    if dry_run:
        gone = pruning.prunable(settings, datetime.now(UTC))
    else:
        with run_lock(settings, log=say):
            gone = pruning.prune(settings)
    verb = "would be removed" if dry_run else "removed"
    answer(as_json, {"removed": gone, "dry_run": dry_run}, f"{len(gone)} {verb}: {', '.join(gone) or 'none'}")


@releases.command("rollback")
@click.argument("release")
@click.option("--by", required=True, help="Who goes back; it is written into the vault's log.")
@home_option
@json_option
@errors_in_one_line
def roll_back(release: str, by: str, home: Path | None, as_json: bool) -> None:
    """Make RELEASE current again, without people who have withdrawn since."""
    settings = settings_of(home)
    from pipeline.progress import say
    from pipeline.publish import rollback

    done = rollback.rollback(settings, release, by, say)
    left = f", without {done.rows} rows of people who have refused since" if done.rows else ""
    text = (
        f"release {done.release} is current already"
        if done.before == done.release
        else f"release {done.release} is current{left}; {done.before} was"
    )
    answer(as_json, asdict(done), text)
