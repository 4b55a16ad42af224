"""`strata ui`."""

import os
import signal
import sys
from pathlib import Path

import click

from pipeline import settings as settings_module
from pipeline.cli.shared import errors_in_one_line, home_option, landing_option, settings_of


@click.command()
@click.option(
    "--port", type=click.IntRange(1024, 65_535), default=3000, show_default=True, help="Where it listens."
)
@landing_option
@home_option
@errors_in_one_line
def ui(port: int, landing: Path | None, home: Path | None) -> None:
    """Open the Dagster UI on 127.0.0.1, with schedule and sensors running."""
    settings = settings_of(home, landing)
    from pipeline.lock import run_lock
    from pipeline.run import prepare_dagster_home

    with run_lock(settings):
        prepare_dagster_home(settings)
    os.environ["STRATA_HOME"], os.environ["STRATA_LANDING"] = str(settings.home), str(settings.landing)
    click.echo(f"http://127.0.0.1:{port}  (Ctrl-C ends it)", err=True)
    # A shell starts what a script runs in the background with SIGINT ignored, and Dagster treats SIGTERM as it finds
    # SIGINT treated: nothing short of SIGKILL would end the UI.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
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
