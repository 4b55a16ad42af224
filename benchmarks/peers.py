"""Who else does the work: what runs, in which interpreter, and what is too much for this machine."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Peer:
    """One program that does the work of script.py.

    Attributes:
        module: run as `python -m MODULE --landing DIR --as-of D --out FILE`.
        package: what its interpreter (`--peer-python`) must have; None: our own environment has it.
        bytes_per_line: peak memory, measured at 1 M and 10 M lines with room to spare.
        spills: works on disk where memory ends, so that its need is bounded by SPILLS_ABOVE.
        needs: a command that must be there too.
    """

    module: str
    package: str | None
    bytes_per_line: int
    spills: bool
    needs: str | None = None


PEERS = {
    "script": Peer("benchmarks.script", None, 40, spills=True),
    "pandas": Peer("benchmarks.pandas_peer", None, 420, spills=False),
    "polars": Peer("benchmarks.polars_peer", "polars", 300, spills=False),
    "chdb": Peer("benchmarks.chdb_peer", "chdb", 300, spills=False),
    "spark": Peer("benchmarks.spark_peer", "pyspark", 600, spills=True, needs="java"),
}
# Scores an order file; beside it runs `strata score` on the same file, the system `score`.
SCORER = "openretailscience"
NAMES = (*PEERS, SCORER)
# Bytes a line of our own job; `limited` has a limit of its own.
OURS_PER_LINE = 60
# A size that would swap or fill the disk says nothing.
SPILLS_ABOVE = 4_600_000_000
DISK_PER_LINE = 500


def available_bytes() -> int:
    """Memory that can be had without swapping."""
    line = next(x for x in Path("/proc/meminfo").read_text().splitlines() if x.startswith("MemAvailable"))
    return int(line.split()[1]) * 1024


def has_package(python: str, package: str) -> bool:
    return (
        subprocess.run([python, "-c", f"import {package}"], capture_output=True, check=False).returncode == 0
    )


def missing(system: str, python: str) -> str | None:
    """Why a peer cannot run here at any size."""
    package = SCORER if system == SCORER else PEERS[system].package
    if package and not has_package(python, package):
        return f"{system}: {python} has no {package}: --peer-python names an interpreter that has"
    needs = PEERS[system].needs if system in PEERS else None
    if needs == "java" and os.environ.get("JAVA_HOME"):
        return None
    if needs and not shutil.which(needs):
        return f"{system}: there is no {needs} on PATH"
    return None


def too_large(system: str, rows: int, available: int) -> str | None:
    """Why a system (a peer, `ours` or `limited`) cannot run at this size."""
    if system in PEERS:
        per_line, spills = PEERS[system].bytes_per_line, PEERS[system].spills
    else:
        per_line, spills = (OURS_PER_LINE if system in ("ours", "limited") else 0), True
    need = per_line * rows
    if spills:
        need = min(need, SPILLS_ABOVE)
    if need > 0.8 * available:
        have = f"{available / 1e9:.1f} GB are available"
        return f"{system} at {rows:,} lines needs about {need / 1e9:.1f} GB, {have}"
    return None


def interpreter(system: str, own: str, theirs: str) -> str:
    """Where a peer runs: those of a package in theirs, the others in our own."""
    return theirs if system == SCORER or PEERS[system].package else own
