"""Time our whole job beside its peers and the bare scan, in one run, on generated order lines.

    python -m benchmarks.scale --rows 1000000 [--runs 3] [--memory 4GB] [--peers script,pandas,polars] [--json OUT]

Every system is a process of its own; rounds are interleaved, so that a slow minute of the machine hits all of
them. Each result must equal ours (see compare.py), or the exit code is 1 and the totals that differ are
printed. `--peers all` is everybody; those of a package that our environment does not have run in `--peer-python`.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from contextlib import suppress
from pathlib import Path

from benchmarks import compare, data, history, next_day, opening, score
from benchmarks import peers as peers_module
from benchmarks.measure import CommandFailed, Sample, measure, say
from benchmarks.ours import ROOT, breakdown, run_dbt, run_ours
from benchmarks.peers import NAMES, PEERS, SCORER
from benchmarks.report import FLOOR_ROWS, Round, bytes_below, markdown, report, write_readme
from pipeline.transform.project import ensure_manifest


def generate(n: int, work: Path) -> tuple[Path, dict[str, int]]:
    """The landing folder of `n` order lines and its rows per feed."""
    landing = work / f"landing-{n}"
    say(f"generating {n:,} order lines in {landing}")
    shown = [0]

    def progress(done: int, total: int) -> None:
        if total > 500_000 and (done * 10 // total) > shown[0]:
            shown[0] = done * 10 // total
            say(f"  {done:,} of {total:,} orders")

    return landing, data.write(data.Plan(n), landing, progress)


def runnable(systems: list[str], rows: int, peer_python: str) -> dict[str, str]:
    """Why some of the systems cannot run here, each said aloud."""
    skipped: dict[str, str] = {}
    available = peers_module.available_bytes()
    for system in systems:
        reason = peers_module.missing(system, peer_python) if system in NAMES else None
        if reason or (reason := peers_module.too_large(system, rows, available)):
            say(f"SKIPPED: {reason}")
            skipped[system] = reason
    if SCORER in skipped:
        skipped["score"] = f"score runs only beside {SCORER}"
    return skipped


def bench(
    rows: int,
    runs: int,
    peers: list[str],
    with_ours: bool,
    work: Path,
    keep: bool,
    *,
    memory: str | None = None,
    limited_only: bool = False,
    peer_python: str = sys.executable,
    increment: bool = False,
) -> Round | None:
    """Generate, run and compare one size. None when the disk is too small for it.

    Args:
        memory: DuckDB's limit of one more run of ours, `limited`, beside the unlimited one.
        limited_only: `memory` holds in every run of ours, for a size of which the disk takes one home.
        peer_python: interpreter of the peers that our own environment does not have.
        increment: take in one more day after the last run of ours, as an increment and in full.
    """
    work.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(work).free
    if rows * peers_module.DISK_PER_LINE > 0.9 * free:
        need = rows * peers_module.DISK_PER_LINE / 1e9
        say(
            f"SKIPPED: {rows:,} lines need about {need:.1f} GB of disk, "
            f"{free / 1e9:.1f} GB are free in {work}"
        )
        return None

    landing, generated = generate(rows, work)
    floor_landing = generate(FLOOR_ROWS, work)[0]
    limits = ["limited"] if memory and not limited_only else []
    mine = ["ours", *limits, "floor", "dbt build"] if with_ours else []
    mine += ["score"] if with_ours and SCORER in peers else []
    asked = ["scan", *(p for p in peers if p != SCORER or with_ours), *mine]
    state = Round(rows, generated, skipped=runnable(asked, rows, peer_python))
    state.memory = memory if limited_only else None
    systems = [system for system in asked if system not in state.skipped]

    if with_ours:
        # Once per version of the project, whoever runs first: half a minute that is nobody's speed.
        say("parsing the dbt project, where that has not been done since it last changed")
        ensure_manifest()
    orders = work / f"orders-{rows}.parquet"
    if "score" in systems:
        state.generated["order_file"] = score.from_landing(landing, orders)
    home, floor_home, release = work / f"home-{rows}", work / f"home-{FLOOR_ROWS}", None

    def result(system: str) -> Path:
        return work / f"result-{system}-{rows}.parquet"

    def peer(system: str, landing: Path, out: Path) -> list[str]:
        python = peers_module.interpreter(system, sys.executable, peer_python)
        command = [python, "-m", PEERS[system].module, "--landing", str(landing)]
        return [*command, "--as-of", data.AS_OF.isoformat(), "--out", str(out)]

    def run(system: str, log: Path) -> Sample:
        nonlocal release
        if system == "ours":
            sample, release = run_ours(landing, home, log, memory if limited_only else None)
        elif system == "limited":
            sample, _ = run_ours(landing, work / f"home-{rows}-limited", log, memory)
            shutil.rmtree(work / f"home-{rows}-limited", ignore_errors=True)
        elif system == "floor":
            sample, _ = run_ours(floor_landing, floor_home, log)
        elif system == "dbt build":
            if not (floor_home / "warehouse").exists():
                run_ours(floor_landing, floor_home, log)
            sample = run_dbt(floor_home, log)
        elif system == "scan":
            command = [sys.executable, "-m", "benchmarks.scan", "--landing", str(landing)]
            sample = measure(command, log, cwd=ROOT)
        elif system in ("score", SCORER):
            named = "ours" if system == "score" else system
            command = score.command(named, orders, result(system), peer_python)
            sample = measure(command, log, cwd=ROOT)
        else:
            sample = measure(peer(system, landing, result(system)), log, cwd=ROOT)
        return sample

    # Packages that nothing has read for a while come from the disk: twenty seconds of ours once, in a run of 169.
    say(f"starting each system once on {FLOOR_ROWS:,} lines, so that none is measured on a cold disk")
    if with_ours:
        run_ours(floor_landing, floor_home, work / "log-cold")
    for system in (name for name in systems if name in PEERS and name != SCORER):
        with suppress(CommandFailed):
            measure(peer(system, floor_landing, work / "result-cold.parquet"), work / "log-cold", cwd=ROOT)

    for number in range(1, runs + 1):
        state.loads.append(round(os.getloadavg()[0], 1))
        # A fixed order would always give the same system the file cache that the one before it has filled.
        shift = (number - 1) % len(systems)
        for system in [s for s in systems[shift:] + systems[:shift] if s not in state.failed]:
            try:
                sample = run(system, work / f"log-{system}-{rows}")
            except CommandFailed as failure:
                if system not in NAMES:
                    raise
                # One peer that falls over must not cost the figures of all others.
                say(f"FAILED: {system}: {failure}")
                state.failed[system] = f"{system} ended with exit code {failure.code}"
                state.samples.pop(system, None)
                continue
            state.samples.setdefault(system, []).append(sample)
            say(f"run {number}/{runs} {system:<9} {sample.wall_s:8.2f} s  {sample.cpu_s:8.2f} CPU-s  "
                f"{sample.peak_mb:8.0f} MB")  # fmt: skip

    ran = [p for p in peers if p in state.samples and p != SCORER]
    reference = compare.our_rows(release) if release else compare.peer_rows(result(ran[0])) if ran else None
    for peer in ran:
        if lines := compare.differences(peer, compare.peer_rows(result(peer)), reference):
            state.differing[peer] = lines
    if "score" in state.samples and (lines := score.unequal(result("score"), result(SCORER))):
        state.differing[SCORER] = lines
    if release:
        state.breakdown = breakdown(home, state.samples["ours"][-1])
        state.opening = opening.measured(home)
        state.disk = {"landing": bytes_below(landing), "home": bytes_below(home)}
        command = [sys.executable, "-m", "benchmarks.replay", "--home", str(home), "--work", str(work)]
        command += ["--memory", memory] if memory and limited_only else []
        alone = measure(command, work / f"log-queries-{rows}", cwd=ROOT)
        state.samples["queries"], state.queries = [alone], json.loads(alone.output)
        say(f"queries alone {alone.wall_s:8.2f} s  {state.queries['cpu_s']:8.2f} CPU-s")
    if release and increment:
        after = next_day.run(landing, home, work, rows)
        state.next_rows, state.core_s = after.rows, after.core_s
        state.samples |= {name: [sample] for name, sample in after.samples.items()}
        if after.differing:
            state.differing["increment"] = after.differing
    if not keep:
        for path in (home, floor_home):
            shutil.rmtree(path, ignore_errors=True)
    return state


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--rows", type=int, nargs="+", default=[1_000_000], help="order lines, one or several sizes"
    )
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument(
        "--peers",
        default="script,pandas,polars",
        help=f"comma-separated, or all: {','.join(NAMES)}",
    )
    parser.add_argument("--memory", help="once more with this memory limit of DuckDB, for example 4GB")
    parser.add_argument(
        "--limited-only", action="store_true", help="every run of ours has that limit, none is without"
    )
    parser.add_argument(
        "--increment", action="store_true", help="also the next day, as an increment and with --full"
    )
    parser.add_argument(
        "--peer-python", default=sys.executable, help="interpreter with the peers that ours has not"
    )
    parser.add_argument(
        "--without-ours", action="store_true", help="peers only; they are compared with one another"
    )
    parser.add_argument(
        "--json",
        type=Path,
        help="write the figures there: the largest size, all under `sizes`",
    )
    parser.add_argument(
        "--work", type=Path, default=Path("var/bench"), help="landing, homes, logs (default var/bench)"
    )
    parser.add_argument("--keep", action="store_true", help="keep the homes of our runs for a look")
    parser.add_argument(
        "--readme",
        action="store_true",
        help="put the tables into benchmarks/README.md, the ratios into results/history.csv",
    )
    args = parser.parse_args()
    peers = list(NAMES) if args.peers == "all" else [p for p in args.peers.split(",") if p]
    if unknown := [p for p in peers if p not in NAMES]:
        parser.error(f"unknown peers {', '.join(unknown)}; there are {', '.join(NAMES)}")
    if args.runs < 1 or min(args.rows) < 1:
        parser.error("--rows and --runs must be at least 1")
    if args.limited_only and (not args.memory or args.increment):
        parser.error("--limited-only needs --memory and goes without --increment")

    reports, failed = [], False
    for rows in args.rows:
        try:
            state = bench(
                rows,
                args.runs,
                peers,
                not args.without_ours,
                args.work.resolve(),
                args.keep,
                memory=args.memory,
                limited_only=args.limited_only,
                peer_python=args.peer_python,
                increment=args.increment,
            )
        except CommandFailed as failure:
            # What the sizes before it gave is kept.
            say(str(failure))
            failed = True
            break
        if state:
            reports.append(report(state))
            print(markdown(reports[-1]), flush=True)
    if args.json and reports:
        largest = max(reports, key=lambda r: r["rows"])
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(
            json.dumps(largest | ({"sizes": reports} if len(reports) > 1 else {}), indent=1) + "\n"
        )
    if args.readme and reports:
        write_readme("\n".join(markdown(r) for r in reports))
        history.append(reports)
    for facts in reports:
        for peer, lines in facts["differences"].items():
            say(f"DIFFERENT RESULTS at {facts['rows']:,} lines: {peer}")
            for line in lines:
                say(f"  {line}")
    # Nothing measured is no success either.
    return 0 if reports and not failed and all(r["equal"] and not r["failed"] for r in reports) else 1


if __name__ == "__main__":
    sys.exit(main())
