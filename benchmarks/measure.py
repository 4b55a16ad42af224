"""Wall, CPU and peak memory of one command and everything that it starts (Linux: wait4 and /proc)."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

# A look at the process tree costs up to a few ms; the longer a run, the rarer: one hundredth of its time.
POLL_S, POLL_MOST_S = 0.02, 0.25
# A progress line of our commands; indented ones belong to the line above them.
_PROGRESS = re.compile(r"\[\s*[\d.]+ s\] (\S.*)")
_TICKS = os.sysconf("SC_CLK_TCK")


def say(text: str) -> None:
    """A line on standard error with the time of day."""
    print(f"[{time.strftime('%H:%M:%S')}] {text}", file=sys.stderr, flush=True)


class CommandFailed(Exception):
    """The command ended with another exit code than 0; carries the code and what it wrote."""

    def __init__(self, command: list[str], code: int, output: str, errors: str):
        said = (errors.strip() or output.strip())[-3000:]
        super().__init__(f"{' '.join(command)} ended with exit code {code}:\n{said}")
        self.code, self.output, self.errors = code, output, errors


@dataclass(frozen=True)
class Mark:
    """A progress line ("[  5.2 s] text") of the command and what the run had used when it was seen."""

    text: str
    wall_s: float
    cpu_s: float


@dataclass(frozen=True)
class Sample:
    """One run. cpu_s is user + system over all waited-for children; peak_mb the largest sum of resident
    memory over the process tree (MB = 10^6 bytes), where pages shared between processes count once for
    each. Marks are as exact as the polling: a hundredth of what had passed, POLL_S to POLL_MOST_S."""

    wall_s: float
    cpu_s: float
    peak_mb: float
    output: str
    marks: tuple[Mark, ...] = ()


def _tree(root: int) -> list[int]:
    """`root` and its living descendants (needs CONFIG_PROC_CHILDREN, which distribution kernels have)."""
    found, pending = [], [root]
    while pending:
        pid = pending.pop()
        found.append(pid)
        for children in Path(f"/proc/{pid}/task").glob("*/children"):
            try:
                pending += [int(child) for child in children.read_text().split()]
            except OSError:
                continue
    return found


def memory_bytes(pid: int) -> tuple[int, int]:
    """(resident now, largest ever resident) of one process; zeros when it has ended."""
    try:
        status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
        return tuple(int(status[key].split()[0]) * 1024 for key in ("VmRSS", "VmHWM"))
    except (OSError, KeyError, ValueError):
        return 0, 0


def _cpu_s(root: int) -> float:
    """User and system seconds of the tree, ended children of its processes included."""
    ticks = 0
    for pid in _tree(root):
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        ticks += sum(int(field) for field in fields[11:15])
    return ticks / _TICKS


def _peak_bytes(root: int) -> int:
    """The larger of what the tree holds now and the most that one of its processes has held. ru_maxrss will
    not do for the second: it starts with the size of the process that forked."""
    now, most = zip(*(memory_bytes(pid) for pid in _tree(root)), strict=True)
    return max(sum(now), *most)


def measure(
    command: list[str], log: Path, env: dict[str, str] | None = None, cwd: Path | None = None
) -> Sample:
    """Run the command to its end. Its stderr goes to `log`.err, its stdout to `log`.out. Raises
    CommandFailed."""
    out_path, err_path = log.with_suffix(".out"), log.with_suffix(".err")
    peak = 0
    marks: list[Mark] = []
    ended = threading.Event()

    def watch(pid: int) -> None:
        nonlocal peak
        begun = ""
        with err_path.open(errors="replace") as said:
            while not ended.is_set():
                peak = max(peak, _peak_bytes(pid))
                *lines, begun = (begun + said.read()).split("\n")
                found = [match[1] for line in lines if (match := _PROGRESS.match(line))]
                if found:
                    now, used = time.perf_counter() - started, _cpu_s(pid)
                    marks.extend(Mark(text, now, used) for text in found)
                passed = time.perf_counter() - started
                ended.wait(min(max(POLL_S, passed / 100), POLL_MOST_S))

    with out_path.open("wb") as out, err_path.open("wb") as err:
        started = time.perf_counter()
        process = subprocess.Popen(
            command, stdout=out, stderr=err, stdin=subprocess.DEVNULL, env=env, cwd=cwd
        )
        watcher = threading.Thread(target=watch, args=(process.pid,), daemon=True)
        watcher.start()
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - started
        ended.set()
        watcher.join()
        process.returncode = os.waitstatus_to_exitcode(status)
    output = out_path.read_text(errors="replace")
    if process.returncode:
        raise CommandFailed(command, process.returncode, output, err_path.read_text(errors="replace"))
    return Sample(wall, usage.ru_utime + usage.ru_stime, peak / 1e6, output, tuple(marks))
