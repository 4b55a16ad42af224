"""Consent, applied last: who has refused since the tables were built is not in what leaves.

The tables hold the consent that a build knew. A withdrawal can be written down while it runs, or be urgent; then rows
leave between the warehouse and the release, and this module looks at the written files once more.
"""

from collections.abc import Collection, Sequence
from pathlib import Path

import duckdb

from pipeline import duck
from pipeline.duck import literal, parquet, quote, texts
from pipeline.privacy.consent import Refusals
from pipeline.publish import audience_lists, customers
from pipeline.quality.checks import Check
from pipeline.settings import Settings

MEMBERSHIP = Path("tables") / "audiences" / "segment_membership.parquet"
_TABLE = "audiences.segment_membership"
_OF_PERSONS = ("segments", "audiences")
FLAG = "consent_"
_DESCRIPTIONS = {
    "consent_enforced": "Somebody in the published segments has no live consent to marketing and profiling (Q-16): "
    "releasing the row would break the law.\n\nThe release was not made. Rebuild with `strata run --full`; if it stays, "
    "a model does not read fct_consent_states.",
    "withdrawal_latency": "Somebody who has withdrawn, objected or asked for restriction since the build is still "
    "published (Q-17).\n\nThe release was not made; run again.",
    "no_minor_leaves": "A minor is in the published segments, or somebody of whom no profile may be made in a table "
    "of classes (Q-19).\n\nThe release was not made. Rebuild with `strata run --full`.",
}


def register(con: duckdb.DuckDBPyConnection, refused: Refusals) -> None:
    """Give the connection the temporary table that `condition` and `columns` read."""
    pairs = [("", key, "unprofiled") for key in refused.unprofiled]
    pairs += [("", key, "unmarketed") for key in refused.unmarketed]
    pairs += [(channel, key, "channel") for channel, keys in refused.channels.items() for key in keys]
    columns = ("channel", "customer_key", "kind")
    listed = (f"unnest({texts(pair[i] for pair in pairs)}) as {name}" for i, name in enumerate(columns))
    con.execute(f"create or replace temp table refused_since as select {', '.join(listed)}")


def condition(schema: str, columns: Sequence[str]) -> str:
    """The rows of a published table that may leave; `true` for a table that tells of no person's class."""
    if schema not in _OF_PERSONS or "customer_key" not in columns:
        return "true"
    kinds = "kind in ('unprofiled', 'unmarketed')" if schema == "audiences" else "kind = 'unprofiled'"
    sql = f"customer_key not in (select customer_key from refused_since where {kinds})"
    flags = [c for c in columns if c.startswith(FLAG)]
    if flags:
        left = " or ".join(_allowed(flag) for flag in flags)
        # Who has refused one channel and has no other left is nobody's to address.
        sql += f" and (customer_key not in (select customer_key from refused_since where kind = 'channel') or {left})"
    return sql


def columns(schema: str, names: Sequence[str]) -> str:
    """The select list of a published table: flags of consent are false for a channel that was refused since."""
    flags = schema in _OF_PERSONS and "customer_key" in names
    return ", ".join(
        f"{_allowed(name)} as {quote(name)}" if flags and name.startswith(FLAG) else quote(name)
        for name in names
    )


def cleared(schema: str, names: Sequence[str]) -> str:
    """Assignments that clear the flags of channels that were refused since, of an UPDATE; '' for a table without flags."""
    if schema not in _OF_PERSONS or "customer_key" not in names:
        return ""
    return ", ".join(f"{quote(name)} = {_allowed(name)}" for name in names if name.startswith(FLAG))


def unchanged(schema: str, names: Sequence[str]) -> str:
    """Whether a row stays as it is: `true` for a table that tells of no person's class."""
    stays = condition(schema, names)
    if stays == "true":
        return stays
    flags = (f"{quote(c)} is not distinct from {_allowed(c)}" for c in names if c.startswith(FLAG))
    return " and ".join((f"({stays})", *flags))


def _allowed(flag: str) -> str:
    channel = literal(flag.removeprefix(FLAG))
    return (
        f"({quote(flag)} and customer_key not in "
        f"(select customer_key from refused_since where kind = 'channel' and channel = {channel}))"
    )


def recheck(settings: Settings, folder: Path, refused: Refusals) -> list[Check]:
    """Q-16, Q-17 and Q-19 on the very files that are about to leave, against the states of the warehouse and the desk."""
    warehouse = settings.warehouse
    con = duck.connect([folder, warehouse.parent], database=warehouse, read_only=True)
    try:
        register(con, refused)
        con.execute(
            f"create temp view published as select distinct customer_key from {parquet(folder / MEMBERSHIP)}"
            + _shown(folder)
        )
        classed = _classed(con, folder)
        unconsented = (
            "select customer_key from published where customer_key not in (select customer_key from "
            "core.fct_consent_states where is_granted and purpose in ('marketing', 'profiling') "
            "group by customer_key having count(distinct purpose) = 2)"
        )
        barred = (
            "select customer_key from published semi join core.dim_customers as minors "
            "on published.customer_key = minors.customer_key and minors.is_minor union "
            f"select customer_key from ({classed}) semi join intermediate.int_persons_excluded using (customer_key)"
        )
        return [
            _check(con, "consent_enforced", "Q-16", unconsented),
            still_published(con, folder),
            _check(con, "no_minor_leaves", "Q-19", barred),
        ]
    finally:
        con.close()


def still_published(
    con: duckdb.DuckDBPyConnection, folder: Path, tables: Collection[str] | None = None
) -> Check:
    """Q-17 on the written files: nobody who has refused since the build. `register` comes first.

    Args:
        tables: `<schema>.<name>` of those to be asked, all where None; what a release shows beside them always is.
    """
    looks = list(looks_at(con, folder, tables).values())
    if shown := _shown(folder):
        shown = shown.removeprefix(" union all ")
        looks.append(
            f"select customer_key from ({shown}) semi join {_of('unprofiled', 'unmarketed')} using (customer_key)"
        )
    nobody = "select '' as customer_key where false"
    return _check(con, "withdrawal_latency", "Q-17", " union all ".join([nobody, *looks]))


def looks_at(
    con: duckdb.DuckDBPyConnection, folder: Path, tables: Collection[str] | None = None
) -> dict[str, str]:
    """SQL of the customer_keys that must not be in a written table of persons as they are, by the table's key.

    A key stands there once per row. Each text is a semi join of one file with the few who have refused.
    """
    looks = {}
    for schema in _OF_PERSONS:
        for path in sorted((folder / "tables" / schema).glob("*.parquet")):
            key = f"{schema}.{path.stem}"
            if tables is not None and key not in tables:
                continue
            file = parquet(path)
            names = [row[0] for row in con.execute(f"describe select * from {file}").fetchall()]
            if "customer_key" not in names:
                continue
            gone = _of("unprofiled", "unmarketed") if schema == "audiences" else _of("unprofiled")
            parts = [f"select customer_key from {file} semi join {gone} using (customer_key)"]
            flags = [name for name in names if name.startswith(FLAG)]
            parts += [
                f"select customer_key from {file} semi join {_of('channel', channel=flag.removeprefix(FLAG))} "
                f"using (customer_key) where {quote(flag)}"
                for flag in flags
            ]
            if flags:
                # With no channel left, nobody's to address.
                none = " and ".join(f"coalesce({quote(flag)}, false) = false" for flag in flags)
                parts.append(
                    f"select customer_key from {file} semi join {_of('channel')} using (customer_key) where {none}"
                )
            looks[key] = " union all ".join(parts)
    return looks


def _of(*kinds: str, channel: str | None = None) -> str:
    """SQL of those who have refused in one of these ways."""
    where = f"kind in ({', '.join(literal(kind) for kind in kinds)})"
    if channel is not None:
        where += f" and channel = {literal(channel)}"
    return f"(select customer_key from refused_since where {where})"


def _classed(con: duckdb.DuckDBPyConnection, folder: Path) -> str:
    """The customer_keys in a written table of persons' classes, and in the files of the page; repeated."""
    parts = []
    for schema in _OF_PERSONS:
        for path in sorted((folder / "tables" / schema).glob("*.parquet")):
            source = parquet(path)
            if any(
                row[0] == "customer_key" for row in con.execute(f"describe select * from {source}").fetchall()
            ):
                parts.append(f"select customer_key from {source}")
    return " union all ".join(parts) + _shown(folder)


def _shown(folder: Path) -> str:
    """` union all …` of those whom a written release names beside its tables: in the files of the page and in its lists."""
    return "".join(
        f" union all {keys}" for keys in (customers.keys(folder), audience_lists.keys(folder)) if keys
    )


def _check(con: duckdb.DuckDBPyConnection, name: str, gate: str, sql: str) -> Check:
    found = sorted(row[0] for row in con.execute(f"select distinct customer_key from ({sql})").fetchall())
    return Check(
        "table", _TABLE, name, "block", not found, len(found), 0, _DESCRIPTIONS[name], tuple(found[:5]), gate
    )
