"""The `strata` command: thin over the functions that the Dagster assets call.

Exit codes: 0 done · 1 error · 2 stopped by a gate.
"""

import json
import os
import sys
import warnings
from collections.abc import Callable
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
