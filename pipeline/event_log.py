"""Dagster's own bookkeeping (SQLite in DAGSTER_HOME) without a disk flush and a new engine for each access.

Dagster makes an engine, opens and closes a connection for each of a run's 3,000 accesses. A new engine compiles every
statement again and asks the file for its version: 3 of 30 CPU-s of a small run; here the engine of a file is kept.
Closing the last connection of a write-ahead log checkpoints it, flush included, which took 17 of 60 seconds. One idle
connection a file prevents that, and `synchronous = NORMAL` is safe in this mode: a power cut can lose the last events
of the log, never damage it. Releases do not depend on it.
"""

import sqlite3
import threading
from typing import Any

from dagster._core.storage.event_log.sqlite import sqlite_event_log
from dagster._core.storage.runs.sqlite import sqlite_run_storage
from dagster._core.storage.schedules.sqlite import sqlite_schedule_storage
from dagster._core.storage.sql import create_engine
from sqlalchemy import event
from sqlalchemy.engine import Engine
from sqlalchemy.pool import NullPool

_STORAGES = (sqlite_event_log, sqlite_run_storage, sqlite_schedule_storage)
_engines: dict[str, Engine] = {}
_idle: dict[str, sqlite3.Connection] = {}
_one_at_a_time = threading.Lock()


def kept_engine(url: str, **options: Any) -> Engine:
    """The process's engine for a file. It keeps no connection (NullPool), so that threads and forks may share it."""
    with _one_at_a_time:
        if url not in _engines:
            engine = create_engine(url, **{**options, "poolclass": NullPool})
            event.listen(engine, "connect", _spare_flushes)
            _engines[url] = engine
        return _engines[url]


def _spare_flushes(connection: Any, _: Any) -> None:
    connection.execute("pragma synchronous = normal")
    path = connection.execute("pragma database_list").fetchone()[2]
    if path and path not in _idle and connection.execute("pragma journal_mode").fetchone()[0] == "wal":
        _idle[path] = sqlite3.connect(path, check_same_thread=False)
        _idle[path].execute("select count(*) from sqlite_master").fetchone()


for _storage in _STORAGES:
    _storage.create_engine = kept_engine
