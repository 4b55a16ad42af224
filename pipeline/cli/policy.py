"""`strata policy`."""

import sys
from pathlib import Path

import click

from pipeline.cli.shared import answer, errors_in_one_line, home_option, json_option, settings_of


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
    """Prove every grid of segments total, disjoint and without a segment that nobody can reach, and every threshold of
    one value a day, and check the rules of the custom segments. Exit code 1 if not."""
    from pipeline.score import presets
    from pipeline.score.presets import POLICY_DIR
    from pipeline.segments import custom

    known = presets.load(seeds or POLICY_DIR)
    rules = custom.load(seeds or POLICY_DIR)
    found = {name: preset.problems() for name, preset in known.items()}
    lines = []
    for name, problems in found.items():
        preset = known[name]
        cells = f"{preset.scores**3} cells, {len(set(preset.compiled.cells.values()))} segments"
        kind = "first match wins" if preset.is_first_match else "disjoint"
        rest = f", {len(preset.compiled.uncovered)} cells → {preset.others}" if preset.others else ""
        lines += [f"{name}: {cells}, {kind}{rest}: {'sound' if not problems else 'UNSOUND'}"]
        lines += [f"  {problem}" for problem in problems]
    lines += [f"custom:{segment.name}: {segment.rule}" for segment in rules]
    doubled = [str(line) for line in presets.double_thresholds(seeds or POLICY_DIR)]
    lines += doubled
    is_sound = not any(found.values()) and not doubled
    data = {
        "sound": is_sound,
        "presets": found,
        "thresholds": doubled,
        "custom_segments": {s.name: s.rule for s in rules},
    }
    answer(as_json, data, "\n".join(lines))
    sys.exit(0 if is_sound else 1)


@policy.command()
@home_option
@json_option
@errors_in_one_line
def presets(home: Path | None, as_json: bool) -> None:
    """Thresholds of a trade; STRATA_POLICY_PRESET sets one for a home."""
    chosen = settings_of(home).policy_preset
    from pipeline.transform.context import policy_presets

    found = policy_presets()
    lines = []
    for name, rows in found.items():
        lines.append(
            f"{name} {rows[0]['label_zh']} {rows[0]['label_en']}{' (set)' if name == chosen else ''}"
        )
        lines += [f"  {row['key']} = {row['value']}: {row['reason']}" for row in rows]
    answer(as_json, {"set": chosen, "presets": found}, "\n".join(lines))


@policy.command()
@click.option("--preset", help="Try this preset too (`none`: without the one that is set).")
@home_option
@json_option
@errors_in_one_line
def diff(preset: str | None, home: Path | None, as_json: bool) -> None:
    """How many customers would move, from where to where, under the seeds as they lie here. Nothing is published."""
    settings = settings_of(home)
    from pipeline.segments import diff as trial

    found = trial.diff(settings, preset)
    answer(as_json, found, trial.told(found))
