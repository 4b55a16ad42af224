"""The `strata` command: thin over the functions that the Dagster assets call.

Exit codes: 0 done · 1 error · 2 stopped by a gate.
"""

import json
import os
import sys
import warnings
from collections.abc import Callable
from dataclasses import asdict
from datetime import date, timedelta
from functools import wraps
from pathlib import Path
from typing import Any

import click

from pipeline import settings as settings_module
from pipeline.errors import StrataError

_home = click.option(
    "--home", type=click.Path(path_type=Path), help="What Strata writes (default $STRATA_HOME, var/)."
)
_landing = click.option(
    "--landing",
    type=click.Path(path_type=Path),
    help="What source systems deliver (default $STRATA_LANDING, landing/).",
)
_json = click.option("--json", "as_json", is_flag=True, help="Answer in JSON on standard output.")


class _Day(click.ParamType):
    name = "YYYY-MM-DD"

    def convert(self, value: Any, param: Any, ctx: Any) -> date:
        try:
            return value if isinstance(value, date) else date.fromisoformat(value)
        except ValueError:
            self.fail(f"{value!r} is no date such as 2026-01-31", param, ctx)


def _settings(home: Path | None, landing: Path | None = None) -> settings_module.Settings:
    """Settings with the command's own paths; the environment carries them to Dagster and dbt."""
    if home:
        os.environ["STRATA_HOME"] = str(home.expanduser().resolve())
    if landing:
        os.environ["STRATA_LANDING"] = str(landing.expanduser().resolve())
    return settings_module.load()


def _answer(as_json: bool, data: Any, text: str) -> None:
    click.echo(json.dumps(data, ensure_ascii=False, indent=1, default=str) if as_json else text)


def _answer_error(status: str, exit_code: int, message: str) -> None:
    data = {"status": status, "exit_code": exit_code, "release": None, "as_of_date": None, "checks": []}
    click.echo(json.dumps(data | {"messages": [message]}, ensure_ascii=False, indent=1))


def _errors_in_one_line(command: Callable[..., None]) -> Callable[..., None]:
    """A StrataError ends the command with its own exit code and one clear line."""

    @wraps(command)
    def wrapped(*args: Any, **kwargs: Any) -> None:
        try:
            command(*args, **kwargs)
        except StrataError as error:
            if kwargs.get("as_json"):
                _answer_error("stopped" if error.exit_code == 2 else "error", error.exit_code, str(error))
            click.echo(f"strata: {error}", err=True)
            sys.exit(error.exit_code)

    return wrapped


class _OneLineErrors(click.Group):
    """A usage error is one line and exit code 1; click would end it with 2, which here means: stopped by a gate."""

    def main(self, *args: Any, standalone_mode: bool = True, **more: Any) -> Any:
        if not standalone_mode:
            return super().main(*args, standalone_mode=False, **more)
        warnings.showwarning = _say_warning
        try:
            sys.exit(super().main(*args, standalone_mode=False, **more))
        except click.ClickException as error:
            given = [*(args[0] if args and args[0] else sys.argv[1:])]
            if "--json" in given:
                _answer_error("error", 1, error.format_message())
            click.echo(
                f"strata: {error.format_message()} (see `strata {given[0] if given else ''} --help`)",
                err=True,
            )
            sys.exit(1)
        except click.Abort:
            click.echo("strata: interrupted", err=True)
            sys.exit(1)


def _say_warning(message: Warning | str, category: type[Warning], *_: Any) -> None:
    """Our own warnings as a line; those of libraries say nothing that the person at the terminal can act on."""
    if category is UserWarning and str(message).startswith("made a new token key"):
        click.echo(f"strata: warning: {message}", err=True)


@click.group(cls=_OneLineErrors, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="strata")
def main() -> None:
    """Strata (客户分层): raw sales, channel and survey data into customer segments that marketing tools can trust."""


@main.command()
@click.option("--as-of", type=_Day(), help="The as-of date D; default: the day after the newest delivery.")
@_landing
@_home
@click.option("--full", is_flag=True, help="Rebuild the warehouse from raw instead of from what it holds.")
@_json
@_errors_in_one_line
def run(as_of: date | None, landing: Path | None, home: Path | None, full: bool, as_json: bool) -> None:
    """Take in what was delivered, build, check, publish."""
    settings = _settings(home, landing)
    from pipeline.run import default_as_of, run_day

    outcome = run_day(settings, as_of or default_as_of(settings), full=full)
    _answer(as_json, outcome.as_dict(), _told(settings, outcome))
    sys.exit(outcome.exit_code)


def _told(settings: settings_module.Settings, outcome: Any) -> str:
    from pipeline.quality.checks import blocking

    if outcome.exit_code:
        lines = [f"strata: {outcome.status} for {outcome.as_of_date}; what was published before is unchanged"]
        lines += [f"  {check}".replace("\n\n", " ") for check in blocking(outcome.checks)]
        if not blocking(outcome.checks):
            lines += [f"  {message}".replace("\n\n", " ") for message in outcome.messages]
        return "\n".join(lines)
    folder = settings.releases / outcome.release
    warned = [check for check in outcome.checks if not check.passed]
    return "\n".join(
        [
            f"release {outcome.release} is {'current' if outcome.status == 'published' else 'current and unchanged'}: "
            f"{len(outcome.checks)} checks, {len(warned)} with warnings",
            f"  page      {folder / 'index.html'}",
            f"  database  {folder / 'marts.duckdb'}",
            f"  tables    {folder / 'tables'}",
            "  the UI    make ui   (or: strata ui), then http://127.0.0.1:3000",
        ]
    )


@main.command()
@click.option("--from", "first", type=_Day(), required=True, help="First as-of date.")
@click.option("--to", "last", type=_Day(), required=True, help="Last as-of date.")
@_landing
@_home
@_json
@_errors_in_one_line
def backfill(first: date, last: date, landing: Path | None, home: Path | None, as_json: bool) -> None:
    """One whole line per day, in order; stops at the first day that does not pass."""
    settings = _settings(home, landing)
    if last < first:
        raise StrataError(f"--to {last} lies before --from {first}")
    from pipeline.run import run_day

    outcomes = []
    for n in range((last - first).days + 1):
        outcome = run_day(settings, first + timedelta(days=n))
        outcomes.append(outcome)
        if not as_json:
            click.echo(_told(settings, outcome))
        if outcome.exit_code:
            break
    worst = outcomes[-1].exit_code
    if as_json:
        click.echo(json.dumps([o.as_dict() for o in outcomes], ensure_ascii=False, indent=1, default=str))
    sys.exit(worst)


@main.group()
def releases() -> None:
    """What has been published."""


@releases.command("list")
@_home
@_json
@_errors_in_one_line
def list_(home: Path | None, as_json: bool) -> None:
    """Every release, oldest first."""
    settings = _settings(home)
    from pipeline.publish.release import list_releases, load_manifest
    from pipeline.run import current_release

    now = current_release(settings)
    manifests = [load_manifest(settings, release) for release in list_releases(settings)]
    rows = [
        {k: m[k] for k in ("release", "as_of_date", "created_at", "policy_version")}
        | {"current": m["release"] == now}
        for m in manifests
    ]
    text = "\n".join(
        f"{'*' if r['current'] else ' '} {r['release']:<14} as of {r['as_of_date']}  made {r['created_at']}"
        for r in rows
    )
    _answer(as_json, rows, text or f"no release in {settings.home} yet: run `strata run`")


@releases.command()
@click.argument("release", required=False)
@_home
@_json
@_errors_in_one_line
def show(release: str | None, home: Path | None, as_json: bool) -> None:
    """Tables, checks and paths of one release (default: the current one)."""
    settings = _settings(home)
    from pipeline.publish.release import current, load_manifest

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
        f"  rows      {manifest['accounting']}",
    ]
    lines += [f"  {name:<32} {t['rows']:>10,} rows  {t['status']}" for name, t in manifest["tables"].items()]
    lines.append("  the UI    make ui   (or: strata ui), then http://127.0.0.1:3000")
    _answer(as_json, manifest | {"folder": str(folder)}, "\n".join(lines))


@releases.command()
@click.argument("release", required=False)
@_home
@_json
@_errors_in_one_line
def verify(release: str | None, home: Path | None, as_json: bool) -> None:
    """Read every file of a release from disk and compare it with its manifest."""
    settings = _settings(home)
    from pipeline.publish.release import verify as verify_release

    name, problems = verify_release(settings, release)
    text = (
        f"release {name} is whole"
        if not problems
        else f"release {name} is damaged:\n  " + "\n  ".join(problems)
    )
    _answer(as_json, {"release": name, "ok": not problems, "problems": problems}, text)
    sys.exit(1 if problems else 0)


@main.group()
def quarantine() -> None:
    """Rejected records and files: what they are, and reading them again after a rule was mended."""


_source = click.option("--source", help="Only this source system.")
_feed = click.option("--feed", help="Only this delivered feed.")
_code = click.option("--code", help="Only this reject code.")


@quarantine.command("list")
@click.argument("names", nargs=-1, metavar="[DELIVERY]...")
@_source
@_feed
@_code
@click.option(
    "--all", "every", is_flag=True, help="Also what has moved since: loaded by a replay, corrected."
)
@_home
@_landing
@_json
@_errors_in_one_line
def list_rejects(
    names: tuple[str, ...],
    source: str | None,
    feed: str | None,
    code: str | None,
    every: bool,
    home: Path | None,
    landing: Path | None,
    as_json: bool,
) -> None:
    """What is in quarantine, by file and reject code, with the places of a few records."""
    settings = _settings(home, landing)
    from pipeline.ingest import quarantine as books

    found = books.groups(settings, books.Filter(source, feed, code, names), every=every)
    narrowed = bool(source or feed or code or names)
    _answer(as_json, [group.as_dict() for group in found], books.told(found, narrowed=narrowed))


@quarantine.command()
@click.argument("names", nargs=-1, metavar="[DELIVERY]...")
@_source
@_feed
@_code
@click.option("--all", "everything", is_flag=True, help="Every file with rejects, where nothing narrows.")
@click.option(
    "--all-rows",
    is_flag=True,
    help="Also files without rejects: for a mapping that was wrong about good rows.",
)
@_home
@_landing
@_json
@_errors_in_one_line
def replay(
    names: tuple[str, ...],
    source: str | None,
    feed: str | None,
    code: str | None,
    everything: bool,
    all_rows: bool,
    home: Path | None,
    landing: Path | None,
    as_json: bool,
) -> None:
    """Read landed files again under the rules of today; states of records move, totals stay."""
    settings = _settings(home, landing)
    if not (names or source or feed or code or everything):
        raise StrataError("say what to read again: a DELIVERY, --source, --feed, --code or --all")
    from pipeline.ingest import quarantine as books
    from pipeline.ingest import replay as replays
    from pipeline.lock import run_lock
    from pipeline.progress import say
    from pipeline.publish.release import newest_as_of

    with run_lock(settings, log=say):
        done = replays.replay(
            settings,
            books.Filter(source, feed, code, names),
            all_rows=all_rows,
            released=newest_as_of(settings),
            log=say,
        )
    _answer(as_json, done.as_dict(), replays.told(done, settings))
    sys.exit(1 if done.not_there else 0)


@main.command()
@click.argument("order_id", required=False)
@click.option("--source", help="Only the order of this source system.")
@click.option(
    "--record", nargs=2, metavar="FILE RECORD_NO", help="A delivered file or delivery and a record number."
)
@_home
@_landing
@_json
@_errors_in_one_line
def trace(
    order_id: str | None,
    source: str | None,
    record: tuple[str, str] | None,
    home: Path | None,
    landing: Path | None,
    as_json: bool,
) -> None:
    """Where an order, or one delivered record, came from and where it went."""
    settings = _settings(home, landing)
    if bool(order_id) == bool(record):
        raise StrataError("name an ORDER_ID, or a record with --record FILE RECORD_NO")
    from pipeline import trace as traces

    found = (
        traces.trace_record(settings, *record)
        if record
        else traces.trace_order(settings, order_id or "", source)
    )
    _answer(as_json, found, traces.told(found))


@main.group()
def tables() -> None:
    """Tables of PostgreSQL databases that feeds are read from."""


@tables.command("list")
@_landing
@_home
@_json
@_errors_in_one_line
def list_tables(landing: Path | None, home: Path | None, as_json: bool) -> None:
    """Every declared table and how far it has been read."""
    settings = _settings(home, landing)
    from pipeline.ingest.database import days as databases

    found = databases.tables(settings)
    _answer(as_json, found, databases.told(found))


@tables.command()
@click.argument("source")
@click.argument("feed")
@click.argument("day", type=_Day())
@_landing
@_home
@_json
@_errors_in_one_line
def again(source: str, feed: str, day: date, landing: Path | None, home: Path | None, as_json: bool) -> None:
    """Read one day of a table anew; the next run takes it in as a correction."""
    settings = _settings(home, landing)
    from pipeline.ingest.database import days as databases
    from pipeline.lock import run_lock
    from pipeline.progress import say

    with run_lock(settings, log=say):
        reading = databases.read_again(settings, source, feed, day, log=say)
    _answer(
        as_json, asdict(reading), f"{reading.rows:,} rows of {day} are in landing: `strata run` takes them in"
    )


@main.group()
def vault() -> None:
    """The clear personal data of the home, and the key of the tokens that stand for it."""


@vault.command()
@click.option(
    "--new-key-file",
    type=click.Path(path_type=Path),
    help="File with the new key, 64 hex characters (else $STRATA_TOKEN_KEY_NEW).",
)
@_home
@_json
@_errors_in_one_line
def rotate(new_key_file: Path | None, home: Path | None, as_json: bool) -> None:
    """Replace the token key: every token is made again, every customer_key stays."""
    settings = _settings(home)
    from pipeline.ingest.vault import rotation
    from pipeline.progress import say

    done = rotation.rotate(settings, rotation.new_key(new_key_file), say)
    _answer(as_json, asdict(done), rotation.told(done))


@vault.command("scan")
@click.option("--all", "everything", is_flag=True, help="Look for every value instead of 20,000 of them.")
@_home
@_json
@_errors_in_one_line
def scan_home(everything: bool, home: Path | None, as_json: bool) -> None:
    """Look for the vault's values in every other file of the home, decoded; exit code 1 where one is found."""
    settings = _settings(home)
    from pipeline import home_scan

    found = home_scan.leaks(settings, None if everything else 20_000)
    told = asdict(found) | {"hits": [{"file": h.file, "where": h.where} for h in found.hits]}
    _answer(as_json, told, home_scan.told(found))
    sys.exit(1 if found.hits else 0)


@main.group()
def feeds() -> None:
    """What can be delivered: the contracts, and trying a file before it is landed."""


@feeds.command("list")
@_home
@_json
@_errors_in_one_line
def list_feeds(home: Path | None, as_json: bool) -> None:
    """Every feed with its key, and what this home has had of it."""
    settings = _settings(home)
    from dataclasses import asdict

    from pipeline.ingest import feeds as known

    found = known.list_feeds(settings)
    _answer(as_json, [asdict(f) | {"delivered": f.delivered} for f in found], known.told_list(found))


@feeds.command("show")
@click.argument("feed")
@_json
@_errors_in_one_line
def show_feed(feed: str, as_json: bool) -> None:
    """A contract: columns, what they are called in exports, rules."""
    from pipeline.ingest import feeds as known
    from pipeline.ingest.generated import contract_of

    contract = contract_of(feed)
    _answer(as_json, known.as_dict(contract), known.told_contract(contract))


@feeds.command("check")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--source", help="Source system; default: the folder above the feed's.")
@click.option("--feed", help="Feed; default: the folder that the file lies in.")
@click.option(
    "--day", type=_Day(), help="Business day of the delivery; default: the one in the name, else today."
)
@click.option(
    "--limit", type=click.IntRange(min=0), default=20, show_default=True, help="Records to show; 0: all."
)
@_json
@_errors_in_one_line
def check_file(
    file: Path, source: str | None, feed: str | None, day: date | None, limit: int, as_json: bool
) -> None:
    """What would become of FILE, record by record; nothing is kept. Exit code 1 where anything is rejected."""
    from pipeline.ingest import feeds as known

    checked = known.check(_settings(None), file, source=source, feed=feed, day=day)
    _answer(as_json, checked.as_dict(), known.told_check(checked, limit))
    sys.exit(checked.exit_code)


@feeds.command("staging")
@click.argument("feed")
@_errors_in_one_line
def staging(feed: str) -> None:
    """Print a staging model for FEED to begin with, and its line for _staging.yml."""
    from pipeline.ingest import generated

    contract = generated.contract_of(feed)
    model = generated.model_of(contract).relative_to(settings_module.PROJECT_ROOT)
    click.echo(f"-- {model}\n{generated.staging_sql(contract)}\n-- _staging.yml")
    click.echo(generated.staging_yaml(contract), nl=False)


@feeds.command("generate")
@click.option("--check", is_flag=True, help="Write nothing; exit code 1 where a file is not current.")
@_errors_in_one_line
def generate_files(check: bool) -> None:
    """Write what follows from the contracts: dbt's sources and docs/data-dictionary.md."""
    from pipeline.ingest import generated

    stale = [path.relative_to(settings_module.PROJECT_ROOT) for path in generated.write_all(check=check)]
    if check and stale:
        raise StrataError(f"not current: {', '.join(map(str, stale))}; run `strata feeds generate`")
    click.echo("\n".join(f"wrote {path}" for path in stale) or "everything is current")


@main.command()
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Landing folder to write into.")
@click.option("--customers", type=click.IntRange(min=20), default=1500, show_default=True)
@click.option("--days", type=click.IntRange(min=1), default=200, show_default=True)
@click.option("--seed", type=int, default=7, show_default=True)
@_json
@_errors_in_one_line
def sample(out: Path, customers: int, days: int, seed: int, as_json: bool) -> None:
    """Write the deliveries of a made-up supermarket chain, with planted dirt and the truth beside it."""
    from pipeline.progress import say
    from pipeline.sample import generate

    try:
        summary = generate(out.expanduser().resolve(), customers, days, seed, say)
    except (FileExistsError, ValueError) as error:
        raise StrataError(str(error)) from error
    text = f"{summary.get('files', 'the')} files of {customers} customers over {days} days are in {out}"
    _answer(as_json, summary, text)


@main.command()
@click.option("--port", type=int, default=3000, show_default=True)
@_landing
@_home
@_errors_in_one_line
def ui(port: int, landing: Path | None, home: Path | None) -> None:
    """Open the Dagster UI on 127.0.0.1, with schedule and sensors running."""
    settings = _settings(home, landing)
    from pipeline.lock import run_lock
    from pipeline.run import prepare_dagster_home

    with run_lock(settings):
        prepare_dagster_home(settings)
    os.environ["STRATA_HOME"], os.environ["STRATA_LANDING"] = str(settings.home), str(settings.landing)
    click.echo(f"http://127.0.0.1:{port}  (Ctrl-C ends it)", err=True)
    dagster = str(Path(sys.executable).with_name("dagster"))
    os.execv(
        dagster,
        [
            dagster,
            "dev",
            "-w",
            str(settings_module.PROJECT_ROOT / "workspace.yaml"),
            "-h",
            "127.0.0.1",
            "-p",
            str(port),
        ],
    )


if __name__ == "__main__":
    main()
