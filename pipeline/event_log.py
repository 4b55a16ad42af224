"""Dagster's own bookkeeping (SQLite in DAGSTER_HOME) without a disk flush for each of a run's 500 events.

Dagster opens and closes a connection per event; closing the last one of a write-ahead log checkpoints it, flush
included, which took 17 of 60 seconds of a small run. One idle connection a file prevents that, and
`synchronous = NORMAL` is safe in this mode: a power cut can lose the last events of the log, never damage it.
Releases do not depend on it.
"""

import sqlite3
from typing import Any

from sqlalchemy import event
from sqlalchemy.engine import Engine

_idle: dict[str, sqlite3.Connection] = {}


@event.listens_for(Engine, "connect")
def _spare_flushes(connection: Any, _: Any) -> None:
    if not isinstance(connection, sqlite3.Connection):
        return
    connection.execute("pragma synchronous = normal")
    path = connection.execute("pragma database_list").fetchone()[2]
    is_wal = connection.execute("pragma journal_mode").fetchone()[0] == "wal"
    if path and is_wal and path not in _idle:
        _idle[path] = sqlite3.connect(path, check_same_thread=False)
        _idle[path].execute("select count(*) from sqlite_master").fetchone()
