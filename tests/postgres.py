"""A throw-away PostgreSQL server from Debian's package, and source declarations of a test's own."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest
from psycopg import sql

from pipeline.ingest import mapping, rules
from pipeline.ingest.contracts import load_sources

PASSWORD = "s3cret-Kalmar/42"
MARK = b"s3cret-Kalmar"
"""What of the password is the same in an address."""
URL_ENV = "STRATA_SHOP_DATABASE_URL"


@dataclass(frozen=True)
class Database:
    """One empty database of the server. `reader` is the role that Strata uses, `owner` the one that trades."""

    port: int
    name: str

    def url(self, *, user: str = "owner", password: str = PASSWORD) -> str:
        return f"postgresql://{user}:{quote(password, safe='')}@127.0.0.1:{self.port}/{self.name}"

    def connect(self) -> psycopg.Connection:
        return psycopg.connect(self.url(), autocommit=True)

    def run(self, *statements: str) -> None:
        with self.connect() as con:
            for statement in statements:
                con.execute(statement)


def _programs() -> dict[str, str]:
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    path = os.pathsep.join([*map(str, folders), os.environ.get("PATH", "")])
    found = {name: shutil.which(name, path=path) for name in ("initdb", "postgres")}
    missing = sorted(name for name, program in found.items() if not program)
    if missing:
        reason = f"{', '.join(missing)} not found: install Debian's package postgresql"
        if os.environ.get("CI"):
            pytest.fail(f"{reason} (CI must not pass by skipping)")
        pytest.skip(reason)
    return {name: str(program) for name, program in found.items()}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(name="server", scope="session")
def server_fixture() -> Iterator[int]:
    """Port of a server on 127.0.0.1 that keeps nothing. PostgreSQL refuses to be root: root lends it `nobody`."""
    programs = _programs()
    folder = Path(tempfile.mkdtemp(prefix="strata-postgres-"))
    other: dict[str, object] = {}
    if os.geteuid() == 0:
        other = {"user": "nobody", "group": "nogroup", "extra_groups": []}
        shutil.chown(folder, "nobody", "nogroup")
    folder.chmod(0o700)
    data, port = folder / "data", _free_port()
    password_file = folder / "password"
    password_file.write_text(PASSWORD)
    password_file.chmod(0o644)
    try:
        subprocess.run(
            [
                programs["initdb"],
                "-D",
                str(data),
                "-U",
                "owner",
                "-E",
                "UTF8",
                "--locale=C.UTF-8",
                "--no-sync",
            ]
            + ["--auth=scram-sha-256", f"--pwfile={password_file}"],
            check=True,
            capture_output=True,
            cwd=folder,
            **other,
        )
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": port,
            "unix_socket_directories": "",
            "fsync": "off",
        }
        options = [text for name, value in settings.items() for text in ("-c", f"{name}={value}")]
        process = subprocess.Popen(
            [programs["postgres"], "-D", str(data), *options],
            cwd=folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            **other,
        )
        try:
            _wait(Database(port, "postgres"), process)
            yield port
        finally:
            # Immediate shutdown: nothing is kept.
            process.send_signal(signal.SIGQUIT)
            process.wait(30)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _wait(database: Database, process: subprocess.Popen) -> None:
    for _ in range(300):
        if process.poll() is not None:
            pytest.fail(f"the PostgreSQL server ended with {process.returncode}")
        try:
            database.connect().close()
            return
        except psycopg.OperationalError:
            time.sleep(0.1)
    pytest.fail("the PostgreSQL server did not come up")


@pytest.fixture(name="database")
def database_fixture(server: int) -> Database:
    """An empty database, whose name needs quoting. One serves all tests: a new one each is 7 MB of disk."""
    name = 'shop\'s "own" 100%'
    with Database(server, "postgres").connect() as con:
        if not con.execute("select 1 from pg_database where datname = %s", [name]).fetchone():
            con.execute(sql.SQL("create database {} template template0").format(sql.Identifier(name)))
    database = Database(server, quote(name))
    with database.connect() as con:
        for (schema,) in con.execute(
            "select nspname from pg_namespace where nspname !~ '^pg_|^information_schema$'"
        ).fetchall():
            con.execute(sql.SQL("drop schema {} cascade").format(sql.Identifier(schema)))
        con.execute("create schema public")
        con.execute("grant usage on schema public to public")
    return database


@pytest.fixture(name="declare")
def declare_fixture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[dict[str, str]], None]]:
    """Make the files below a folder the only declared sources: `declare({"shop/source.yml": text})`."""
    folder = tmp_path / "mappings"
    wrapped = load_sources.__wrapped__
    monkeypatch.setattr(wrapped, "__defaults__", (folder,))
    for module in (mapping, rules):
        monkeypatch.setattr(module, "MAPPINGS_DIR", folder)

    def write(files: dict[str, str]) -> None:
        for name, text in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        load_sources.cache_clear()

    yield write
    monkeypatch.undo()
    load_sources.cache_clear()
