"""Many days of the class history in one process: the compiled SQL of the last build, without Dagster, tests and pages.

What a day leaves is what the job would have published of it in `class_history`, `class_bounds` and the memberships, byte
for byte, because SQL, context, identity and the way back from a release are the same functions. A day costs what its
queries cost: seeds and raw are read once.
"""

import json
import re
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipeline import duck
from pipeline.duck import literal, quote
from pipeline.errors import StrataError
from pipeline.identity import tables
from pipeline.identity.links import write_links
from pipeline.publish import commit, shelf
from pipeline.publish.tables import published_tables
from pipeline.settings import Settings
from pipeline.transform import history
from pipeline.transform.context import write_context

STATE = (
    "segments.class_history",
    "segments.class_bounds",
    "segments.class_group_bounds",
    "audiences.segment_membership",
)
_PARTS = (
    "evaluation",
    "vault/keys.json",
    "vault/matching.json",
    "vault/tombstones.json",
    "token.key",
    "decisions",
    "warehouse/warehouse.duckdb",
)
# What an increment leaves out of its build (macros/increment.sql): a replay builds everything.
_INCREMENT = re.compile(r"/\* increment \*/.*?/\* instead of(.*?)\*/", re.DOTALL)
# Columns and joins of int_customer_classes.
_CLASS = re.compile(r"(?P<mart>\w+)\.\w+ as (?P<name>\w+_class)\b")
_JOIN = re.compile(r"inner join \S+ as (?P<mart>\w+) on .*")
_RAW = re.compile(r"read_parquet\('([^']*/raw/[^']*)'[^)]*\)")


class Replay:
    """Days of a home that has been built once, built again in a folder of their own.

    `con` is the warehouse, in memory, with the tables of the day that was built last.
    """

    def __init__(
        self,
        settings: Settings,
        folder: Path,
        wanted: Sequence[str] = STATE,
        families: Sequence[str] | None = None,
    ) -> None:
        """`wanted`: tables (`schema.name`) to be built with all that they need.

        `families`: the views of class reasons whose schemes are built; all where None.
        """
        self.settings = replace(settings, home=folder.resolve())
        self._borrow(settings.home, self.settings.home)
        self.nodes = compiled(settings)
        if families:
            self._narrow(families)
        self._order = _order(self.nodes, wanted)
        if not any(f"{settings.home}/" in node["compiled_code"] for node in self._order):
            raise StrataError(
                f"{settings.home}/dbt/target was compiled for another home: run `strata run` there"
            )
        self._moved = (str(settings.home), str(self.settings.home))
        home = self.settings.home
        self.con = duck.connect([home], spill=home / "build" / ".spill")
        self.con.execute("attach ':memory:' as warehouse")
        self.con.execute("use warehouse")
        # On a day's few rows a second thread costs more than it brings.
        self.con.execute("set threads = 1")
        self._read_once: dict[str, str] = {}
        self._load_seeds()

    def _narrow(self, families: Sequence[str]) -> None:
        """Leave the schemes of other families out of the union of all."""
        union = self.nodes["model.strata.int_class_reasons"]
        chosen = [self.nodes[f"model.strata.{family}"] for family in families]
        union["depends_on"]["nodes"] = [node["unique_id"] for node in chosen]
        union["compiled_code"] = " union all ".join(
            f"from {quote(node['schema'])}.{quote(node['name'])}" for node in chosen
        )
        marts = {name.split(".")[-1] for node in chosen for name in node["depends_on"]["nodes"]}
        wide = self.nodes["model.strata.int_customer_classes"]
        facts = "model.strata.int_customer_facts"
        wide["depends_on"]["nodes"] = [
            name for name in wide["depends_on"]["nodes"] if name == facts or name.split(".")[-1] in marts
        ]
        wide["compiled_code"] = _JOIN.sub(
            lambda found: found[0] if found["mart"] in marts else "",
            _CLASS.sub(
                lambda found: (
                    found[0] if found["mart"] in marts else f"cast(null as varchar) as {found['name']}"
                ),
                wide["compiled_code"],
            ),
        )

    def _borrow(self, home: Path, folder: Path) -> None:
        """What the days are built from. Of raw one file a feed: a day would open each of thousands otherwise."""
        if not (home / "warehouse" / "warehouse.duckdb").exists():
            raise StrataError(f"{home} holds no build to go on from: run `strata run` first")
        for part in _PARTS:
            source, target = home / part, folder / part
            target.parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, target)
            elif source.exists():
                shutil.copyfile(source, target)
        # Its presence is checked, it is not opened: clear values stay where they are.
        (folder / "vault" / "vault.duckdb").symlink_to(home / "vault" / "vault.duckdb")
        feeds = {
            path.relative_to(home).parts[1:3] for path in (home / "raw").glob("[!_]*/*/dt=*") if path.is_dir()
        }
        with duck.connect([home / "raw", folder]) as con:
            for system, feed in sorted(feeds):
                target = folder / "raw" / system / feed / "dt=all" / "rev=1" / "all.parquet"
                _gather(con, home / "raw" / system / feed, "*/*/*.parquet", target)
            _gather(con, home / "raw" / "_ledger", "*.parquet", folder / "raw" / "_ledger" / "000001.parquet")
            for name in ("_schema", "_erased"):
                if (home / "raw" / name).exists():
                    shutil.copytree(home / "raw" / name, folder / "raw" / name)

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
        days = list(days)
        self.link(days)
        for day in days:
            self.build(day)
            self.keep(day)
            yield day

    def link(self, days: Sequence[date]) -> None:
        """Who was who on each of the days, told at once; `build` shows of it what its own day knew."""
        write_links(self.settings, days)
        lineage = tables.rows(self.settings)
        seen = tables.links(
            self.settings, ("known_at", "source", "source_customer_id", "first_seen", "last_seen")
        )
        if lineage is None or seen is None:
            raise StrataError(f"{self.settings.home} knows nobody")
        self._lineage = lineage.to_pylist()
        self._seen = {(r["known_at"], r["source"], r["source_customer_id"]): r for r in seen.to_pylist()}

    def _as_known_on(self, day: date) -> None:
        """Who is who as it was written on the day: later intervals and ends are not there yet."""
        rows = []
        for row in self._lineage:
            if row["valid_from"] > day:
                continue
            seen = self._seen.get((day, row["source"], row["id"]), {})
            open_ = {"valid_to": None, "merged_into": None} | {
                n: seen.get(n) for n in ("first_seen", "last_seen")
            }
            rows.append(row | (open_ if row["valid_to"] is None or row["valid_to"] > day else {}))
        tables.replace(self.settings, pa.Table.from_pylist(rows, tables.ROWS), day)

    def build(self, day: date, known_at: date | None = None) -> None:
        """The tables of one day, in `con`; `known_at`: with the deliveries known by then. Every model is a table: tiny ones are read faster than views are planned."""
        self._as_known_on(day)
        write_context(self.settings, day, known_at)
        history.prepare(self.settings, day, self.nodes)
        for node in self._order:
            name = f"{quote(node['schema'])}.{quote(node.get('alias') or node['name'])}"
            self.con.execute(f"create schema if not exists {quote(node['schema'])}")
            self.con.execute(f"create or replace table {name} as {self._sql(node)}")

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
        settings, before = self.settings, shelf.current(self.settings)
        name = commit.next_id(settings, day)
        folder = settings.releases / name
        tables: dict[str, Any] = {}
        built = {f"{node['schema']}.{node['name']}" for node in self._order}
        for table in published_tables({"nodes": self.nodes}):
            if table.key not in STATE or table.key not in built:
                continue
            file = folder / "tables" / table.schema / f"{table.name}.parquet"
            file.parent.mkdir(parents=True, exist_ok=True)
            columns = ", ".join(quote(c) for c in table.columns)
            order = ", ".join(f"{quote(c)} nulls first" for c in table.grain)
            self.con.execute(
                f"copy (select {columns} from {quote(table.schema)}.{quote(table.name)} order by {order}) "
                f"to {literal(str(file))} (format parquet, compression zstd)"
            )
            tables[table.key] = {"sha256": shelf.sha256(file)}
        manifest = {
            "release": name,
            "as_of_date": day.isoformat(),
            "previous_release": before["release"] if before else None,
            "tables": tables,
        }
        (folder / "manifest.json").write_text(json.dumps(manifest))
        settings.pointer.write_text(json.dumps({"release": name}))

    def raw_table(self, feed: str) -> str:
        """Where the rows of a feed are, as read at its first use; what is changed there is what the next days see."""
        return next(table for text, table in self._read_once.items() if f"/{feed}/" in text)

    def raw_tables(self) -> list[str]:
        """Every table of raw rows."""
        return list(self._read_once.values())

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        return self.con.execute(sql).fetchall()

    def close(self) -> None:
        self.con.close()


def _gather(con: Any, source: Path, files: str, target: Path) -> None:
    """The rows of many files of one kind in one file."""
    target.parent.mkdir(parents=True, exist_ok=True)
    con.execute(
        f"copy (from read_parquet({literal(str(source / files))}, union_by_name = true, hive_partitioning = false)) "
        f"to {literal(str(target))} (format parquet)"
    )


def compiled(settings: Settings) -> dict[str, Any]:
    """The nodes of the home's last build, models with the SQL that it ran. Raises StrataError where there was none."""
    built = settings.dbt / "built.json"
    if not built.exists():
        raise StrataError(f"{settings.home} holds no build to go on from: run `strata run` first")
    manifest = json.loads(built.read_text(encoding="utf-8"))
    folder = settings.dbt / "target" / "compiled" / manifest["metadata"]["project_name"]
    nodes: dict[str, Any] = {
        name: node
        for name, node in manifest["nodes"].items()
        if not node["config"]["meta"].get("only_increments")
    }
    for node in nodes.values():
        if node["resource_type"] == "model":
            compiled = (folder / node["original_file_path"]).read_text(encoding="utf-8")
            node["compiled_code"] = _INCREMENT.sub(r"\1", compiled)
    return nodes


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
