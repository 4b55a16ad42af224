"""What a changed policy would do, before it is published: the classes of the last build beside those under the new rows.

The warehouse of the last build is copied, and dbt builds in the copy whatever hangs on a changed file between the seeds and
the classes, with the same D and the same deliveries. So the answer is that of the next run, not an estimate. Nothing that
readers see is touched, and the copy is removed.

Rows that begin or end after D are tried as if they did on D: a threshold is changed by a row of a day to come, and what
that row will do is what is asked for.
"""

import csv
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline import duck
from pipeline.duck import literal, quote
from pipeline.errors import StrataError
from pipeline.ingest.files import write_parquet
from pipeline.lock import run_lock
from pipeline.publish import shelf
from pipeline.segments import custom
from pipeline.settings import DBT_PROJECT_DIR, Settings
from pipeline.transform.context import POLICY_DIR, policy_preset, policy_refreshes, refresh_date
from pipeline.transform.project import NO_HOME
from pipeline.words import counted

_TRIAL = "policy-diff"
_CLASSES = "int_class_reasons"
_SPAN = ("valid_from", "valid_to")
# Files of `build/` that a build reads beside the run context, and the dbt source of each.
_RULES = ("custom_segments", "custom_tests", "custom_values")


def diff(settings: Settings, preset: str | None = None) -> dict[str, Any]:
    """Customers who would be in another class under the seeds as they lie here, or under a preset.

    Args:
        preset: of policy_presets.csv; the home's own setting where None, and `none` for no preset at all.

    Returns as_of_date, release, preset, policy_day (the last day after D on which a row begins or ends, else D),
    changed_seeds {seed: {removed, added} rows as text}, customers, moved (customers
    with another class in any scheme), schemes [{scheme, customers, moved, share, moves [{from, to, customers}]}]. A class
    of None: the scheme is there on one side only. Raises StrataError: no build, or the rows do not build.
    """
    built = settings.dbt / "built.json"
    context = settings.build / "run_context.parquet"
    if not settings.warehouse.exists() or not context.exists() or not built.exists():
        raise StrataError(f"{settings.home} has no build to compare with: run `strata run` first")
    wanted = None if preset == "none" else policy_preset(preset or settings.policy_preset)
    folder = settings.build / _TRIAL
    # A run would write what is read here, and two trials would share the folder.
    with run_lock(settings):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(mode=0o700, parents=True)
        try:
            return _diff(settings, wanted, folder, context, built)
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _diff(settings: Settings, preset: str | None, folder: Path, context: Path, built: Path) -> dict[str, Any]:
    trial = replace(settings, home=folder, policy_preset=preset)
    row = pq.read_table(context).to_pylist()[0]
    as_of: date = row["as_of_date"]
    schema = pq.read_schema(context)
    new = row | {"refresh_date": refresh_date(as_of, policy_refreshes()), "policy_preset": preset}
    trial.build.mkdir(parents=True)
    write_parquet(pa.Table.from_pylist([new], schema), trial.build / context.name)
    day = policy_day(POLICY_DIR, as_of)
    project = _project(folder / "project", day, as_of) if day > as_of else DBT_PROJECT_DIR
    custom.write(trial, as_of, project / POLICY_DIR.relative_to(DBT_PROJECT_DIR))
    trial.warehouse.parent.mkdir()
    shutil.copyfile(settings.warehouse, trial.warehouse)
    selected = [f"state:modified+,+{_CLASSES}"]
    if new != row:
        selected.append(f"source:strata.run.run_context+,+{_CLASSES}")
    for name in _RULES:
        before = settings.build / f"{name}.parquet"
        if not before.exists() or not pq.read_table(before).equals(pq.read_table(trial.build / before.name)):
            selected.append(f"source:strata.run.{name}+,+{_CLASSES}")
    _build(settings, trial, _state(settings, trial, built), selected, project)
    old = _read(settings, settings.warehouse, folder / "before.parquet")
    now = _read(settings, trial.warehouse, folder / "after.parquet", POLICY_DIR)
    manifest = shelf.current(settings)
    return {
        "as_of_date": as_of,
        "release": manifest["release"] if manifest else None,
        "preset": preset,
        "policy_day": day,
        "changed_seeds": _changed(old, now),
        **_moves(folder),
    }


def _state(settings: Settings, trial: Settings, built: Path) -> Path:
    """Folder with the manifest of the last build as dbt compares it: its sources lie where those of the trial do, for a
    source that lies elsewhere counts as changed."""
    text = built.read_text(encoding="utf-8")
    for name in ("run_context", *_RULES):
        text = text.replace(f"{NO_HOME}/build/{name}.", f"{json.dumps(str(trial.build))[1:-1]}/{name}.")
    folder = trial.home / "state"
    folder.mkdir()
    text = text.replace(NO_HOME, json.dumps(str(settings.home))[1:-1])
    (folder / "manifest.json").write_text(text, encoding="utf-8")
    return folder


def policy_day(seeds: Path, as_of: date) -> date:
    """The last day after `as_of` on which a row of the policy begins or ends; `as_of` where there is none."""
    days = {
        date.fromisoformat(row[column])
        for path in seeds.glob("*.csv")
        for row in _rows(path)[1]
        for column in _SPAN
        if row.get(column)
    }
    return max((day for day in days if day > as_of), default=as_of)


def brought_forward(row: dict[str, str], day: date, as_of: date) -> dict[str, str]:
    """The row with a validity that makes it hold on `as_of` exactly if it will hold on `day`."""

    def holds(on: date) -> bool:
        begins, ends = (row[column] for column in _SPAN)
        return begins <= on.isoformat() and (not ends or ends > on.isoformat())

    if holds(day) and not holds(as_of):
        return row | {_SPAN[0]: as_of.isoformat()}
    if holds(as_of) and not holds(day):
        return row | {_SPAN[1]: as_of.isoformat()}
    return row


def _rows(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    """Columns and rows of a seed whose rows have a validity; no rows of any other."""
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        columns = list(reader.fieldnames or ())
        return columns, list(reader) if set(_SPAN) <= set(columns) else []


def _project(folder: Path, day: date, as_of: date) -> Path:
    """A copy of the dbt project whose policy holds on `as_of` what it will hold on `day`."""
    shutil.copytree(DBT_PROJECT_DIR, folder, ignore=shutil.ignore_patterns("target", "logs"))
    for path in (folder / POLICY_DIR.relative_to(DBT_PROJECT_DIR)).glob("*.csv"):
        columns, rows = _rows(path)
        moved = [brought_forward(row, day, as_of) for row in rows]
        if moved == rows:
            continue
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, columns, lineterminator="\n")
            writer.writeheader()
            writer.writerows(moved)
    return folder


def _build(settings: Settings, trial: Settings, state: Path, selected: list[str], project: Path) -> None:
    """Build in the copy. Raises StrataError with dbt's own words."""
    done = subprocess.run(
        [
            str(Path(sys.executable).with_name("dbt")),
            "--quiet",
            "build",
            "--resource-type",
            "seed",
            "--resource-type",
            "model",
            "--select",
            *selected,
            "--state",
            str(state),
            "--project-dir",
            str(project),
            "--profiles-dir",
            str(project),
            "--target-path",
            str(trial.home / "target"),
            "--log-path",
            str(trial.home / "logs"),
        ],
        env={
            **os.environ,
            "STRATA_HOME": str(settings.home),
            "STRATA_WAREHOUSE": str(trial.warehouse),
            "STRATA_BUILD": str(trial.build),
            "STRATA_DBT_PROJECT": str(project),
            "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        said = " ".join((done.stdout + done.stderr).split())
        raise StrataError(f"the policy as it lies here does not build: {said[:600]}")


def _read(
    settings: Settings, warehouse: Path, classes: Path, seeds: Path | None = None
) -> dict[str, set[tuple[str, ...]]]:
    """Write customer_key, scheme and class of a warehouse to `classes`; rows of its seeds as text, by seed.

    Args:
        seeds: folder whose files are read in place of the seeds of the warehouse, in the types of these.

    Raises StrataError where the warehouse is no complete build.
    """
    con = duck.connect(
        [settings.raw, settings.identity, settings.build, *([seeds] if seeds else [])],
        database=warehouse,
        read_only=True,
        spill=classes.parent / ".spill",
    )
    try:
        con.execute(
            f"copy (select customer_key, scheme, class from intermediate.{_CLASSES}) to {literal(str(classes))} "
            "(format parquet)"
        )
        found = {}
        for (name,) in con.execute(
            "select table_name from information_schema.tables where table_schema = 'policy' order by 1"
        ).fetchall():
            columns = con.execute(f"describe policy.{quote(name)}").fetchall()
            texts = ", ".join(
                f"coalesce(cast(cast({quote(column)} as {kind}) as varchar), '')"
                for column, kind, *_ in columns
            )
            file = literal(str(seeds / f"{name}.csv")) if seeds else ""
            rows = (
                f"read_csv({file}, all_varchar = true, header = true)" if seeds else f"policy.{quote(name)}"
            )
            found[name] = {tuple(row) for row in con.execute(f"select {texts} from {rows}").fetchall()}
        return found
    finally:
        con.close()


def _changed(
    old: dict[str, set[tuple[str, ...]]], now: dict[str, set[tuple[str, ...]]]
) -> dict[str, dict[str, list[str]]]:
    return {
        name: {
            "removed": sorted(",".join(row) for row in old.get(name, set()) - now.get(name, set())),
            "added": sorted(",".join(row) for row in now.get(name, set()) - old.get(name, set())),
        }
        for name in sorted(old.keys() | now.keys())
        if old.get(name, set()) != now.get(name, set())
    }


def _moves(folder: Path) -> dict[str, Any]:
    before, after = (literal(str(folder / f"{name}.parquet")) for name in ("before", "after"))
    con = duck.connect([folder])
    try:
        con.execute(
            f"""
            create temp table pairs as
            select customer_key, scheme, old.class as from_class, new.class as to_class
            from read_parquet({before}) as old
            full join read_parquet({after}) as new using (customer_key, scheme)
            """
        )
        total, moved = con.execute(
            "select count(distinct customer_key), "
            "count(distinct customer_key) filter (where from_class is distinct from to_class) from pairs"
        ).fetchone() or (0, 0)
        schemes = con.execute(
            "select scheme, count(*), count(*) filter (where from_class is distinct from to_class) from pairs "
            "group by scheme order by 3 desc, 1"
        ).fetchall()
        moves = con.execute(
            "select scheme, from_class, to_class, count(*) from pairs "
            "where from_class is distinct from to_class group by all order by 1, 4 desc, 2, 3"
        ).fetchall()
    finally:
        con.close()
    return {
        "customers": total,
        "moved": moved,
        "schemes": [
            {
                "scheme": scheme,
                "customers": n,
                "moved": changed,
                "share": changed / n,
                "moves": [{"from": f, "to": t, "customers": k} for s, f, t, k in moves if s == scheme],
            }
            for scheme, n, changed in schemes
        ],
    }


def told(found: dict[str, Any]) -> str:
    """The answer as text."""
    lines = [
        f"policy as it lies here"
        f"{' with preset ' + found['preset'] if found['preset'] else ''} against the last build · as of "
        f"{found['as_of_date']} · release {found['release'] or '(none yet)'}"
    ]
    if found["policy_day"] != found["as_of_date"]:
        lines.append(
            f"rows that begin or end by {found['policy_day']} are tried as if they did on {found['as_of_date']}"
        )
    for seed, rows in found["changed_seeds"].items():
        lines.append(f"{seed}.csv")
        lines += [f"  - {row}" for row in rows["removed"]] + [f"  + {row}" for row in rows["added"]]
    if not found["moved"]:
        return "\n".join([*lines, f"nobody moves ({counted(found['customers'], 'customer')})"])
    share = 100 * found["moved"] / found["customers"]
    lines.append(
        f"{found['moved']:,} of {counted(found['customers'], 'customer')} ({share:.1f} %) get another class"
    )
    for scheme in found["schemes"]:
        if not scheme["moved"]:
            continue
        lines.append(f"{scheme['scheme']}: {scheme['moved']:,} move ({100 * scheme['share']:.1f} %)")
        lines += [
            f"  {move['from'] or '(new scheme)'} → {move['to'] or '(gone)'}: {move['customers']:,}"
            for move in scheme["moves"]
        ]
    return "\n".join(lines)
