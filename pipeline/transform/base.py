"""What the warehouse was built from, and whether today's build may go on from it (docs/decisions/021-incremental-core.md).

An increment is exact only on a warehouse that holds a complete build of something that is still there. The proof of that
is taken away before a build begins and written after its end, so that what a failed or killed build left is no base:
whatever is not proven is built in full.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import date
from importlib.metadata import version
from pathlib import Path

from pipeline.ingest import ledger
from pipeline.settings import Settings
from pipeline.transform.context import policy_refreshes, project_hash, refresh_date, reporting_currency
from pipeline.transform.receipt import identity

# An increment that touches most orders costs more than a build that replaces the tables: rows of deliveries that came,
# went or moved over the refresh date, as a share of the rows in force.
TOO_MUCH = 0.25
# Contract feeds whose rows an increment does not read again; of every other feed all rows are read each day.
FEEDS = ("orders", "order_lines")


@dataclass(frozen=True)
class Base:
    """A complete build: for which day, by which code and policy, of which raw files.

    made_by: what has to be the same for old and new rows to stand side by side: SQL, seeds, preset, currency, engine.
    warehouse: the file that the build left (size, time); another dbt run by hand would change it.
    raw: file of raw below `raw/` → size and time, of the feeds that are not read again.
    deliveries: everything that the ledger knew.
    in_force: deliveries whose rows counted, on D and on the refresh date; marked `D` and `R`.
    """

    as_of_date: str
    made_by: dict[str, str]
    warehouse: str
    raw: dict[str, str]
    deliveries: list[str]
    in_force: dict[str, str]


@dataclass(frozen=True)
class Way:
    """How a build computes the orders: those that changed since the build before, or all; and why."""

    increments: bool
    why: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.why}"

    @property
    def kind(self) -> str:
        return "increment" if self.increments else "full build"


def _path(settings: Settings) -> Path:
    return settings.build / "base.json"


def invalidate(settings: Settings) -> None:
    _path(settings).unlink(missing_ok=True)


def _made_by(settings: Settings, as_of: date, entries: Iterable[ledger.Entry]) -> dict[str, str]:
    return {
        "SQL and policy": project_hash(),
        "policy preset": settings.policy_preset or "none",
        "reporting currency": reporting_currency(settings, ledger.in_force(entries, as_of)),
        "engine": " ".join(f"{p} {version(p)}" for p in ("duckdb", "dbt-core", "dbt-duckdb")),
    }


def _raw(settings: Settings) -> dict[str, str]:
    files = (path for feed in FEEDS for path in settings.raw.glob(f"[!_]*/{feed}/*/*/*.parquet"))
    return {str(path.relative_to(settings.raw)): identity(path) for path in sorted(files)}


def _in_force(entries: Iterable[ledger.Entry], as_of: date) -> dict[str, str]:
    marks: dict[str, str] = {}
    for mark, day in (("D", as_of), ("R", refresh_date(as_of, policy_refreshes()))):
        for entry in ledger.in_force(entries, day):
            marks[entry.delivery] = marks.get(entry.delivery, "") + mark
    return marks


def look(settings: Settings, as_of: date) -> Base:
    """What a build for `as_of` that begins now is made from; its `warehouse` is that of the build before."""
    entries = ledger.read(settings)
    return Base(
        as_of.isoformat(),
        _made_by(settings, as_of, entries),
        identity(settings.warehouse),
        _raw(settings),
        sorted({entry.delivery for entry in entries}),
        _in_force(entries, as_of),
    )


def write(settings: Settings, made_from: Base) -> None:
    """Prove the build that has just ended, in one rename. `made_from` was taken before it began."""
    base = Base(**{**asdict(made_from), "warehouse": identity(settings.warehouse)})
    temporary = _path(settings).with_suffix(".tmp")
    temporary.write_text(json.dumps(asdict(base), ensure_ascii=False, indent=1))
    temporary.replace(_path(settings))


def choose(settings: Settings, now: Base) -> Way:
    """Whether a build of `now` may go on from the warehouse: only where nothing but deliveries and the day differ."""
    try:
        base = Base(**json.loads(_path(settings).read_text()))
    except FileNotFoundError:
        return Way(False, "the warehouse holds no complete build")
    except (ValueError, TypeError):
        return Way(False, "what the warehouse was built from cannot be read")
    if base.warehouse != now.warehouse:
        return Way(False, "the warehouse was changed or removed since its build")
    for what, value in now.made_by.items():
        if base.made_by.get(what) != value:
            return Way(False, f"{what} changed since the build before")
    if now.as_of_date < base.as_of_date:
        return Way(False, f"the build before was for {base.as_of_date}, a later day")
    for file, seen in base.raw.items():
        if now.raw.get(file) != seen:
            return Way(False, f"raw/{file} is {'another' if file in now.raw else 'no longer there'}")
    known = set(base.deliveries)
    for file in sorted(now.raw.keys() - base.raw.keys()):
        if known & _deliveries_of(file):
            return Way(False, f"raw/{file} has come back: its delivery was known before")
    share = _share_changed(settings, base.in_force, now.in_force)
    if share > TOO_MUCH:
        return Way(False, f"{share:.0%} of the rows changed since the build for {base.as_of_date}")
    return Way(True, f"only what changed since the build for {base.as_of_date}")


def _share_changed(settings: Settings, before: Mapping[str, str], now: Mapping[str, str]) -> float:
    rows = {entry.delivery: entry.rows_loaded for entry in ledger.read(settings)}
    changed = {d for d in before.keys() | now.keys() if before.get(d) != now.get(d)}
    of_all = sum(rows.get(d, 0) for d in now)
    return sum(rows.get(d, 0) for d in changed) / of_all if of_all else 0.0


def _deliveries_of(file: str) -> set[str]:
    """The deliveries that a raw file may hold, by its name (see pipeline/ingest/writing.py)."""
    source, target, _, rev, name = Path(file).parts
    stem = name.removesuffix(".parquet")
    feed, _, rest = stem.partition(".")
    return {f"{source}/{target}/{stem}/{rev}", f"{source}/{feed}/{rest}/{rev}"}


def save_way(settings: Settings, run_id: str, way: Way) -> None:
    """Note for the run's answer which way its build went."""
    (settings.build / "way.json").write_text(json.dumps({"run_id": run_id, "way": way.kind, "why": way.why}))


def saved_way(settings: Settings, run_id: str) -> dict[str, str] | None:
    """`way` and `why` of the build of one run; None where it came to none."""
    path = settings.build / "way.json"
    noted = json.loads(path.read_text()) if path.exists() else {}
    return {k: noted[k] for k in ("way", "why")} if noted.get("run_id") == run_id else None
