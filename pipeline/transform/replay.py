"""Many days of the class history in one process: the compiled SQL of the last build, without Dagster, tests and pages.

What a day leaves is what the job would have published of it in `class_history`, `class_bounds` and the memberships, byte
for byte, because SQL, context, identity and the way back from a release are the same functions. A day costs what its
queries cost: seeds and raw are read once.
"""

import json
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

from pipeline import duck
from pipeline.duck import literal, quote
from pipeline.errors import StrataError
from pipeline.identity.links import write_links
from pipeline.publish import release
from pipeline.settings import Settings
from pipeline.transform import history
from pipeline.transform.context import policy_refreshes, refresh_date, write_context

STATE = ("segments.class_history", "segments.class_bounds", "audiences.segment_membership")
_PARTS = (
    "raw",
    "vault",
    "token.key",
    "decisions",
    "evaluation",
    "dbt/target/manifest.json",
    "warehouse/warehouse.duckdb",
)
_RAW = re.compile(r"read_parquet\('([^']*/raw/[^']*)'[^)]*\)")


class Replay:
    """Days of a home that has been built once, built again in a folder of their own.

    `con` is the warehouse, in memory, with the tables of the day that was built last.
    """

    def __init__(self, settings: Settings, folder: Path, wanted: Sequence[str] = STATE) -> None:
        """`wanted`: tables (`schema.name`) to be built with all that they need."""
        self.settings = replace(settings, home=folder.resolve())
        self._borrow(settings.home, self.settings.home)
        manifest = json.loads((self.settings.dbt / "target" / "manifest.json").read_text())
        self.nodes: dict[str, Any] = manifest["nodes"]
        self._order = _order(self.nodes, wanted)
        self._moved = (str(settings.home), str(self.settings.home))
        home = self.settings.home
        self.con = duck.connect([home], spill=home / "build" / ".spill")
        self.con.execute("attach ':memory:' as warehouse")
        self.con.execute("use warehouse")
        self._read_once: dict[str, str] = {}
        self._load_seeds()

    def _borrow(self, home: Path, folder: Path) -> None:
        """Files that are never changed in place are shared by hard links; the others are not needed."""
        for part in _PARTS:
            source, target = home / part, folder / part
            if source.is_dir():
                shutil.copytree(source, target, copy_function=os.link)
            elif source.exists():
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, target)
        if not (folder / "warehouse" / "warehouse.duckdb").exists():
            raise StrataError(f"{home} holds no build to go on from: run `strata run` first")

    def _load_seeds(self) -> None:
        built = self.settings.warehouse
        self.con.execute(f"attach {literal(str(built))} as built (read_only)")
        for node in self.nodes.values():
            if node["resource_type"] == "seed":
                name = f"{quote(node['schema'])}.{quote(node['name'])}"
                self.con.execute(f"create schema if not exists {quote(node['schema'])}")
                self.con.execute(f"create table {name} as from built.{name}")
        self.con.execute("detach built")
        built.unlink()

    def days(self, days: Iterable[date]) -> Iterator[date]:
        """Build and keep each day, in order."""
        for day in days:
            self.build(day)
            self.keep(day)
            yield day

    def build(self, day: date) -> None:
        """The tables of one day, in `con`."""
        write_links(self.settings, [day, refresh_date(day, policy_refreshes())])
        write_context(self.settings, day)
        history.prepare(self.settings, day, self.nodes)
        for node in self._order:
            name = f"{quote(node['schema'])}.{quote(node.get('alias') or node['name'])}"
            kind = "view" if node["config"]["materialized"] == "view" else "table"
            self.con.execute(f"create schema if not exists {quote(node['schema'])}")
            self.con.execute(f"create or replace {kind} {name} as {self._sql(node)}")

    def _sql(self, node: dict[str, Any]) -> str:
        return _RAW.sub(self._once, node["compiled_code"].replace(*self._moved))

    def _once(self, found: re.Match[str]) -> str:
        """A table that holds what a raw glob gives, read at its first use."""
        if found[0] not in self._read_once:
            name = f"raw_{len(self._read_once)}"
            self.con.execute(f"create table main.{name} as from {found[0]}")
            self._read_once[found[0]] = f"main.{name}"
        return self._read_once[found[0]]

    def keep(self, day: date) -> None:
        """Write what the next day goes on from, as a release holds it; it is no release that may be published."""
        settings, before = self.settings, release.current(self.settings)
        name = release.next_id(settings, day)
        folder = settings.releases / name
        tables = {}
        for table in release.published_tables({"nodes": self.nodes}):
            if table.key not in STATE:
                continue
            file = folder / "tables" / table.schema / f"{table.name}.parquet"
            file.parent.mkdir(parents=True, exist_ok=True)
            columns = ", ".join(quote(c) for c in table.columns)
            order = ", ".join(f"{quote(c)} nulls first" for c in table.grain)
            self.con.execute(
                f"copy (select {columns} from {quote(table.schema)}.{quote(table.name)} order by {order}) "
                f"to {literal(str(file))} (format parquet, compression zstd)"
            )
            tables[table.key] = {"sha256": release.sha256(file)}
        manifest = {
            "release": name,
            "as_of_date": day.isoformat(),
            "previous_release": before["release"] if before else None,
            "tables": tables,
        }
        (folder / "manifest.json").write_text(json.dumps(manifest))
        settings.pointer.write_text(json.dumps({"release": name}))

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        return self.con.execute(sql).fetchall()

    def close(self) -> None:
        self.con.close()


def _order(nodes: dict[str, Any], wanted: Sequence[str]) -> list[dict[str, Any]]:
    """The models that the wanted ones need, each after what it reads. Raises StrataError where one was not compiled."""
    found: dict[str, dict[str, Any]] = {}

    def add(name: str) -> None:
        node = nodes.get(name)
        if node is None or node["resource_type"] != "model" or name in found:
            return
        for other in node["depends_on"]["nodes"]:
            add(other)
        if not node.get("compiled_code"):
            raise StrataError(f"{name} has not been compiled: run `strata run` first")
        found[name] = node

    for name, node in nodes.items():
        if node["resource_type"] == "model" and f"{node['schema']}.{node['name']}" in wanted:
            add(name)
    return list(found.values())
