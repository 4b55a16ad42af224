"""The `strata` command: thin over the functions that the Dagster assets call.

Exit codes: 0 done · 1 error · 2 stopped by a gate. One module per command or group; it is imported when it is called.
"""

import gc
import importlib
import sys
import warnings
from typing import Any

import click

from pipeline.cli.shared import answer_error

# Command → module of this package; the command has its name there.
_MODULES = {
    "run": "runs",
    "backfill": "runs",
    "releases": "releases",
    "gate": "gate",
    "quarantine": "quarantine",
    "trace": "trace",
    "explain": "explain",
    "tables": "tables",
    "vault": "vault",
    "erase": "erase",
    "identity": "identity",
    "feeds": "feeds",
    "clv": "clv",
    "consent": "consent",
    "subject": "subject",
    "export-subject": "subject",
    "sample": "sample",
    "score": "score",
    "segments": "segments",
    "export": "export",
    "policy": "policy",
    "audiences": "audiences",
    "backup": "home",
    "restore": "home",
    "doctor": "home",
    "ui": "ui",
}


class _Commands(click.Group):
    """A usage error is one line and exit code 1; click would end it with 2, which here means: stopped by a gate."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_MODULES)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in _MODULES:
            return None
        module = importlib.import_module(f"{__name__}.{_MODULES[name]}")
        command: click.Command = getattr(module, name.replace("-", "_"))
        return command

    def main(self, *args: Any, standalone_mode: bool = True, **more: Any) -> Any:
        if not standalone_mode:
            return super().main(*args, standalone_mode=False, **more)  # type: ignore[call-overload]
        warnings.showwarning = _say_warning  # type: ignore[assignment]
        # Imports make a million objects that stay: looking through them every 700 took 1.6 of 7.1 CPU-s.
        gc.set_threshold(100_000, 20, 100)
        # However it was started (`python -m pipeline.cli`), help and errors name the command.
        more["prog_name"] = "strata"
        try:
            sys.exit(super().main(*args, standalone_mode=False, **more))  # type: ignore[call-overload]
        except click.ClickException as error:
            given = [*(args[0] if args and args[0] else sys.argv[1:])]
            if "--json" in given:
                answer_error("error", 1, error.format_message())
            # The command that was meant, as deep as it was understood: `strata releases rollback`.
            place = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx else "strata"
            click.echo(f"strata: {error.format_message()} (see `{place} --help`)", err=True)
            sys.exit(1)
        except click.Abort:
            click.echo("strata: interrupted", err=True)
            sys.exit(1)


def _say_warning(message: Warning | str, category: type[Warning], *_: Any) -> None:
    """Our own warnings as a line; those of libraries say nothing that the person at the terminal can act on."""
    if category is UserWarning and str(message).startswith("made a new token key"):
        click.echo(f"strata: warning: {message}", err=True)


@click.group(
    cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120}
)
@click.version_option(package_name="strata")
def main() -> None:
    """Strata (客户分层): raw sales, channel and survey data into customer segments that marketing tools can trust."""
