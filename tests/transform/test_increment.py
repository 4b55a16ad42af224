"""An increment gives what a full build gives, row for row, whatever happens to orders, people, products and returns."""

import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from datetime import date, timedelta

import duckdb
import pytest

from pipeline.identity.links import write_links
from pipeline.ingest.load import sweep
from pipeline.settings import Settings
from pipeline.transform import base, history
from pipeline.transform.context import policy_refreshes, refresh_date, write_context
from pipeline.transform.dbt import _nodes
from pipeline.transform.invoke import invoke
from pipeline.transform.replay import _INCREMENT
from tests.transform.shop import Shop

# Days of a sequence that a soak adds: STRATA_SOAK=50 python -m pytest tests/transform/test_increment.py
SOAK = int(os.environ.get("STRATA_SOAK", "0"))
LAYERS = ("intermediate", "core", "segments", "marts", "audiences")
# What tells of the build and not of the data.
OF_THE_BUILD = {name for name, node in _nodes().items() if node["config"]["meta"].get("only_increments")}
# The incremental tables but the history of classes, which has all class models before it.
CORE = [
    node["name"]
    for node in _nodes().values()
    if node["config"]["materialized"] == "incremental" and not node["config"]["meta"].get("of_history")
]


class Home:
    """A home whose warehouse goes on from day to day, and a second warehouse that is rebuilt each time."""

    def __init__(self, settings: Settings, shop: Shop) -> None:
        self.settings, self.shop, self.day = settings, shop, date.min
        self.is_begun = False
        self.rebuilt = replace(settings, home=settings.home / "rebuilt")

    def take_in(self, day: date) -> None:
        released = None if self.day == date.min else self.day
        self.day = day
        sweep(self.settings, day, run_id="test", released=released)
        write_links(self.settings, [day, refresh_date(day, policy_refreshes())])
        write_context(self.settings, day)
        history.prepare(self.settings, day, _nodes())

    def build(self) -> base.Way:
        """As the step `transform` builds, without the tests."""
        now = base.look(self.settings, self.day)
        way = base.choose(self.settings, now)
        base.invalidate(self.settings)
        self._dbt(self.settings, way.increments)
        base.write(self.settings, now)
        return way

    def touched(self) -> tuple[int, int]:
        """Orders that the last build computed again, and all orders."""
        with duckdb.connect(str(self.settings.warehouse), read_only=True) as con:
            row = con.execute(
                "select (select count(*) from intermediate.int_orders_touched), count(*) from intermediate.int_orders "
                "where is_current"
            ).fetchone()
        return row or (0, 0)

    def rebuild(self) -> None:
        """In a copy, whose views and seeds are those of the day: every table is computed anew from raw."""
        self.rebuilt.warehouse.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(self.settings.warehouse, self.rebuilt.warehouse)
        self._dbt(self.rebuilt, False)

    def _dbt(self, into: Settings, increments: bool) -> None:
        into.warehouse.parent.mkdir(parents=True, exist_ok=True)
        # What nothing incremental reads is computed in full both ways, by one SQL from equal tables: a soak looks at it.
        # So is the history of classes where there are no releases: tests/job/test_ways_to_a_release.py compares it.
        needed = [f"+{name}{',config.materialized:table' if self.is_begun else ''}" for name in CORE]
        select = [] if SOAK else ["--select", *CORE, *needed]
        self.is_begun = True
        full = [] if increments else ["--full-refresh"]
        with pytest.MonkeyPatch.context() as patched:
            patched.setenv("STRATA_WAREHOUSE", str(into.warehouse))
            args = ["build", "--resource-type", "model", "--resource-type", "seed", *select, *full]
            invoke(args, self.settings.home, into.home / "target", increments=increments)

    def compiled(self) -> tuple[dict[str, str], dict[str, str]]:
        """The SQL of the incremental tables as a replay takes it from the increment, and as the rebuild ran it."""
        texts: list[dict[str, str]] = []
        for into, taken in ((self.settings, _INCREMENT), (self.rebuilt, re.compile(r"(?!)()"))):
            folder = into.home / "target" / "compiled" / "strata"
            texts.append(
                {
                    node["name"]: " ".join(
                        taken.sub(r"\1", (folder / node["original_file_path"]).read_text()).split()
                    )
                    for node in _nodes().values()
                    if node["name"] in CORE
                }
            )
        return texts[0], texts[1]

    def differences(self) -> dict[str, int]:
        """Rows that only one of the two warehouses has, by table; every table and view of the layers is compared."""
        held: dict[str, int] = {}
        with duckdb.connect() as con:
            con.execute("set TimeZone = 'UTC'")
            names: list[set[str]] = []
            for mark, settings in (("one", self.settings), ("other", self.rebuilt)):
                con.execute(f"attach '{settings.warehouse}' as warehouse (read_only)")
                con.execute(f"create schema {mark}")
                found = con.execute(
                    "select schema_name, table_name from duckdb_tables() where database_name = 'warehouse' union all "
                    "select schema_name, view_name from duckdb_views() where database_name = 'warehouse' order by all"
                ).fetchall()
                names.append(set())
                for schema, table in found:
                    if schema in LAYERS and f"model.strata.{table}" not in OF_THE_BUILD:
                        con.execute(
                            f'create table {mark}."{schema}.{table}" as from warehouse.{schema}.{table}'
                        )
                        names[-1].add(f"{schema}.{table}")
                con.execute("detach warehouse")
            assert names[0] == names[1] and len(names[0]) > (100 if SOAK else 15)
            for name in sorted(names[0]):
                row = con.execute(
                    f'select count(*) from ((from one."{name}" except all from other."{name}") union all '
                    f'(from other."{name}" except all from one."{name}"))'
                ).fetchone()
                if row and row[0]:
                    held[name] = row[0]
        return held


@pytest.fixture
def home(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Home]:
    # Also where a full build would cost less.
    monkeypatch.setattr(base, "TOO_MUCH", 2)
    shop = Shop(settings.landing, seed=int(os.environ.get("STRATA_SEED", "1")))
    # Many people and orders, of whom a day touches few: whatever is left out of a day stays wrong to the end.
    shop.open(date(2026, 3, 28), days=500, people=400, orders=900)
    yield Home(settings, shop)
    shutil.rmtree(settings.home, ignore_errors=True)


def test_increments_equal_a_rebuild(home: Home) -> None:
    """No row differs in any table after several increments; with a soak, after each."""
    day = date(2026, 3, 29)
    home.take_in(day)
    assert str(home.build()).startswith("full build: the warehouse holds no complete build")
    seen: list[str] = []
    for n in range(3 + SOAK):
        # First over the beginning of a month: the refresh date moves, and with it what was in force on it, which touches
        # all; then the same day again, the next, or some days later.
        on = day + timedelta(days=(4, 0, 1, 1, 6, 1, 12)[n % 7])
        seen += home.shop.day(on - timedelta(days=1), 10)
        day = on
        home.take_in(day)
        way = home.build()
        assert way.increments, way.why
        touched, orders = home.touched()
        # Nothing is proven by an increment that computes everything.
        assert n == 0 or 0 < touched < orders / 4, (touched, orders)
        if n == 2 or SOAK:
            home.rebuild()
            assert home.differences() == {}, (n, day, seen[-35:])
    replayed, full = home.compiled()
    assert replayed == full
