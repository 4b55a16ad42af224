"""Contract → the SQL that types delivered values and names the first rule that a row breaks.

Everything here is pure: column names come from contracts, values of a delivery never reach the SQL text.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipeline.duck import literal, quote
from pipeline.ingest.contracts import EXACT_DECIMALS, SQL_TYPES, Column, Contract
from pipeline.ingest.reading.csv_chunks import MAX_FIELD_BYTES, NOTHING_KNOWN, Facts
from pipeline.ingest.reading.texts import NO_BREAK, WIDE_BLANK, ZERO_WIDTH
from pipeline.ingest.zones import offset_of_utc, utc_of_local

_TIMESTAMP = (
    r"^\d{4}[-/]\d{1,2}[-/]\d{1,2}([ T]\d{1,2}:\d{2}(:\d{2}(\.\d{1,9})?)?)?\s*(Z|[+-](0\d|1[0-4]):?[0-5]\d)?$"
)
_OFFSET = r"(Z|[+-]\d{2}:?\d{2})$"
_SPACED_OFFSET = r"\s+" + _OFFSET
_INTEGERS = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT")
_BOOLEANS = {"true": ("true", "t", "1", "yes", "y", "是"), "false": ("false", "f", "0", "no", "n", "否")}
_JSON_TEXT = r'"(\\.|[^"\\])*"'
_NO_JSON = r"(?i)nan|inf|/|,\s*[\]}]"
_BAD = {"i": "bad_integer", "d": "bad_date", "ts": "bad_timestamp", "b": "bad_boolean", "j": "bad_json"}


def _without_nulls(x: str, spellings: Sequence[str]) -> str:
    """The text `x`, or null where it is one of the spellings. Comparing sizes first spares most comparisons."""
    if not spellings:
        return x
    listed = ", ".join(literal(spelling) for spelling in spellings)
    longest = max(len(spelling.encode()) for spelling in spellings)
    return f"case when strlen({x}) <= {longest} and {x} in ({listed}) then null else {x} end"


def _cleaned(x: str) -> str:
    """The text `x` composed (NFC), without zero-width characters, no-break spaces as spaces, and trimmed.

    Few values need any of it, and looking costs a tenth of doing it: only what is longer in bytes than in characters
    can hold such characters.
    """
    invisible = literal(NO_BREAK + ZERO_WIDTH)
    composed = (
        f"trim(nfc_normalize(translate({x}, {invisible}, {literal(' ' * len(NO_BREAK))})), ' {WIDE_BLANK}')"
    )
    return (
        f"case when strlen({x}) <> length({x}) then {composed} "
        f"when {x} like ' %' or {x} like '% ' then trim({x}) else {x} end"
    )


def number_text(x: str) -> str:
    """Plain digits of a written number: full-width digits, currency signs, thousands, (5.00) for -5.00."""
    ascii_digits = f"translate({x}, '０１２３４５６７８９．，－（）', '0123456789.,-()')"
    # Currency and blanks go at the ends only: a cell with two numbers in it is not one number.
    led = f"regexp_replace({ascii_digits}, '^\\s*([(+-]?)\\s*[¥￥$£€]?\\s*', '\\1')"
    bare = f"regexp_replace({led}, '\\s*(元|[¥￥$£€])?\\s*(\\)?)\\s*$', '\\2')"
    plain = (
        f"case when regexp_matches({bare}, '^\\(?[+-]?\\d{{1,3}}(,\\d{{3}})+(\\.\\d+)?\\)?$') "
        f"then replace({bare}, ',', '') "
        f"when regexp_matches({bare}, '^\\(?[+-]?\\d{{1,3}}( \\d{{3}})+(\\.\\d+)?\\)?$') "
        f"then replace({bare}, ' ', '') else {bare} end"
    )
    return f"regexp_replace({plain}, '^\\((\\d+(\\.\\d+)?)\\)$', '-\\1')"


def _date_text(x: str) -> str:
    """2026年1月5日 and 20260105 as 2026-01-05; other forms unchanged."""
    chinese = f"regexp_replace({x}, '^(\\d{{4}})年(\\d{{1,2}})月(\\d{{1,2}})日', '\\1-\\2-\\3')"
    return f"regexp_replace({chinese}, '^(\\d{{4}})(\\d{{2}})(\\d{{2}})$', '\\1-\\2-\\3')"


@dataclass(frozen=True)
class _Typed:
    """SQL of one column: its value, conditions that say that something unreadable or too precise came, minutes of offset."""

    value: str
    unreadable: str | None = None
    offset: str | None = None
    rounded: str | None = None


def _from_text(column: Column, x: str, zone: str, until_year: int, *, plain: bool = False) -> _Typed:
    """The typed value of the text expression `x`; `plain` as in Facts."""
    kind = column.type
    given = f"{x} is not null"
    if kind == "s":
        return _Typed(x)
    if kind == "j":
        # DuckDB takes NaN, Infinity, comments and a comma before a bracket for JSON, which others do not.
        outside = f"regexp_replace({x}, {literal(_JSON_TEXT)}, '0', 'g')"
        good = f"json_valid({x}) and not regexp_matches({outside}, {literal(_NO_JSON)})"
        return _Typed(f"case when {good} then {x} end", given)
    # The plain form comes first: it is what nearly every value has, and the other forms cost ten times as much.
    if kind == "i":
        n = number_text(x)
        digits = f"regexp_extract({n}, '^([+-]?\\d{{1,18}})(\\.0+)?$', 1)"
        usual = f"strlen({x}) <= 18" if plain else f"regexp_matches({x}, '^[+-]?\\d{{1,18}}$')"
        other = f"try_cast(nullif({digits}, '') as bigint)"
        return _Typed(f"case when {usual} then try_cast({x} as bigint) else {other} end", given)
    if kind in "mqrx":
        n = number_text(x)
        form = "'^[+-]?(\\d{1,15}(\\.\\d{0,12})?|\\.\\d{1,12})$'"
        other = f"try_cast(case when regexp_matches({n}, {form}) then {n} end as {SQL_TYPES[kind]})"
        usual = f"try_cast({x} as {SQL_TYPES[kind]})"
        known = f"strlen({x}) <= 13" if plain else f"regexp_matches({x}, {form})"
        value = f"case when {known} then {usual} else {other} end"
        if plain or kind not in EXACT_DECIMALS:
            return _Typed(value, given)
        # Few numbers have so much behind their dot, and looking for it costs a tenth of looking at the digits.
        decimals = EXACT_DECIMALS[kind]
        short = f"strlen({x}) < {decimals + 2} or strlen({x}) - strpos({x}, '.') <= {decimals}"
        finer = literal(rf"\.\d{{{decimals}}}0*[1-9]")
        looked = f"regexp_matches(case when {known} then {x} else {n} end, {finer})"
        return _Typed(value, given, None, f"case when {short} then false else {looked} end")
    if kind == "b":
        words = " ".join(
            f"when '{word}' then {meant}" for meant, spellings in _BOOLEANS.items() for word in spellings
        )
        usual = f"case when {x} in ('true', 'false') then {x} = 'true' else case lower({x}) {words} end end"
        return _Typed(usual, given)
    date_text = _date_text(x)
    if kind == "d":
        form = f"regexp_matches({date_text}, '^\\d{{4}}[-/]\\d{{1,2}}[-/]\\d{{1,2}}( 00:00:00)?$')"
        other = f"try_cast(case when {form} then replace(left({date_text}, 10), '/', '-') end as date)"
        usual = f"strlen({x}) = 10 and regexp_matches({x}, '^\\d{{4}}-\\d\\d-\\d\\d$')"
        value = f"case when {usual} then try_cast({x} as date) else {other} end"
        if column.pii == "birth_date":
            # What systems write for "unknown" is a year that nobody is born in; writing says so in a flag.
            unknown = f"regexp_matches({x}, '^(9999|0000)([-/]?\\d\\d?[-/]?\\d\\d?( 00:00:00)?)?$')"
            value = f"coalesce({value}, case when {unknown} then date '9999-12-31' end)"
        return _Typed(value, given)
    stamp = f"case when regexp_matches({date_text}, {literal(_TIMESTAMP)}) then replace({date_text}, '/', '-') end"
    zoned = f"regexp_matches({stamp}, {literal(_OFFSET)})"
    joined = f"regexp_replace({stamp}, {literal(_SPACED_OFFSET)}, '\\1')"
    utc_of_zoned = f"make_timestamp(epoch_us(try_cast({joined} as timestamptz)))"
    local = f"try_cast(regexp_replace({stamp}, {literal(_OFFSET)}, '') as timestamp)"
    other = f"case when {zoned} then {utc_of_zoned} else {utc_of_local(local, zone, until_year)} end"
    usual = f"strlen({x}) = 19 and {x} like '2___-__-__ __:__:__' and not contains({x}, '  ')"
    written = f"try_cast({x} as timestamp)"
    utc = f"case when {usual} then {utc_of_local(written, zone, until_year)} else {other} end"
    clock = f"case when {usual} then {written} else {local} end"
    return _Typed(utc, given, f"cast(date_diff('minute', {utc}, {clock}) as smallint)")


def _typed(
    name: str, column: Column, delivered_type: str | None, zone: str, until_year: int, *, plain: bool = False
) -> _Typed:
    """One column as it arrives. Text has been trimmed, and the spellings of null are null."""
    target = SQL_TYPES[column.type]
    if delivered_type is None:
        return _Typed(f"cast(null as {target})", None, "cast(null as smallint)")
    q = quote(name)
    given = f"{q} is not null"
    family = delivered_type.split("(")[0]
    if column.otherwise:
        listed = ", ".join(literal(value) for value in column.values)
        text = f"cast({q} as varchar)"
        return _Typed(f"case when {text} in ({listed}) then {text} else {literal(column.otherwise)} end")
    if family == "VARCHAR":
        return _from_text(column, q, zone, until_year, plain=plain)
    if column.type == "s" and family in ("FLOAT", "DOUBLE"):
        # An id column with gaps becomes a float on its way through a data frame: 17850.0 is the id 17850.
        whole = f"{q} = trunc({q}) and abs({q}) < 1e15"
        return _Typed(
            f"case when {whole} then cast(cast({q} as bigint) as varchar) else cast({q} as varchar) end"
        )
    if column.type in "imqrx" and delivered_type == target:
        return _Typed(q)
    if column.type in "mqrx" and (family in _INTEGERS or family in ("DECIMAL", "FLOAT", "DOUBLE", "HUGEINT")):
        value = f"try_cast({q} as {target})"
        if column.type not in EXACT_DECIMALS or family not in ("DECIMAL", "FLOAT", "DOUBLE"):
            return _Typed(value, given)
        if family == "DECIMAL":
            # What is rounded up may not fit its own type again: that is another number too.
            same = f"{q} = try_cast({value} as {delivered_type})"
        else:
            # A float is never the decimal that was meant: two digits beyond the last one, or its own precision.
            noise = 0.5 * 10.0 ** -(EXACT_DECIMALS[column.type] + 2)
            relative = "1e-6" if family == "FLOAT" else "1e-14"
            same = f"abs({q} - cast({value} as double)) < greatest({noise:.1e}, abs({q}) * {relative})"
        return _Typed(value, given, None, f"{value} is not null and not coalesce({same}, false)")
    if column.type == "i" and family in _INTEGERS:
        return _Typed(f"try_cast({q} as {target})", given)
    if column.type == "d" and family in ("DATE", "TIMESTAMP"):
        return _Typed(f"try_cast({q} as date)", given)
    if column.type == "ts" and family.startswith("TIMESTAMP WITH"):
        utc = f"make_timestamp(epoch_us({q}))"
        return _Typed(utc, None, offset_of_utc(utc, zone, until_year))
    if column.type == "ts" and family.startswith(("TIMESTAMP", "DATE")):
        local = f"try_cast({q} as timestamp)"
        utc = utc_of_local(local, zone, until_year)
        return _Typed(utc, given, f"cast(date_diff('minute', {utc}, {local}) as smallint)")
    if column.type == "b" and family == "BOOLEAN":
        return _Typed(q)
    if column.type == "j" and family != "JSON":
        return _Typed(f"cast(to_json({q}) as varchar)")
    return _from_text(column, f"cast({q} as varchar)", zone, until_year)


def _failed(
    name: str, column: Column, *, unreadable: bool = False, rounded: bool = False
) -> list[tuple[str, str]]:
    """(SQL condition, reject code) in the order in which a broken value is named."""
    value = quote(name)
    broken: list[tuple[str, str]] = []
    if unreadable:
        broken.append((f"{quote('_given_' + name)} and {value} is null", _BAD.get(column.type, "bad_number")))
    if rounded:
        broken.append((quote("_rounded_" + name), "too_precise"))
    if column.type == "s" and name.endswith("_id"):
        form = r"^\d(\.\d+[eE]|[eE]\+|\.\d+[eE]\+)\d+$"
        # Few ids begin with a digit, and comparing one byte costs a tenth of looking for the form.
        digit = f"{value} >= '0' and {value} < ':'"
        broken.append((f"{digit} and regexp_matches({value}, {literal(form)})", "scientific_id"))
    if column.required:
        broken.append((f"{value} is null", "missing_value"))
    if column.values:
        # Not `not in`: DuckDB makes a join of a long list, which costs ten times the comparisons.
        unknown = " and ".join(f"{value} <> {literal(v)}" for v in column.values)
        code = "unknown_currency" if name == "currency" else "unknown_value"
        broken.append((unknown, code))
    if column.min is not None:
        broken.append((f"{value} < {column.min:g}", "out_of_range"))
    if column.max is not None:
        broken.append((f"{value} > {column.max:g}", "out_of_range"))
    if column.event:
        is_moment = column.type == "ts"
        first, last = ("_earliest", "_latest") if is_moment else ("date '2000-01-01'", "_dt")
        broken.append((f"{value} > {last}", "future_date"))
        broken.append((f"{value} < {first}", "before_2000"))
    return broken


def broken_sql(
    contract: Contract, relation: str, deliveries: str
) -> tuple[str, list[tuple[str, str | None]]]:
    """SELECT of `_delivery`, `_row`, `_rule` of the records behind mapped rows that break a rule, and the rules."""
    rules: list[tuple[str, str, str | None]] = [
        (c, code, name) for name, column in contract.stored.items() for c, code in _failed(name, column)
    ]
    rules += [(rule.reject_when, rule.code, None) for rule in contract.row_rules]
    case = " ".join(f"when {condition} then {i}" for i, (condition, _, _) in enumerate(rules))
    sql = (
        f"select _delivery, unnest(_rows) as _row, _rule from (select _delivery, _rows, cast(case {case} end as smallint) as _rule "
        f"from {relation} join {deliveries} using (_delivery)) where _rule is not null"
    )
    return sql, [(code, name) for _, code, name in rules]


def classified_sql(
    contract: Contract,
    relation: str,
    delivered: Mapping[str, str],
    deliveries: str,
    zone: str,
    until_year: int,
    *,
    facts: Facts = NOTHING_KNOWN,
    alone: bool = False,
) -> tuple[str, list[tuple[str, str | None]]]:
    """SELECT that types every row of `relation` and says which rule a row breaks first.

    Args:
        relation: rows as delivered, with `_delivery`, `_row` and the columns of `delivered`.
        delivered: contract column → DuckDB type as it arrives.
        deliveries: table of `_delivery`, `_dt`, `_earliest` and `_latest` (see Feed.bounds).
        zone: of times without an offset.
        until_year: last year whose offset changes matter.
        facts: what the reader knows of the texts, which spares looking at each of them.
        alone: `deliveries` has one row, which every row of `relation` belongs to.

    Returns:
        The SQL, whose result has the typed contract columns, `<ts>_offset_minutes`, `_delivery`, `_row` and `_rule`
        (null for a good row), and the rules: (reject code, column or None) at position `_rule`.
    """
    # A text with blanks around it may be a spelling of null without them.
    filled = facts.filled if facts.is_clean else frozenset()
    trimmed = [
        f"{_cleaned(quote(n))} as {quote(n)}" if kind == "VARCHAR" and not facts.is_clean else quote(n)
        for n, kind in delivered.items()
    ]
    cleaned = [
        f"{_without_nulls(quote(n), contract.nulls_of(n))} as {quote(n)}"
        if kind == "VARCHAR" and n not in filled
        else quote(n)
        for n, kind in delivered.items()
    ]
    texts = [n for n, kind in delivered.items() if kind == "VARCHAR" and not facts.is_short]
    blank = " and ".join(f"{quote(n)} is null" for n in delivered) if not filled & delivered.keys() else ""
    large = " ".join(f"when strlen({quote(n)}) > {MAX_FIELD_BYTES} then {i}" for i, n in enumerate(texts))
    typed = [
        f"{blank or 'false'} as _blank",
        f"cast({f'case {large} end' if texts else 'null'} as smallint) as _large",
    ]
    stored: list[str] = []
    rules: list[tuple[str, str, str | None]] = [("_blank", "blank_row", None)]
    rules += [(f"_large = {i}", "oversized_field", n) for i, n in enumerate(texts)]
    for name, column in contract.columns.items():
        made = _typed(name, column, delivered.get(name), zone, until_year, plain=name in facts.plain)
        typed.append(f"{made.value} as {quote(name)}")
        stored.append(quote(name))
        if made.unreadable:
            typed.append(f"{made.unreadable} as {quote('_given_' + name)}")
        if made.rounded:
            typed.append(f"{made.rounded} as {quote('_rounded_' + name)}")
        if column.type == "ts":
            typed.append(f"{made.offset} as {quote(name + '_offset_minutes')}")
            stored.append(quote(name + "_offset_minutes"))
        broken = _failed(
            name, column, unreadable=made.unreadable is not None, rounded=made.rounded is not None
        )
        rules += [(condition, code, name) for condition, code in broken]
    rules += [(rule.reject_when, rule.code, None) for rule in contract.row_rules]
    case = " ".join(f"when {condition} then {i}" for i, (condition, _, _) in enumerate(rules))
    sql = f"""
        with trimmed as (select {", ".join([*trimmed, "_delivery", "_row"])} from {relation}),
        cleaned as (select {", ".join([*cleaned, "_delivery", "_row"])} from trimmed),
        typed as (
            select {", ".join(typed)}, r._delivery, r._row, _dt, _earliest, _latest
            from cleaned as r {"cross join" if alone else "join"} {deliveries} as d {"" if alone else "on d._delivery = r._delivery"}
        )
        select {", ".join(stored)}, _delivery, _row, cast({f"case {case} end" if rules else "null"} as smallint) as _rule
        from typed
    """
    return sql, [(code, name) for _, code, name in rules]
