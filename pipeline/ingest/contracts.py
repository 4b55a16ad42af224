"""Contracts of the feeds and declarations of the sources, read from YAML and validated on load.

A contract says what a feed means (columns, types, keys); a source declaration says how one source system
delivers it (zone, currency, encoding, cadence). An unknown key in either, and a rule that cannot be meant, is an error
that names file and line.
"""

import codecs
import math
import unicodedata
from collections.abc import Mapping
from datetime import date
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import duckdb
import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from pipeline import duck, settings
from pipeline.errors import StrataError

SQL_TYPES: dict[str, str] = {
    "s": "VARCHAR",
    "i": "BIGINT",
    "d": "DATE",
    "ts": "TIMESTAMP",
    "m": "DECIMAL(18,4)",
    "q": "DECIMAL(18,3)",
    "r": "DECIMAL(9,6)",
    "x": "DECIMAL(18,8)",
    "b": "BOOLEAN",
    "j": "VARCHAR",
}
"""Type letter of domain.md §4 → column type in raw. Timestamps are UTC without zone."""

EXACT_DECIMALS = {"m": 4, "q": 3}
"""Decimals of the types that are not rounded in silence: money and quantities add up to what the source says they are.

A rate or an exchange rate of endless digits is rounded, as everybody's is.
"""


NULL_VALUES = ("", "NULL", "null", r"\N")
"""Spellings of null where a contract declares none. An empty field is one of them, so a feed in which empty text is
an answer declares its list without it."""

UNITS = (
    "currency",
    "fraction",
    "factor",
    "count",
    "pieces",
    "people",
    "points",
    "score",
    "rank",
    "ordinal",
    "seconds",
    "minutes",
    "days",
    "year",
    "square_metres",
    "kilometres",
    "by_metric",
)
"""What a number can measure. `currency` is the row's `currency` column, else the currency that the source declares;
`by_metric` is the unit of the metric that the row names."""

_NUMBERS = ("i", "m", "q", "r", "x")
_TEXT = ("s", "j")


class _Nonsense(ValueError):
    """A rule that cannot be meant. `path` leads from the model that raises it to the key to mend."""

    def __init__(self, path: tuple[str | int, ...], message: str) -> None:
        super().__init__(message)
        self.path = path


def _known_encoding(value: str | None) -> str | None:
    try:
        codecs.lookup(value or "utf-8")
    except LookupError as error:
        raise ValueError(f"{value!r} is no encoding that Python knows, such as utf-8 or gb18030") from error
    return value


def _one_character(value: str | None) -> str | None:
    if value is not None and (len(value) != 1 or value.isalnum() or value in '"\r\n'):
        raise ValueError(f"a delimiter is one character such as ',' or ';', not {value!r}")
    return value


def _quote(value: str | None) -> str | None:
    if value is not None and (len(value) > 1 or not value.isascii() or value.isalnum() or value.isspace()):
        raise ValueError(f"a quote is one character such as '\"', or empty for none, not {value!r}")
    return value


def _spellings(values: tuple[str, ...] | None) -> tuple[str, ...] | None:
    for i, value in enumerate(values or ()):
        if value != value.strip():
            raise _Nonsense((i,), f"{value!r} is never met: values are trimmed before they are compared")
        if value in (values or ())[:i]:
            raise _Nonsense((i,), f"{value!r} stands twice")
    return values


_Encoding = Annotated[str, AfterValidator(_known_encoding)]
_Delimiter = Annotated[str, AfterValidator(_one_character)]
_Quote = Annotated[str, AfterValidator(_quote)]
_Spellings = Annotated[tuple[str, ...], AfterValidator(_spellings)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Column(_Strict):
    """One column of a feed.

    `min`/`max` are inclusive; `event` marks a moment that has already happened; `null_values` replaces the feed's
    spellings of null for this column; `otherwise` is the one of `values` that a blank or unknown value stands for.
    """

    type: Literal["s", "i", "d", "ts", "m", "q", "r", "x", "b", "j"]
    required: bool = False
    unit: Literal[UNITS] | None = None  # type: ignore[valid-type]
    pii: Literal["name", "phone", "email", "address", "id", "birth_date", "text"] | None = None
    values: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    null_values: _Spellings | None = None
    otherwise: str | None = None
    min: float | None = None
    max: float | None = None
    event: bool = False
    ref: Literal["customer"] | None = None
    same_as: Literal["source"] | None = None
    description: str = ""

    @model_validator(mode="after")
    def _can_be_meant(self) -> Self:
        kind = self.type
        if self.pii and kind != ("d" if self.pii == "birth_date" else "s"):
            wanted = "a date (d)" if self.pii == "birth_date" else "text (s)"
            raise _Nonsense(("pii",), f"pii: {self.pii} is for {wanted}, not for type {kind}")
        for key, types in (
            ("values", ("s",)),
            ("unit", _NUMBERS),
            ("min", _NUMBERS),
            ("max", _NUMBERS),
            ("event", ("d", "ts")),
            ("ref", ("s",)),
            ("same_as", ("s",)),
        ):
            if getattr(self, key) not in (None, (), False) and kind not in types:
                raise _Nonsense((key,), f"{key} is for type {', '.join(types)}, not for {kind}")
        if self.pii and self.values:
            raise _Nonsense(("values",), "a personal column has no list of values")
        for i, value in enumerate(self.values):
            if value in self.values[:i] or not value.strip():
                raise _Nonsense(("values", i), f"value {value!r} stands twice or is blank")
            if value in (self.null_values or ()):
                raise _Nonsense(("values", i), f"{value!r} is a spelling of null as well")
        if self.otherwise is not None and self.otherwise not in self.values:
            raise _Nonsense(("otherwise",), f"{self.otherwise!r} is not one of the values")
        for key in ("min", "max"):
            if not math.isfinite(getattr(self, key) or 0):
                raise _Nonsense((key,), f"{key} must be a finite number")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise _Nonsense(("min",), f"min {self.min:g} is greater than max {self.max:g}")
        return self


class RowRule(_Strict):
    """A rule over several columns. `reject_when` is SQL over the typed columns of one row."""

    code: str
    description: str
    reject_when: str


class Freshness(_Strict):
    """The newest delivery may be at most `days` business days older than D."""

    days: int = Field(ge=1)
    level: Literal["block", "warn"]


class Volume(_Strict):
    """Rows that one source is expected to deliver per `per`; a `day` is a trading day of the source.

    A day is also compared with the same weekday of eight weeks; `delivery` is for what comes when it changes.
    """

    per: Literal["day", "month", "delivery"]
    min_rows: int = Field(default=0, ge=0)
    max_rows: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _can_be_meant(self) -> Self:
        if self.max_rows is not None and self.min_rows > self.max_rows:
            raise _Nonsense(
                ("min_rows",), f"min_rows {self.min_rows} is greater than max_rows {self.max_rows}"
            )
        return self


def header_name(text: str) -> str:
    """The form in which header cells and names of columns are compared: `Order-ID`, `order id` and `order_id` are one."""
    words = unicodedata.normalize("NFKC", text).casefold().replace("-", " ").split()
    return "_".join(words)


def _check_columns(columns: Mapping[str, Column]) -> None:
    """Raises _Nonsense where two columns answer to one name, in a header or in raw."""
    if not columns:
        raise _Nonsense(("columns",), "a feed has at least one column")
    owner: dict[str, str] = {}
    stored: dict[str, str] = {}
    for name, column in columns.items():
        if name.startswith("_"):
            raise _Nonsense(("columns", name), f"column {name!r}: names that begin with _ are Strata's own")
        for i, spelling in enumerate((name, *column.aliases)):
            where = ("columns", name, "aliases", i - 1) if i else ("columns", name)
            if not header_name(spelling):
                raise _Nonsense(where, "a name of a column is not blank")
            other = owner.setdefault(header_name(spelling), name)
            if other != name or (
                i and header_name(spelling) in map(header_name, (name, *column.aliases[: i - 1]))
            ):
                raise _Nonsense(where, f"the name {spelling!r} stands twice, for {other} and for {name}")
        for made in _stored_types(name, column):
            if (other := stored.setdefault(made, name)) != name:
                raise _Nonsense(("columns", name), f"columns {other} and {name} would both be {made} in raw")


def _stored_types(name: str, column: Column) -> dict[str, str]:
    """Column name → SQL type of what one contract column becomes in raw."""
    if column.same_as:
        return {}
    if column.pii == "birth_date":
        return {"birth_year": "BIGINT", "birth_month_day": "VARCHAR", "birth_date_is_placeholder": "BOOLEAN"}
    if column.pii == "text":
        return {f"{name}_token": "VARCHAR", f"{name}_masked": "VARCHAR"}
    if column.pii:
        return {f"{name}_token": "VARCHAR"}
    if column.type == "ts":
        return {name: SQL_TYPES["ts"], f"{name}_offset_minutes": "SMALLINT"}
    return {name: SQL_TYPES[column.type]}


class Contract(_Strict):
    """One feed: its columns and what makes a row of it good.

    Attributes:
        key: what makes a row the same row. A feed without one names in `document` the columns that make one
            delivered document: its repeated lines count, the same document again is a duplicate.
        encoding, delimiter, quote, skip_lines (above the header), null_values: how the feed is written, unless a source's own declaration says otherwise.
        retention_days: personal rows are due for removal so many days after the person's last activity.
    """

    feed: str
    id: str
    description: str
    key: tuple[str, ...]
    document: tuple[str, ...] = ()
    latest_by: str | None = None
    cadence: Literal["daily", "occasional"]
    freshness: Freshness | None = None
    volume: Volume | None = None
    retention_days: int | None = Field(default=None, ge=1)
    encoding: _Encoding = "utf-8"
    delimiter: _Delimiter = ","
    quote: _Quote = '"'
    skip_lines: int = Field(default=0, ge=0, le=100)
    null_values: _Spellings = NULL_VALUES
    columns: dict[str, Column]
    row_rules: tuple[RowRule, ...] = ()
    domain: str = ""

    @model_validator(mode="after")
    def _can_be_meant(self) -> Self:
        _check_columns(self.columns)
        named: list[tuple[tuple[str | int, ...], str]] = [
            (("key", i), name) for i, name in enumerate(self.key)
        ]
        named += [(("document", i), name) for i, name in enumerate(self.document)]
        named += [(("latest_by",), self.latest_by)] if self.latest_by else []
        for path, name in named:
            if name not in self.columns:
                raise _Nonsense(path, f"column {name!r} is not declared")
            if self.columns[name].same_as:
                raise _Nonsense(path, f"column {name!r} is only checked (same_as) and not kept in raw")
            if self.columns[name].pii:
                raise _Nonsense(path, f"column {name!r} is personal: raw holds its token only")
        for key in ("key", "document"):
            for i, name in enumerate(names := getattr(self, key)):
                if name in names[:i]:
                    raise _Nonsense((key, i), f"column {name!r} stands twice")
        if self.key and self.document:
            raise _Nonsense(("document",), "a feed with a key has no document")
        if self.latest_by and self.columns[self.latest_by].type not in ("d", "ts", "i"):
            raise _Nonsense(("latest_by",), f"column {self.latest_by!r} is no time and no number")
        for name, column in self.columns.items():
            for i, value in enumerate(column.values):
                if value in self.nulls_of(name):
                    raise _Nonsense(
                        ("columns", name, "values", i), f"{value!r} is a spelling of null as well"
                    )
        for i, rule in enumerate(self.row_rules):
            _check_condition(self.stored, rule.reject_when, ("row_rules", i, "reject_when"))
        return self

    @property
    def stored(self) -> dict[str, Column]:
        """The columns that reach raw; `same_as: source` repeats the folder's name and is only checked."""
        return {name: column for name, column in self.columns.items() if not column.same_as}

    def nulls_of(self, name: str) -> tuple[str, ...]:
        """Spellings of null in one column.

        Empty text can be an answer only where a column is optional free text: elsewhere an empty field is null, whatever
        is declared.
        """
        column = self.columns[name]
        declared = self.null_values if column.null_values is None else column.null_values
        answers = column.type in _TEXT and column.pii in (None, "text") and not (column.values or column.ref)
        if "" in declared or (answers and not column.required and name not in (*self.key, *self.document)):
            return declared
        return ("", *declared)

    def raw_schema(self) -> dict[str, str]:
        """Column name → SQL type of the feed's Parquet files in raw, in file order."""
        schema: dict[str, str] = {}
        for name, column in self.stored.items():
            schema |= _stored_types(name, column)
        return schema | {"_delivery": "VARCHAR", "_row": "BIGINT"}


def _check_condition(columns: Mapping[str, Column], condition: str, path: tuple[str | int, ...]) -> None:
    """Raises _Nonsense where the SQL is no condition over one row of the columns."""
    typed = ", ".join(f'cast(null as {SQL_TYPES[c.type]}) as "{name}"' for name, c in columns.items())
    try:
        kind = _sql().sql(f"select ({condition}) as broken from (select {typed})").types[0]
    except duckdb.Error as error:
        raise _Nonsense(path, f"no condition over this feed: {str(error).splitlines()[0]}") from error
    if kind != "BOOLEAN":
        raise _Nonsense(path, f"a condition is true or false, not {kind}")


@cache
def _sql() -> duckdb.DuckDBPyConnection:
    """One empty database that rules are bound against."""
    return duck.connect([])


class LeftOut(_Strict):
    """Records of a mapped feed that its mapping does not take, such as voided receipts; they are counted as rejects."""

    when: str
    why: str


class DeliveredFeed(_Strict):
    """How one source delivers one feed: what it leaves out is as the contract says.

    The keys from `columns` on are for a mapped feed. `one_to_many` names the targets of which one record may make
    several rows; `left_out` the records that make none.
    """

    encoding: _Encoding | None = None
    delimiter: _Delimiter | None = None
    quote: _Quote | None = None
    skip_lines: int | None = Field(default=None, ge=0, le=100)
    null_values: _Spellings | None = None
    cadence: Literal["daily", "occasional"] | None = None
    description: str = ""
    columns: dict[str, Column] = Field(default_factory=dict)
    document: tuple[str, ...] = ()
    maps_to: tuple[str, ...] = ()
    one_to_many: tuple[str, ...] = ()
    left_out: tuple[LeftOut, ...] = ()

    @property
    def dialect(self) -> dict[str, Any]:
        """What the source declares of encoding, dialect and null spellings."""
        said = {
            key: getattr(self, key) for key in ("encoding", "delimiter", "quote", "skip_lines", "null_values")
        }
        return {key: value for key, value in said.items() if value is not None}

    @model_validator(mode="after")
    def _can_be_meant(self) -> Self:
        if not self.maps_to:
            for key in ("columns", "document", "one_to_many", "left_out"):
                if getattr(self, key):
                    raise _Nonsense((key,), f"{key} without maps_to: a feed with a contract has its columns")
            return self
        _check_columns(self.columns)
        for i, name in enumerate(self.document):
            if name not in self.columns:
                raise _Nonsense(("document", i), f"column {name!r} is not declared")
        for i, name in enumerate(self.one_to_many):
            if name not in self.maps_to:
                raise _Nonsense(("one_to_many", i), f"{name!r} is not one of maps_to")
        for i, rule in enumerate(self.left_out):
            _check_condition(self.columns, rule.when, ("left_out", i, "when"))
        return self


class Table(_Strict):
    """One table of a database and how it is read.

    Attributes:
        table: its name, `schema.table`, or [schema, table] where a name holds a dot.
        cursor: the column with the time of a row's last change; each business day of it becomes one delivery.
        full: deliver the whole table anew instead; for small master data without such a column.
        since: rows whose cursor lies before this day are left out.
        lag_minutes: a day is read when it has been over for so long.
        overlap_minutes: so much of what was read before is looked at again, for transactions that commit late.
    """

    table: str | tuple[str, str]
    cursor: str | None = None
    full: bool = False
    since: date | None = None
    lag_minutes: int = Field(default=5, ge=0)
    overlap_minutes: int = Field(default=60, ge=0, le=31 * 24 * 60)

    @model_validator(mode="after")
    def _can_be_meant(self) -> Self:
        if self.full == bool(self.cursor):
            raise _Nonsense(
                ("table",), "say either cursor: <column with the time of the last change> or full: true"
            )
        if not all(self.name) or len(self.name) > 2:
            raise _Nonsense(
                ("table",), f"{self.table!r} is no name such as public.orders or [public, orders]"
            )
        return self

    @property
    def name(self) -> tuple[str, ...]:
        """Schema and table, or the table alone."""
        return self.table if isinstance(self.table, tuple) else tuple(self.table.split("."))


class Database(_Strict):
    """A PostgreSQL database that a source's feeds are read from. The address is in the environment, not in a file."""

    url_env: str = Field(pattern=r"^[A-Z][A-Z0-9_]*$")
    timeout_seconds: int = Field(default=600, ge=1)
    tables: dict[str, Table]


class Source(_Strict):
    """One source system.

    `closed_weekdays` (0 = Monday) and `closed_dates` are days without a delivery. `customer_ids_of` names the source
    whose customer ids this one uses, such as the card numbers that a till reads and the CRM gives out.
    """

    source: str
    description: str = ""
    zone: str | None = None
    currency: str | None = None
    country: str = "CN"
    customer_ids_of: str | None = None
    price_includes_tax: bool = False
    closed_weekdays: tuple[int, ...] = ()
    closed_dates: tuple[str, ...] = ()
    feeds: dict[str, DeliveredFeed] = Field(default_factory=dict)
    database: Database | None = None
    declared: bool = True

    def __hash__(self) -> int:
        return hash(self.source)


class _Loader(yaml.CSafeLoader):
    """YAML in which a key that stands twice is an error: the first of two columns would be lost in silence."""


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: set[str] = set()
    for key, _ in node.value:
        if key.value in seen:
            raise yaml.constructor.ConstructorError(
                None, None, f"key {key.value!r} stands twice", key.start_mark
            )
        seen.add(key.value)
    return loader.construct_mapping(node, deep=True)


# YAML 1.1 takes a column called `no` and a value `yes` for truth values; here only true and false are.
_Loader.yaml_implicit_resolvers = {
    first: [r for r in resolvers if r[0] != "tag:yaml.org,2002:bool" or first in "tTfF"]
    for first, resolvers in _Loader.yaml_implicit_resolvers.items()
}
_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def _line_of(text: str, path: tuple[Any, ...]) -> int:
    """1-based line of the deepest part of `path` that stands in the YAML text."""
    node = yaml.compose(text)
    line = 1
    for key in path:
        if isinstance(node, yaml.MappingNode):
            pair = next(((k, v) for k, v in node.value if k.value == str(key)), None)
            if pair is None:
                break
            line, node = pair[0].start_mark.line + 1, pair[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(key, int) and key < len(node.value):
            node = node.value[key]
            line = node.start_mark.line + 1
    return line


def _read(model: type[Any], path: Path, **more: Any) -> Any:
    text = path.read_text(encoding="utf-8")
    try:
        data = yaml.load(text, _Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise StrataError(f"{path}:{mark.line + 1 if mark else 1}: no valid YAML: {error.problem}") from error
    except yaml.YAMLError as error:
        raise StrataError(f"{path}:1: no valid YAML: {error}") from error
    if not isinstance(data, dict):
        raise StrataError(f"{path}:1: a {model.__name__.lower()} is a mapping of keys such as description")
    try:
        return model.model_validate({**data, **more})
    except ValidationError as error:
        first = error.errors()[0]
        cause = first.get("ctx", {}).get("error")
        loc = (*first["loc"], *(cause.path if isinstance(cause, _Nonsense) else ()))
        where = ".".join(str(part) for part in loc) or model.__name__.lower()
        raise StrataError(f"{path}:{_line_of(text, loc)}: {where}: {cause or first['msg']}") from error


@cache
def load_contracts(folder: Path = settings.CONTRACTS_DIR) -> Mapping[str, Contract]:
    """Every contract by feed name, in the order of domain and name. Raises StrataError naming file and line."""
    contracts: dict[str, Contract] = {}
    for path in sorted(folder.glob("*/*.yml")):
        contract = _read(Contract, path, domain=path.parent.name)
        if contract.feed != path.stem:
            raise StrataError(f"{path}: the file is named {path.stem} but declares feed {contract.feed}")
        contracts[contract.feed] = contract
    return contracts


@cache
def load_sources(folder: Path = settings.MAPPINGS_DIR) -> Mapping[str, Source]:
    """Every declared source by name. Raises StrataError naming file and line."""
    sources: dict[str, Source] = {}
    contracts = load_contracts()
    for path in sorted(folder.glob("*/source.yml")):
        source = _read(Source, path)
        if source.source != path.parent.name:
            raise StrataError(f"{path}: lies in {path.parent.name}/ but declares source {source.source}")
        for feed, delivered in source.feeds.items():
            for target in delivered.maps_to:
                if target not in contracts:
                    raise StrataError(f"{path}: feed {feed} maps to {target}, which has no contract")
                if not (path.parent / f"{target}.sql").exists():
                    raise StrataError(f"{path}: feed {feed} maps to {target}, but {target}.sql is missing")
            if not delivered.maps_to and feed not in contracts:
                raise StrataError(f"{path}: feed {feed} has no contract and no maps_to")
        _check_tables(path, source, contracts)
        sources[source.source] = source
    return sources


def _check_tables(path: Path, source: Source, contracts: Mapping[str, Contract]) -> None:
    """Raises StrataError where a table fills no feed, or is read whole although its rows have moments."""
    for feed, table in source.database.tables.items() if source.database else ():
        delivered = source.feeds.get(feed)
        if delivered is None:
            raise StrataError(f"{path}: table {feed} fills no feed: declare {feed} under feeds")
        filled = [contracts[target] for target in delivered.maps_to or (feed,)]
        moments = sorted(
            {name for c in filled for name, column in c.columns.items() if column.event}
            | {name for name, column in delivered.columns.items() if column.event}
        )
        if table.full and moments:
            raise StrataError(
                f"{path}: full is for master data, and {feed} has moments ({', '.join(moments)}): name a cursor"
            )
        if table.full and (delivered.cadence or filled[0].cadence) != "occasional":
            raise StrataError(
                f"{path}: a table that is read whole comes when it changes: say cadence: occasional for {feed}"
            )


def source_of(name: str) -> Source:
    """The declared source, or one with every default for a folder that nobody declared."""
    return load_sources().get(name) or Source(source=name, declared=False)


@cache
def delivered_contract(source: Source, feed: str) -> Contract | None:
    """The contract that a delivered file of this feed is read by, or None where nothing is known of it.

    What the source declares of encoding, delimiter and null spellings stands in it. A mapped feed has the columns that
    its source declares and no key.
    """
    delivered = source.feeds.get(feed)
    if delivered and delivered.maps_to:
        return Contract(
            feed=feed,
            id=source.source,
            description=delivered.description,
            key=(),
            document=delivered.document,
            cadence=delivered.cadence or "daily",
            columns=delivered.columns,
            row_rules=tuple(
                RowRule(code="left_out", description=rule.why, reject_when=rule.when)
                for rule in delivered.left_out
            ),
            domain="delivered",
            **delivered.dialect,
        )
    contract = load_contracts().get(feed)
    return contract.model_copy(update=delivered.dialect) if contract and delivered else contract
