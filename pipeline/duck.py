"""DuckDB connections that reach the folders in use and nothing else of the machine."""

import json
import re
import resource
import sys
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import Any, TypeVar

import duckdb

from pipeline.errors import StrataError
from pipeline.settings import memory

T = TypeVar("T")
_UNHEARD_S = 0.05
_UNITS = {
    f"{letter}{i}B": (1024 if i else 1000) ** n for n, letter in enumerate("KMGT", 1) for i in ("", "i")
}
# For each byte that DuckDB counts against its limit it holds up to a quarter beside it: states of aggregates, and what its
# allocator has not given back (docs/decisions/023-what-classes-cost.md).
_HELD_PER_COUNTED = 1.25
# Less than that and a build of a few rows fails for want of memory, whatever Python holds.
_LEAST_SHARE = 4
# Memory set free goes back to the machine in parts of this size; by default DuckDB keeps 512 MB of it.
_GIVEN_BACK = "32MB"


def quote(name: str) -> str:
    """An identifier as SQL text."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A string as SQL text, for the few places that take no parameter (file names, settings)."""
    return "'" + text.replace("'", "''") + "'"


def texts(values: Iterable[str]) -> str:
    """A list of strings as SQL text. A parameter or a registered table makes DuckDB import pandas, which costs half a
    second of CPU where nothing else needs it."""
    return f"from_json({literal(json.dumps(list(values)))}, '[\"varchar\"]')"


def parquet(path: Path) -> str:
    """SQL of the rows of one Parquet file; folders named `a=b` above it add no column."""
    return f"read_parquet({literal(str(path))}, hive_partitioning = false)"


def without_values(error: duckdb.Error) -> str:
    """The error's first line without the data in it: a failed conversion quotes the value, which may be a person's."""
    line = str(error).splitlines()[0]
    if isinstance(
        error, duckdb.ConversionException | duckdb.InvalidInputException | duckdb.OutOfRangeException
    ):
        return re.sub(r"(['\"]).*\1|\d{5,}", "(a value)", line)
    return line


def _held() -> int:
    """Bytes that this process holds now; where the system does not tell, the most that it has held."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def memory_settings() -> list[str]:
    """SQL by which DuckDB keeps the process within STRATA_MEMORY; empty where none is stated.

    Its limit is what the process does not hold yet, less what DuckDB holds beside the memory that it counts.
    """
    stated = memory()
    if not stated:
        return []
    found = re.fullmatch(r"([\d.]+)\s?(\w+)", stated)
    assert found
    budget = float(found[1]) * _UNITS[found[2]]
    limit = max((budget - _held()) / _HELD_PER_COUNTED, budget / _LEAST_SHARE)
    return [
        f"set memory_limit = '{limit / 1e6:.0f}MB'",
        f"set allocator_flush_threshold = '{_GIVEN_BACK}'",
        f"set allocator_bulk_deallocation_flush_threshold = '{_GIVEN_BACK}'",
    ]


def connect(
    folders: Iterable[Path],
    *,
    database: Path | None = None,
    read_only: bool = False,
    spill: Path | None = None,
) -> duckdb.DuckDBPyConnection:
    """A connection that can read and write below `folders` only, also where SQL that a user wrote runs in it.

    Args:
        database: file to open; in memory where None.
        spill: where a query that does not fit in memory goes on; below the first of `folders` where None.
    """
    allowed = list(folders)
    try:
        con = duckdb.connect(str(database) if database else ":memory:", read_only=read_only)
    except duckdb.IOException as error:
        if "lock" not in str(error):
            raise
        holder = re.search(r"PID (\d+)", str(error))
        who = f"process {holder[1]}" if holder else "another process"
        raise StrataError(
            f"{who} has {database} open: wait for it; where a run was killed, end what it left behind"
        ) from None
    if spill or allowed:
        con.execute(f"set temp_directory = {literal(str(spill or allowed[0] / '.spill'))}")
    for setting in memory_settings():
        con.execute(setting)
    con.execute("set TimeZone = 'UTC'")
    listed = ", ".join(literal(str(folder.resolve())) for folder in (*allowed, *([spill] if spill else ())))
    con.execute(f"set allowed_directories = [{listed}]")
    con.execute("set enable_external_access = false")
    return con


def share_out(
    con: duckdb.DuckDBPyConnection, items: Iterable[T], work: Callable[[duckdb.DuckDBPyConnection, T], None]
) -> None:
    """Call `work` with every item and a cursor of `con`, by as many threads as it has; in order where that is one.

    For many statements that do not need each other: where each core has its own statement instead of a part of every
    one, sorting and writing tables cost a third less CPU and waits for nobody. The connection keeps to one thread a
    statement from then on. What a statement finds by name (views, registered frames) must be made on the cursor.

    Raises what the first `work` that failed has raised; items that nobody has begun are left.
    """
    found = con.execute("select current_setting('threads')").fetchone()
    workers = int(found[0]) if found else 1
    con.execute("set threads = 1")
    left = deque(items)

    def worker() -> None:
        with con.cursor() as cursor:
            while left:
                try:
                    item = left.popleft()
                except IndexError:
                    return
                try:
                    work(cursor, item)
                except BaseException:
                    left.clear()
                    raise

    with ThreadPoolExecutor(max(1, workers - 1)) as pool:
        others = [pool.submit(worker) for _ in range(min(workers, len(left)) - 1)]
        worker()
        for other in others:
            other.result()


class Stopped(Exception):
    """What is being done is not wanted any more."""


def beside(
    con: duckdb.DuckDBPyConnection,
    query: Callable[[], Any],
    *works: Callable[[Callable[[], None]], Any],
) -> list[Any] | None:
    """Call `query`, which asks `con`, and each of `works` in a thread of its own at the same time.

    Args:
        works: each is given a function to call now and then, which raises Stopped where the rest is in vain.

    Returns:
        What each of them gave, in order; None where one of them gave None, which ends the others.

    Raises what one of them has raised, which ends the others too. None of them is running any more afterwards.
    """
    stop, answered = Event(), Event()

    def go_on() -> None:
        if stop.is_set():
            raise Stopped

    def done(work: Callable[[Callable[[], None]], Any]) -> Any:
        made = None
        try:
            made = work(go_on)
        except Stopped:
            pass
        finally:
            if made is None:
                stop.set()
                # A query that has not begun yet does not hear it.
                while not answered.is_set():
                    con.interrupt()
                    answered.wait(_UNHEARD_S)
        return made

    asked = None
    with ThreadPoolExecutor(max(1, len(works))) as pool:
        others = [pool.submit(done, work) for work in works]
        try:
            asked = query()
        except duckdb.InterruptException:
            if not stop.is_set():
                raise
        finally:
            answered.set()
            if asked is None:
                stop.set()
    results = [asked, *(other.result() for other in others)]
    return None if any(result is None for result in results) else results
