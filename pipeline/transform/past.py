"""segments(as_of, known_at): the classes of a past day, from what was known then or from what is known since."""

import secrets
import shutil
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from pipeline import duck
from pipeline.duck import literal
from pipeline.errors import StrataError
from pipeline.publish import shelf
from pipeline.settings import Settings
from pipeline.transform.replay import Replay

_REASONS = "intermediate.int_class_reasons"


@dataclass(frozen=True)
class Change:
    """Customers whose class of that day another one; None is: not classified then, or not any more."""

    scheme: str
    computed_then: str | None
    now: str | None
    customers: int


@dataclass(frozen=True)
class Past:
    """The classes of `as_of_date` by what was known at `known_at`, beside those of the history.

    `customers` counts by (scheme, class). `release` is the one whose history was compared; None where `as_of_date` was
    never built, so that there is nothing to compare with.
    """

    as_of_date: date
    known_at: date
    release: str | None
    customers: tuple[tuple[str, str, int], ...]
    corrections: tuple[Change, ...]


def segments(settings: Settings, as_of: date, known_at: date | None = None, out: Path | None = None) -> Past:
    """Build the classes of a past day anew, by the SQL and policy of the last build.

    Args:
        known_at: deliveries that were known by then count; those of `as_of` itself where None.
        out: Parquet of customer_key, scheme, class, computed_then (null where the day was not built), is_corrected.

    Raises:
        StrataError: where nothing was built yet, or the day lies after the last release.
    """
    known_at = known_at or as_of
    now = shelf.current(settings)
    if now is None:
        raise StrataError(f"no release has been published in {settings.home} yet: run `strata run`")
    newest = date.fromisoformat(now["as_of_date"])
    if not as_of <= known_at <= newest:
        raise StrataError(
            f"--as-of {as_of} --known-at {known_at}: a day, then a day that is not before it, both up to {newest}, "
            "for which the current release is"
        )
    folder = settings.build / f".past-{secrets.token_hex(4)}"
    tables = settings.releases / now["release"] / "tables" / "segments"
    history, bounds = (f"read_parquet({literal(str(tables / name))})" for name in _FILES)
    try:
        one = Replay(settings, folder, (_REASONS,))
        one.link([as_of])
        one.build(as_of, known_at)
        rebuilt = folder / "rebuilt.parquet"
        one.con.execute(
            f"copy (select customer_key, scheme, class from {_REASONS}) to {literal(str(rebuilt))} (format parquet)"
        )
        one.close()
        with duck.connect([folder, tables, *([out.parent] if out else [])]) as con:
            built = con.execute(f"select count(*) from {bounds} where as_of_date = $1", [as_of]).fetchone()
            con.execute(
                f"""
                create temp table compared as
                with past as (
                    select * from {history}
                    where $2 and valid_from <= $1 and (valid_to is null or valid_to > $1)
                )

                select customer_key, scheme, now.class as class, past.class as computed_then,
                    -- Of a scheme without a history on that day nothing was said.
                    now.class is distinct from past.class and scheme in (select scheme from past) as is_corrected
                from read_parquet({literal(str(rebuilt))}) as now
                full join past using (customer_key, scheme)
                """,
                [as_of, bool(built and built[0])],
            )
            if out:
                con.execute(
                    f"copy (from compared order by customer_key, scheme) to {literal(str(out))} (format parquet)"
                )
            counts = con.execute(
                "select scheme, class, count(*) from compared where class is not null group by all order by all"
            ).fetchall()
            changes = con.execute(
                "select scheme, computed_then, class, count(*) as n from compared where is_corrected group by all "
                "order by scheme, n desc, 2, 3"
            ).fetchall()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return Past(
        as_of,
        known_at,
        now["release"] if built and built[0] else None,
        tuple(counts),
        tuple(Change(*row) for row in changes),
    )


_FILES = ("class_history.parquet", "class_bounds.parquet")
