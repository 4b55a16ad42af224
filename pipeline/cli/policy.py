"""`strata policy`."""

import sys
from pathlib import Path

import click

from pipeline.cli.shared import answer, errors_in_one_line, json_option


@click.group()
def policy() -> None:
    """The policy seeds: thresholds, grids, labels."""


@policy.command()
@click.option(
    "--seeds",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of the seeds; default: the project's.",
)
@json_option
@errors_in_one_line
def check(seeds: Path | None, as_json: bool) -> None:
    """Prove every grid of segments total, disjoint and without a segment that nobody can reach. Exit code 1 if not."""
    from pipeline.score import presets
    from pipeline.score.presets import POLICY_DIR

    known = presets.load(seeds or POLICY_DIR)
    found = {name: preset.problems() for name, preset in known.items()}
    lines = []
    for name, problems in found.items():
        preset = known[name]
        cells = f"{preset.scores**3} cells, {len(set(preset.compiled.cells.values()))} segments"
        kind = "first match wins" if preset.is_first_match else "disjoint"
        rest = f", {len(preset.compiled.uncovered)} cells → {preset.others}" if preset.others else ""
        lines += [f"{name}: {cells}, {kind}{rest}: {'sound' if not problems else 'UNSOUND'}"]
        lines += [f"  {problem}" for problem in problems]
    is_sound = not any(found.values())
    answer(as_json, {"sound": is_sound, "presets": found}, "\n".join(lines))
    sys.exit(0 if is_sound else 1)
