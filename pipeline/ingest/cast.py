"""Contract → the SQL that types delivered values and names the first rule that a row breaks.

Everything here is pure: column names come from contracts, values of a delivery never reach the SQL text.
"""

from collections.abc import Mapping

from pipeline.ingest.contracts import SQL_TYPES, Column, Contract

NULL_SPELLINGS = ("", "NULL", "null", "\\N")
_TIMESTAMP = r"^\d{4}[-/]\d{1,2}[-/]\d{1,2}([ T]\d{1,2}:\d{2}(:\d{2}(\.\d{1,9})?)?)?\s*(Z|[+-]\d{2}:?\d{2})?$"
_OFFSET = r"(Z|[+-]\d{2}:?\d{2})$"
_SPACED_OFFSET = r"\s+" + _OFFSET
_INTEGERS = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT")
_BAD = {"i": "bad_integer", "d": "bad_date", "ts": "bad_timestamp", "b": "bad_boolean"}


def quote(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _text(name: str) -> str:
    spellings = ", ".join(literal(s) for s in NULL_SPELLINGS)
    value = f"trim({quote(name)})"
    return f"case when {value} in ({spellings}) then null else {value} end"


def _number_text(x: str) -> str:
    """Plain digits of a written number: full-width digits, currency signs, thousands, (5.00) for -5.00."""
    ascii_digits = f"translate({x}, '０１２３４５６７８９．，－（）', '0123456789.,-()')"
    bare = f"regexp_replace({ascii_digits}, '[¥￥$£€\\s]|元$', '', 'g')"
    plain = (
        f"case when regexp_matches({bare}, '^\\(?[+-]?\\d{{1,3}}(,\\d{{3}})+(\\.\\d+)?\\)?$') "
        f"then replace({bare}, ',', '') else {bare} end"
    )
    return f"regexp_replace({plain}, '^\\((\\d+(\\.\\d+)?)\\)$', '-\\1')"


def _date_text(x: str) -> str:
    """2026年1月5日 and 20260105 as 2026-01-05; other forms unchanged."""
    chinese = f"regexp_replace({x}, '^(\\d{{4}})年(\\d{{1,2}})月(\\d{{1,2}})日', '\\1-\\2-\\3')"
    return f"regexp_replace({chinese}, '^(\\d{{4}})(\\d{{2}})(\\d{{2}})$', '\\1-\\2-\\3')"


def _from_text(column: Column, x: str) -> tuple[str, str | None]:
    """(typed value, minutes of the original offset or null) of the text expression `x`."""
    kind = column.type
    if kind in "sj":
        return x, None
    if kind == "i":
        n = _number_text(x)
        digits = f"regexp_extract({n}, '^([+-]?\\d{{1,18}})(\\.0+)?$', 1)"
        return f"try_cast(nullif({digits}, '') as bigint)", None
    if kind in "mqr":
        n = _number_text(x)
        return f"try_cast(case when regexp_matches({n}, '^[+-]?\\d{{1,15}}(\\.\\d{{1,12}})?$') then {n} end as {SQL_TYPES[kind]})", None
    if kind == "b":
        low = f"lower({x})"
        return (
            f"case when {low} in ('true', 't', '1', 'yes', 'y', '是') then true "
            f"when {low} in ('false', 'f', '0', 'no', 'n', '否') then false end",
            None,
        )
    date_text = _date_text(x)
    if kind == "d":
        form = f"regexp_matches({date_text}, '^\\d{{4}}[-/]\\d{{1,2}}[-/]\\d{{1,2}}( 00:00:00)?$')"
        return f"try_cast(case when {form} then replace(left({date_text}, 10), '/', '-') end as date)", None
    stamp = f"case when regexp_matches({date_text}, {literal(_TIMESTAMP)}) then replace({date_text}, '/', '-') end"
    zoned = f"regexp_matches({stamp}, {literal(_OFFSET)})"
    joined = f"regexp_replace({stamp}, {literal(_SPACED_OFFSET)}, '\\1')"
    utc_of_zoned = f"timezone('UTC', try_cast({joined} as timestamptz))"
    local = f"try_cast(regexp_replace({stamp}, {literal(_OFFSET)}, '') as timestamp)"
    utc_of_local = f"timezone('UTC', timezone(_zone, {local}))"
    utc = f"case when {zoned} then {utc_of_zoned} else {utc_of_local} end"
    return utc, f"cast(date_diff('minute', {utc}, {local}) as smallint)"


def _typed(name: str, column: Column, delivered_type: str | None) -> tuple[str, str, str | None]:
    """(typed value, 'was something delivered?', offset minutes) for one column as it arrives."""
    if delivered_type is None:
        return f"cast(null as {SQL_TYPES[column.type]})", "false", "cast(null as smallint)"
    q, target = quote(name), SQL_TYPES[column.type]
    given = f"{q} is not null"
    family = delivered_type.split("(")[0]
    local_offset = f"cast(date_diff('minute', {{utc}}, timezone(_zone, timezone('UTC', {{utc}}))) as smallint)"
    if family == "VARCHAR":
        x = _text(name)
        value, offset = _from_text(column, x)
        return value, f"({x}) is not null", offset
    if column.type == "s" and family in ("FLOAT", "DOUBLE"):
        # An id column with gaps becomes a float on its way through a data frame: 17850.0 is the id 17850.
        whole = f"{q} = trunc({q}) and abs({q}) < 1e15"
        return f"case when {whole} then cast(cast({q} as bigint) as varchar) else cast({q} as varchar) end", given, None
    if column.type in "sj" or (column.type == "i" and family not in _INTEGERS):
        value, _ = _from_text(column, f"cast({q} as varchar)")
        return value, given, None
    if column.type in "imqr" and (family in _INTEGERS or family in ("DECIMAL", "FLOAT", "DOUBLE", "HUGEINT")):
        return (q if delivered_type == target else f"try_cast({q} as {target})"), given, None
    if column.type == "d" and family in ("DATE", "TIMESTAMP"):
        return f"cast({q} as date)", given, None
    if column.type == "ts" and family.startswith("TIMESTAMP WITH"):
        utc = f"timezone('UTC', {q})"
        return utc, given, local_offset.format(utc=utc)
    if column.type == "ts" and family.startswith(("TIMESTAMP", "DATE")):
        utc = f"timezone('UTC', timezone(_zone, cast({q} as timestamp)))"
        return utc, given, f"cast(date_diff('minute', {utc}, cast({q} as timestamp)) as smallint)"
    if column.type == "b" and family == "BOOLEAN":
        return q, given, None
    value, offset = _from_text(column, f"cast({q} as varchar)")
    return value, given, offset


def _failed(name: str, column: Column, given: str, value: str) -> list[tuple[str, str]]:
    """(SQL condition, reject code) in the order in which a broken value is named."""
    broken: list[tuple[str, str]] = []
    if column.type not in "sj":
        broken.append((f"{given} and {value} is null", _BAD.get(column.type, "bad_number")))
    elif name.endswith("_id"):
        broken.append((f"regexp_matches({value}, '^\\d(\\.\\d+[eE]|[eE]\\+|\\.\\d+[eE]\\+)\\d+$')", "scientific_id"))
    if column.required:
        broken.append((f"{value} is null", "missing_value"))
    if column.values:
        allowed = ", ".join(literal(v) for v in column.values)
        code = "unknown_currency" if name == "currency" else "unknown_value"
        broken.append((f"{value} not in ({allowed})", code))
    if column.min is not None:
        broken.append((f"{value} < {column.min:g}", "out_of_range"))
    if column.max is not None:
        broken.append((f"{value} > {column.max:g}", "out_of_range"))
    if column.event:
        cast_to = SQL_TYPES[column.type]
        latest = "_latest" if column.type == "ts" else "_dt"
        broken.append((f"{value} > {latest}", "future_date"))
        broken.append((f"{value} < cast('2000-01-01' as {cast_to})", "before_2000"))
    return broken


def classified_sql(contract: Contract, relation: str, delivered: Mapping[str, str], deliveries: str) -> str:
    """SELECT that types every row of `relation` and names what is wrong with it.

    Args:
        relation: rows as delivered, with `_delivery`, `_row` and the columns of `delivered`.
        delivered: contract column → DuckDB type as it arrives.
        deliveries: table of `_delivery`, `_zone`, `_dt`, `_latest` (end of the business day in UTC + 5 minutes).

    The result has the typed contract columns, `<ts>_offset_minutes`, `_delivery`, `_row`, `_code` (null for a good
    row), `_column` and, in a feed without personal columns, `_value` as delivered.
    """
    # A shifted row puts a phone into the column beside it, so a feed with personal columns shows no value at all.
    personal = any(column.pii for column in contract.columns.values())
    shown = [] if personal else [name for name in contract.columns if name in delivered]
    inner: list[str] = []
    conditions: list[tuple[str, str, str]] = []
    for name, column in contract.columns.items():
        value, given, offset = _typed(name, column, delivered.get(name))
        inner.append(f"{value} as {quote(name)}")
        inner.append(f"{given} as {quote('_given_' + name)}")
        if column.type == "ts":
            inner.append(f"{offset or 'cast(null as smallint)'} as {quote(name + '_offset_minutes')}")
        if name in shown:
            inner.append(f"cast({quote(name)} as varchar) as {quote('_as_' + name)}")
        for condition, code in _failed(name, column, quote("_given_" + name), quote(name)):
            conditions.append((condition, code, name))
    for rule in contract.row_rules:
        conditions.append((rule.reject_when, rule.code, ""))
    code_case = " ".join(f"when {c} then {literal(code)}" for c, code, _ in conditions)
    column_case = " ".join(f"when {c} then {literal(name)}" for c, _, name in conditions)
    stored = [
        quote(part)
        for name, column in contract.columns.items()
        for part in ((name, name + "_offset_minutes") if column.type == "ts" else (name,))
    ]
    value_case = " ".join(f"when {literal(name)} then {quote('_as_' + name)}" for name in shown)
    return f"""
        with typed as (
            select {", ".join(inner)}, r._delivery, r._row, _dt, _latest
            from {relation} as r join {deliveries} as d on d._delivery = r._delivery
        ),
        named as (
            select *, case {code_case} end as _code, case {column_case} end as _column from typed
        )
        select {", ".join(stored)}, _delivery, _row, _code, nullif(_column, '') as _column,
            {f"case _column {value_case} end" if shown else "cast(null as varchar)"} as _value
        from named
    """
