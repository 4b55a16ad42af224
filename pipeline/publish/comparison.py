"""What differs between two releases: rows by table, and who moved from which class to which."""

from dataclasses import dataclass
from typing import Any

from pipeline import duck
from pipeline.duck import literal, quote
from pipeline.publish import shelf
from pipeline.settings import Settings


@dataclass(frozen=True)
class TableDiff:
    """One table: its rows in each release (None where it is not in one), rows that only one of them has, columns."""

    table: str
    rows_before: int | None
    rows_after: int | None
    only_before: int
    only_after: int
    columns_added: tuple[str, ...] = ()
    columns_removed: tuple[str, ...] = ()

    @property
    def is_same(self) -> bool:
        changed = self.columns_added or self.columns_removed or self.only_before or self.only_after
        return not changed and self.rows_before == self.rows_after


@dataclass(frozen=True)
class Move:
    """Customers who left one class for another between two releases; None is: not in the table."""

    table: str
    before: str | None
    after: str | None
    customers: int


@dataclass(frozen=True)
class Comparison:
    """`before` and `after` are release ids; `moves` are sorted by table and size."""

    before: str
    after: str
    tables: tuple[TableDiff, ...]
    moves: tuple[Move, ...]


def compare(settings: Settings, before: str, after: str) -> Comparison:
    """Compare two releases by their files. Raises StrataError where one is not there."""
    manifests = [shelf.load_manifest(settings, name) for name in (before, after)]
    folders = [settings.releases / name for name in (before, after)]
    con = duck.connect(folders, spill=settings.build / ".spill")
    try:
        keys = sorted({key for manifest in manifests for key in manifest["tables"]})
        tables = tuple(_table(con, settings, (before, after), manifests, key) for key in keys)
        both = manifests[0]["tables"].keys() & manifests[1]["tables"].keys()
        moves = [
            move
            for key in sorted(both)
            for column in _classes(manifests, key)
            for move in _moves(con, settings, (before, after), key, column)
        ]
    finally:
        con.close()
    return Comparison(before, after, tables, tuple(moves))


def _classes(manifests: list[Any], key: str) -> list[str]:
    """Columns of a table that hold a class in both releases."""
    before, after = (set(manifest["tables"][key].get("schemes", {}).values()) for manifest in manifests)
    return sorted(before & after)


def _rows(settings: Settings, name: str, key: str) -> str:
    schema, table = key.split(".")
    path = settings.releases / name / "tables" / schema / f"{table}.parquet"
    return f"read_parquet({literal(str(path))}, hive_partitioning = false)"


def _table(con: Any, settings: Settings, names: tuple[str, str], manifests: list[Any], key: str) -> TableDiff:
    stated = [manifest["tables"].get(key) for manifest in manifests]
    counts = [table["rows"] if table else None for table in stated]
    if stated[0] is None or stated[1] is None:
        return TableDiff(key, counts[0], counts[1], counts[0] or 0, counts[1] or 0)
    columns = [table["columns"] for table in stated]
    shared = ", ".join(quote(name) for name in columns[0] if name in columns[1])
    only = [0, 0]
    if stated[0]["sha256"] != stated[1]["sha256"] and shared:
        one, other = (_rows(settings, name, key) for name in names)
        for i, (a, b) in enumerate(((one, other), (other, one))):
            sql = f"select count(*) from (select {shared} from {a} except all select {shared} from {b})"
            only[i] = con.execute(sql).fetchone()[0]
    return TableDiff(
        key,
        counts[0],
        counts[1],
        only[0],
        only[1],
        tuple(name for name in columns[1] if name not in columns[0]),
        tuple(name for name in columns[0] if name not in columns[1]),
    )


def _moves(con: Any, settings: Settings, names: tuple[str, str], key: str, column: str) -> list[Move]:
    one, other = (
        f"(select customer_key, {quote(column)} as class from {_rows(settings, name, key)})" for name in names
    )
    found = con.execute(
        f"select b.class, a.class, count(*) as n from {one} as b full join {other} as a using (customer_key) "
        "where b.class is distinct from a.class group by 1, 2 order by n desc, 1, 2"
    ).fetchall()
    return [Move(key, before, after, n) for before, after, n in found]


def told(found: Comparison) -> str:
    """The comparison as lines for a person."""
    lines = [f"{found.before} → {found.after}"]
    for t in found.tables:
        if t.is_same:
            continue
        count = f"{_number(t.rows_before)} → {_number(t.rows_after)} rows"
        columns = [f"+{name}" for name in t.columns_added] + [f"-{name}" for name in t.columns_removed]
        lines.append(
            f"  {t.table:<32} {count:<28} -{t.only_before:,} +{t.only_after:,}"
            + (f"  columns {' '.join(columns)}" if columns else "")
        )
    same = sum(t.is_same for t in found.tables)
    lines.append(f"  {same} of {len(found.tables)} tables are the same")
    if found.moves:
        lines.append("class changes")
        lines += [
            f"  {m.table:<32} {m.before or '–':<20} → {m.after or '–':<20} {m.customers:>9,}"
            for m in found.moves
        ]
    return "\n".join(lines)


def _number(n: int | None) -> str:
    return "–" if n is None else f"{n:,}"
