"""Dagster's own bookkeeping (SQLite in DAGSTER_HOME) without a new engine, a new connection and a disk flush each time.

Dagster makes an engine, opens and closes a connection for each of a run's 3,000 accesses. A new engine compiles every
statement again and asks the file for its version: 3 of 30 CPU-s of a small run. Closing the last connection of a
write-ahead log checkpoints it, flush included, which took 17 of 60 seconds. Here a process keeps the engine of a file
with its connections, and `synchronous = NORMAL` is safe in this mode: a power cut can lose the last events of the log,
never damage it. Releases do not depend on it.
"""

import threading
from typing import Any

from dagster._core.storage.event_log.sqlite import sqlite_event_log
from dagster._core.storage.runs.sqlite import sqlite_run_storage
from dagster._core.storage.schedules.sqlite import sqlite_schedule_storage
from sqlalchemy import create_engine, event
from sqlalchemy.engine import Engine

_STORAGES = (sqlite_event_log, sqlite_run_storage, sqlite_schedule_storage)
_engines: dict[str, Engine] = {}
_one_at_a_time = threading.Lock()


def kept_engine(url: str, **options: Any) -> Engine:
    """The process's engine for a file, whose pool hands each connection to one user at a time."""
    options.pop("poolclass", None)
    with _one_at_a_time:
        if url not in _engines:
            engine = create_engine(url, **options)
            event.listen(engine, "connect", _spare_flushes)
            # Dagster disposes of the engine after each access.
            engine.dispose = lambda close=True: None  # type: ignore[method-assign]
            _engines[url] = engine
        return _engines[url]


def _spare_flushes(connection: Any, _: Any) -> None:
    connection.execute("pragma synchronous = normal")


for _storage in _STORAGES:
    _storage.create_engine = kept_engine  # type: ignore[attr-defined]
