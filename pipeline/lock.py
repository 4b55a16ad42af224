"""One run at a time in a home, and one publication: OS file locks, which die with their process and are not inherited by children."""

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.errors import StrataError
from pipeline.home import layout
from pipeline.progress import say
from pipeline.settings import Settings

_held: dict[str, int] = {}


@contextmanager
def run_lock(
    settings: Settings, *, wait_seconds: float = 3600, log: Callable[[str], None] = say
) -> Iterator[None]:
    """Hold the home's run lock; re-entrant in one process. Raises StrataError after `wait_seconds`."""
    with _held_lock(settings, settings.lock, wait_seconds, log):
        layout.ensure(settings, log=log)
        yield


@contextmanager
def publish_lock(
    settings: Settings, *, wait_seconds: float = 3600, log: Callable[[str], None] = say
) -> Iterator[None]:
    """Hold what makes a release current. A run takes it for its last step only, so that an urgent withdrawal need not
    wait for a build. Whoever needs both locks takes the run lock first."""
    with _held_lock(settings, settings.home / "publish.lock", wait_seconds, log):
        layout.ensure(settings, alone=bool(_held.get(str(settings.lock))), log=log)
        yield


@contextmanager
def _held_lock(
    settings: Settings, file_name: Path, wait_seconds: float, log: Callable[[str], None]
) -> Iterator[None]:
    path = str(file_name)
    if _held.get(path):
        _held[path] += 1
        try:
            yield
        finally:
            _held[path] -= 1
        return
    settings.home.mkdir(parents=True, exist_ok=True)
    # Python opens without inheritance, so an orphaned dbt process does not keep the lock.
    with file_name.open("a+") as file:
        deadline = time.monotonic() + wait_seconds
        told = False
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if not told and wait_seconds:
                    file.seek(0)
                    log(f"another run holds {file_name} ({file.read().strip() or 'unknown'}); waiting for it")
                    told = True
                if time.monotonic() > deadline:
                    raise StrataError(f"another run still holds {file_name}; wait for it or end it") from None
                time.sleep(0.2)
        file.truncate(0)
        file.write(f"process {os.getpid()}")
        file.flush()
        _held[path] = 1
        try:
            yield
        finally:
            _held[path] = 0
            fcntl.flock(file, fcntl.LOCK_UN)
