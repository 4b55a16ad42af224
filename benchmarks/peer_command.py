"""The command line that every program of the comparison has: `python -m MODULE --landing DIR --as-of D --out FILE`."""

from __future__ import annotations

import argparse
import datetime as dt
import sys
from collections.abc import Callable, Mapping
from pathlib import Path


def main(doc: str, run: Callable[..., Mapping[str, float]], **options: str | None) -> None:
    """Parse the arguments, do the work and tell the seconds of its steps on standard error.

    Args:
        doc: what the program does, for its help.
        run: called with landing, as_of, out and the options by name; returns step → seconds.
        options: further options of this program alone, with their defaults.
    """
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--landing", type=Path, required=True)
    parser.add_argument("--as-of", type=dt.date.fromisoformat, required=True)
    parser.add_argument("--out", type=Path, required=True)
    for name, default in options.items():
        parser.add_argument(f"--{name}", default=default, help=f"default {default or 'that of the engine'}")
    for step, seconds in run(**vars(parser.parse_args())).items():
        print(f"{step:<14}{seconds:8.3f} s", file=sys.stderr)
