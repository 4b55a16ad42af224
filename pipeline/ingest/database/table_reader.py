"""One table of a PostgreSQL database → its deliveries below landing."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import StrataError
from pipeline.ingest.contracts import Contract, Source, Table, delivered_contract
from pipeline.ingest.database.table_files import DayFiles, DurableFile, KnownRows, digest, seen_schema
from pipeline.ingest.files import sha256
from pipeline.ingest.ledger import Entry
from pipeline.ingest.reading.reader import FileRejected, resolve_header
from pipeline.ingest.vault import Vault
from pipeline.ingest.vault.keys import hkdf
from pipeline.settings import Settings

if TYPE_CHECKING:
    import psycopg
    from psycopg import sql

_FETCH_ROWS = 5_000
_TOLD_ROWS = 1_000_000
_DAY_MINUTES = 24 * 60
# Days of digests that stand by for a delivery that was refused and is read again.
_KEPT_DAYS = 7
_DAY_FILE = re.compile(r"(\d{4}-\d{2}-\d{2})\.parquet")
_FULL_FILE = re.compile(r"(\d{4}-\d{2}-\d{2})\.full\.parquet")
_CURSOR_TYPES = ("timestamptz", "timestamp", "date")
# An earlier cursor is a placeholder, as in the reject code before_2000: it puts no row into a day.
_FIRST_DAY = date(2000, 1, 1)

Log = Callable[[str], None]


@dataclass(frozen=True)
class Reading:
    """What one table gave. `reached` is the day up to whose end it has been read; None for a table read whole."""

    source: str
    feed: str
    rows: int
    files: int
    reached: date | None


def zone_of(settings: Settings, source: Source) -> ZoneInfo:
    """The zone whose days are the source's business days."""
    return ZoneInfo(source.zone or settings.timezone)


class TableReader:
    """Reads one table for the days before `as_of`."""

    def __init__(
        self,
        settings: Settings,
        source: Source,
        feed: str,
        table: Table,
        entries: Iterable[Entry],
        as_of: date,
        log: Log,
    ) -> None:
        self.settings, self.source, self.feed, self.table = settings, source, feed, table
        self.as_of, self.log = as_of, log
        self.folder = settings.landing / source.source / feed
        self.seen = settings.home / "seen" / source.source / feed
        self.name = f"{source.source}/{feed}"
        self.shown = ".".join(table.name)
        contract = delivered_contract(source, feed)
        assert contract is not None
        self.contract: Contract = contract
        last = {e.stem: e for e in entries if e.source == source.source and e.feed == feed}
        self._taken = {e.file.rsplit("/", 1)[1]: e for e in last.values() if e.status != "rejected"}
        present = {path.name for path in self.folder.glob("*.parquet")}
        self.files = present | set(self._taken)
        self.covered = {date.fromisoformat(m[1]) for name in self.files if (m := _DAY_FILE.fullmatch(name))}
        self.columns: tuple[str, ...] = ()
        self._others: tuple[str, ...] = ()
        self._kinds: dict[str, str] = {}
        self._rows = 0

    def is_due(self) -> bool:
        """False where every day before `as_of` has been read, so that nothing need be asked of the server."""
        if self.table.full:
            return self.as_of >= datetime.now(zone_of(self.settings, self.source)).date()
        return not self.covered or bool(self._missing(self.as_of))

    def _missing(self, before: date) -> list[date]:
        first = min(self.covered)
        days = [first + timedelta(n) for n in range((before - first).days)]
        return [day for day in days if day not in self.covered]

    @cached_property
    def key(self) -> bytes:
        return hkdf(Vault(self.settings).minting_key, "strata seen rows v1")

    def schema(self, day: str) -> pa.Schema:
        """Every column is text. Feed and day stand in the file: equal rows of two of them are two deliveries."""
        fields = [(name, pa.string()) for name in (*self.columns, *self._others)]
        return pa.schema(fields).with_metadata(
            {"strata.feed": self.name, "strata.table": self.shown, "strata.day": day}
        )

    def read(self, con: "psycopg.Connection") -> Reading:
        """Deliver what is due; one line says what came."""
        self._describe(con)
        return self._read_whole(con) if self.table.full else self._read_days(con, self._due_days(con))

    def read_again(self, con: "psycopg.Connection", day: date) -> Reading:
        """Deliver a day as it stands in the table now. Raises StrataError where it was never delivered."""
        if day not in self.covered:
            raise StrataError(f"{self.name}: {day} has not been read yet: `strata run` reads it")
        self._describe(con)
        self.covered.discard(day)
        return self._read_days(con, [day])

    # -- what the table looks like

    def _describe(self, con: "psycopg.Connection") -> None:
        """Match the table's columns with the contract's. What the contract does not know stays in the database."""
        from psycopg import sql

        if self.folder.is_symlink() or self.folder.parent.is_symlink():
            raise StrataError(
                f"{self.folder} is a link: what is read from a database is delivered inside landing"
            )
        for left in self.folder.glob(".*.tmp"):
            left.unlink()
        found = con.execute(
            "select a.attname, coalesce(base.typname, t.typname), a.attnotnull, "
            "has_column_privilege(a.attrelid, a.attnum, 'select') "
            "from pg_attribute a join pg_type t on t.oid = a.atttypid "
            "left join pg_type base on t.typtype = 'd' and base.oid = t.typbasetype "
            "where a.attrelid = to_regclass(%s) and a.attnum > 0 and not a.attisdropped order by a.attnum",
            [sql.Identifier(*self.table.name).as_string(con)],
        ).fetchall()
        if not found:
            raise StrataError(
                f"{self.name}: the database has no table {self.shown}, or its reader may not see it"
            )
        hidden = [name for name, _, _, readable in found if not readable]
        if len(hidden) == len(found):
            raise StrataError(
                f"{self.name}: no permission to read {self.shown}: grant select on it to the reader"
            )
        self._kinds = {name: kind for name, kind, _, readable in found if readable}
        may_not = f"; no permission to read {', '.join(hidden)}" if hidden else ""
        checked = {name for name, column in self.contract.columns.items() if column.same_as}
        try:
            resolved, _ = resolve_header(list(self._kinds), self.contract)
        except FileRejected as rejected:
            raise StrataError(f"{self.name}: {self.shown}: {rejected.detail}{may_not}") from None
        named = dict(zip(self._kinds, resolved, strict=True))
        # A column `source` is the shop's own word for something else: the folder already says where the rows are from.
        self.columns = tuple(name for name, column in named.items() if column and column not in checked)
        # Named in the delivery, without values, so that the ledger tells them. The cursor is known, and one name is the
        # loader's own.
        told = {self.table.cursor, "file_row_number", *self.columns}
        self._others = tuple(name for name in self._kinds if name not in told)
        self._events = [name for name in self.columns if self.contract.columns[named[name] or ""].event]
        if self.table.cursor is None:
            return
        cursor = self.table.cursor
        if cursor not in self._kinds:
            raise StrataError(
                f"{self.name}: {self.shown} has no column {cursor} to serve as cursor{may_not}; it has "
                f"{', '.join(self._kinds)}"
            )
        if self._kinds[cursor] not in _CURSOR_TYPES:
            raise StrataError(
                f"{self.name}: cursor {cursor} of {self.shown} is {self._kinds[cursor]}; a cursor is a time "
                f"({', '.join(_CURSOR_TYPES)}), because its day is the delivery that a row belongs to"
            )
        self._never_null = next(fixed for name, _, fixed, _ in found if name == cursor)

    def _text(self, name: str) -> "sql.Composed":
        """SQL of a column as text that the loader reads without loss."""
        from psycopg import sql

        forms = {
            # 12.3400000000000000 is 12.34; the server writes both.
            "numeric": "trim_scale({c})::text",
            "money": "({c})::numeric::text",
            "float4": "case when {c} in ('NaN', 'Infinity', '-Infinity') then {c}::text "
            "else trim_scale({c}::text::numeric)::text end",
            # +08 alone is no offset that a file may have.
            "timestamptz": r"regexp_replace({c}::text, '([+-]\d\d)$', '\1:00')",
        }
        forms["float8"] = forms["float4"]
        return sql.SQL(forms.get(self._kinds[name], "{c}::text")).format(c=_name(name))

    def _query(self, where: "sql.Composable", extra: Sequence["sql.Composable"]) -> "sql.Composed":
        """SELECT of the delivered columns and `extra`, in an order that is the same each time."""
        from psycopg import sql

        texts = [self._text(name) for name in self.columns]
        order: list[sql.Composable] = [sql.SQL(str(i + 1)) for i in range(len(texts))]
        if self.table.cursor:
            # With the table's name before it: alone it would be the text of the same name, which has no index.
            order.insert(0, sql.SQL("delivered.{}").format(_name(self.table.cursor)))
        return sql.SQL("select {} from {} as delivered where {} order by {}").format(
            sql.SQL(", ").join([*texts, *extra]), _name(*self.table.name), where, sql.SQL(", ").join(order)
        )

    def _fetch(
        self, con: "psycopg.Connection", query: "sql.Composed", values: Mapping[str, Any]
    ) -> Iterator[list[tuple[Any, ...]]]:
        """Batches of rows through a cursor of the server, so that memory does not grow with the table."""
        with con.cursor(name="strata_rows") as cursor:
            cursor.execute(query, values)
            while rows := cursor.fetchmany(_FETCH_ROWS):
                yield rows
                self._rows += len(rows)
                if self._rows % _TOLD_ROWS < len(rows):
                    self.log(f"{self.name}: {self._rows:,} rows read so far")

    # -- by cursor

    def _read_days(self, con: "psycopg.Connection", days: list[date]) -> Reading:
        written = 0
        for consecutive in _runs(days):
            written += self._write_days(con, consecutive)
        self._forget_old()
        reached = max((d for d in self.covered | set(days) if d < self.as_of), default=None)
        if days:
            span = f"{days[0]}" if len(days) == 1 else f"{len(days)} days ({days[0]} to {days[-1]})"
            self.log(f"{self.name}: {written:,} rows of {span} from {self.shown}")
        return Reading(self.source.source, self.feed, written, len(days), reached)

    def _due_days(self, con: "psycopg.Connection") -> list[date]:
        """Days that are over for `lag_minutes`, lie before D and have not been delivered."""
        before, today = con.execute(
            "select least(%s::date, (now() - make_interval(mins => %s))::date), now()::date",
            [self.as_of, self.table.lag_minutes],
        ).fetchone()  # type: ignore[misc]
        self._tell_future(con, today)
        if self.covered:
            return self._missing(before)
        first = self._one(
            con,
            "select min({c})::date from {t} where {c} >= %(first)s::date and {c} < %(before)s::date",
            {"first": max(self.table.since or _FIRST_DAY, _FIRST_DAY), "before": before},
        )
        # A table without rows is a delivery without rows, not a delivery that is missing.
        first = first or before - timedelta(1)
        return [first + timedelta(n) for n in range((before - first).days)]

    def _tell_future(self, con: "psycopg.Connection", today: date) -> None:
        n = self._one(
            con,
            "select count(*) from {t} where {c} >= %(after)s::date and {c} < 'infinity'",
            {"after": today + timedelta(2)},
        )
        if n:
            self.log(
                f"{self.name}: {n:,} rows of {self.shown} have a {self.table.cursor} that lies in the future: "
                "each is read when its day is over"
            )

    def _one(self, con: "psycopg.Connection", query: str, values: Mapping[str, Any]) -> Any:
        from psycopg import sql

        names = {"c": _name(self.table.cursor or ""), "t": _name(*self.table.name)}
        row = con.execute(sql.SQL(query).format(**names), values).fetchone()
        return row[0] if row else None

    def _write_days(self, con: "psycopg.Connection", days: list[date]) -> int:
        """Write the deliveries of consecutive days; number of rows. The last one also gets the rows without a day."""
        kept = self._kept_minutes(days[0] - timedelta(1))
        values = {
            "first": days[0],
            "end": days[-1] + timedelta(1),
            "overlap": self.table.overlap_minutes,
            "kept": kept,
            "placeholder": _FIRST_DAY,
        }
        part = self._parts()
        extra = [part["day"], part["met_again"]]
        total = 0
        current = self._open(days[0], kept)
        with KnownRows(self.seen, self._seen_before(days[0], kept)) as known:
            try:
                for rows in self._fetch(con, self._query(part["late"], extra), values) if kept else ():
                    fresh = [rows[i] for i in known.new(self._digests(rows))]
                    total += self._deliver(current, fresh)
                if total:
                    self.log(f"{self.name}: {total:,} rows were committed after their day had been read")
                for rows in self._fetch(con, self._query(part["window"], extra), values):
                    for of_day, own in groupby(rows, key=lambda row: row[-2]):
                        current = self._advance(current, of_day)
                        total += self._deliver(current, list(own))
                current = self._advance(current, days[-1])
                total += self._deliver_undated(
                    current, known, self._fetch(con, self._query(part["undated"], []), values)
                )
                current.commit()
            finally:
                current.discard()
        return total

    def _parts(self) -> "dict[str, sql.Composed]":
        """SQL over one row: its day, whether the next reading looks at it again, and the conditions of the queries.

        late: in the last minutes that were read before. window: in the days to read. undated: in no day at all.
        """
        from psycopg import sql

        kind = self._kinds[self.table.cursor or ""]
        names = {
            "c": _name(self.table.cursor or ""),
            "kind": sql.SQL(kind),
            "base": sql.SQL("timestamptz" if kind == "timestamptz" else "timestamp"),
        }
        parts = {
            "day": "{c}::date",
            "met_again": "{c} >= (({c}::date + 1)::{base} - make_interval(mins => %(overlap)s))::{kind}",
            "late": "{c} < %(first)s::date and "
            "{c} >= ((%(first)s::date)::{base} - make_interval(mins => %(kept)s))::{kind}",
            "window": "{c} >= %(first)s::date and {c} < %(end)s::date",
            "undated": "({c} < %(placeholder)s::date or {c} = 'infinity'"
            + (")" if self._never_null else " or {c} is null)"),
        }
        made = {name: sql.SQL(text).format(**names) for name, text in parts.items()}
        for event in self._events:
            if self._kinds[event] in _CURSOR_TYPES:
                # A row without a day waits until its moments lie in days that are over.
                past = "{} and ({e} is null or not isfinite({e}) or {e} < %(end)s::date)"
                made["undated"] = sql.SQL(past).format(made["undated"], e=_name(event))
        return made

    def _open(self, day: date, kept_before: int) -> DayFiles:
        kept = self._kept_after(kept_before)
        return DayFiles(self.folder, self.seen, day, self.schema(f"{day}"), len(self.columns), kept)

    def _digests(self, rows: Sequence[tuple[Any, ...]]) -> list[bytes]:
        width = len(self.columns)
        return [digest(self.key, row[:width]) for row in rows]

    def _deliver(self, current: DayFiles, rows: list[tuple[Any, ...]]) -> int:
        current.add(rows)
        current.note(self._digests([row for row in rows if row[-1]]))
        return len(rows)

    def _advance(self, current: DayFiles, day: date) -> DayFiles:
        """Close the deliveries before `day` and open its own."""
        while current.day < day:
            self._pass_on_undated(current)
            current.commit()
            self.covered.add(current.day)
            current = self._open(current.day + timedelta(1), current.kept)
        return current

    def _deliver_undated(
        self,
        current: DayFiles,
        known: KnownRows,
        undated: Iterable[list[tuple[Any, ...]]],
    ) -> int:
        """Rows that their cursor puts into no day come once, with the newest day."""
        n = 0
        for rows in undated:
            digests = self._digests(rows)
            fresh = known.new(digests)
            current.add([rows[i] for i in fresh])
            current.note(digests, undated=True)
            n += len(fresh)
        if n:
            self.log(
                f"{self.name}: {n:,} rows of {self.shown} have no {self.table.cursor}; they come with {current.day}, "
                "and later changes of them come again"
            )
        return n

    def _pass_on_undated(self, current: DayFiles) -> None:
        before = current.day - timedelta(1)
        path = self.seen / f"{before}.parquet"
        if before in self.covered and path.exists():
            for batch in pq.ParquetFile(path).iter_batches():
                rows = batch.to_pylist()
                current.note([row["digest"] for row in rows if row["undated"]], undated=True)

    # -- what was delivered before

    def _kept_after(self, minutes: int) -> int:
        """Minutes before the end of a day whose rows are known, given those before its beginning."""
        return min(self.table.overlap_minutes, minutes + _DAY_MINUTES)

    def _kept_minutes(self, day: date) -> int:
        """Minutes before the end of `day` whose delivered rows are known; 0 where the day was not delivered."""
        if day not in self.covered or not self.table.overlap_minutes:
            return 0
        seen, delivered = self.seen / f"{day}.parquet", self.folder / f"{day}.parquet"
        if not seen.exists():
            # A new home beside an old landing. Bytes that somebody else put there tell what they hold as well.
            if not delivered.exists() or set(self.columns) - set(pq.read_schema(delivered).names):
                self.log(
                    f"{self.name}: neither {seen} nor the delivery of {day} is there to tell what was read: rows that "
                    f"were committed late are not looked for before {day + timedelta(1)}"
                )
                return 0
            file = DurableFile(seen, seen_schema(self._kept_after(0)))
            for batch in pq.ParquetFile(delivered).iter_batches(columns=list(self.columns)):
                rows = list(zip(*(batch[name].to_pylist() for name in self.columns), strict=True))
                file.add([self._digests(rows), [False] * len(rows)], len(rows))
            file.close()
            file.stand()
        known = int((pq.read_schema(seen).metadata or {}).get(b"kept_minutes", b"0"))
        return min(known, self.table.overlap_minutes)

    def _seen_before(self, day: date, minutes: int) -> list[Path]:
        """Digests of what was delivered for the `minutes` before `day`, and of the rows without a day."""
        first = day - timedelta(max(1, -(-minutes // _DAY_MINUTES)))
        return [path for path in self._seen_files() if first <= date.fromisoformat(path.stem) < day]

    def _seen_files(self) -> list[Path]:
        files = (path for path in self.seen.glob("*.parquet") if not path.name.startswith("."))
        return sorted(path for path in files if date.fromisoformat(path.stem) in self.covered)

    def _forget_old(self) -> None:
        days = timedelta(minutes=self.table.overlap_minutes) + timedelta(_KEPT_DAYS)
        files = self._seen_files()
        for path in files:
            if date.fromisoformat(path.stem) < date.fromisoformat(files[-1].stem) - days:
                path.unlink()

    # -- whole

    def _read_whole(self, con: "psycopg.Connection") -> Reading:
        """Deliver the table as it stands. It is one delivery that is restated, so that a deleted row is gone."""
        from psycopg import sql

        name = min((n for n in self.files if _FULL_FILE.fullmatch(n)), default=None)
        name = name or f"{self.as_of - timedelta(1)}.full.parquet"
        file = DurableFile(self.folder / name, self.schema("full"))
        try:
            for rows in self._fetch(con, self._query(sql.SQL("true"), []), {}):
                file.add(list(zip(*rows, strict=True)), len(rows))
            file.close()
            taken = self._taken.get(name)
            before = sha256(file.path) if file.path.exists() else taken.sha256 if taken else None
            changed = sha256(file.temporary) != before
            if changed:
                file.stand()
        finally:
            file.discard()
        if changed:
            self.log(f"{self.name}: {file.rows:,} rows, the whole of {self.shown}")
        return Reading(self.source.source, self.feed, file.rows if changed else 0, int(changed), None)


def _name(*parts: str) -> "sql.Identifier":
    """A quoted name in a query with parameters, in which a percent sign is written twice."""
    from psycopg import sql

    return sql.Identifier(*(part.replace("%", "%%") for part in parts))


def _runs(days: Iterable[date]) -> list[list[date]]:
    """Consecutive days together."""
    runs: list[list[date]] = []
    for day in days:
        if runs and day - runs[-1][-1] == timedelta(1):
            runs[-1].append(day)
        else:
            runs.append([day])
    return runs
