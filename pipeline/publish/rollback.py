"""Going back to a release that was published before: the pointer moves, and nothing is built.

Who may be addressed is asked of today and not of then: whoever has withdrawn since is left out, and the release is
then made again, without them, under the next free id of its day.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pipeline import duck
from pipeline.duck import parquet, quote
from pipeline.errors import StrataError
from pipeline.lock import publish_lock, run_lock
from pipeline.privacy import access_log, consent
from pipeline.privacy.consent import Refusals
from pipeline.publish import republish, shelf
from pipeline.publish.withheld import FLAG, MEMBERSHIP
from pipeline.quality import approvals
from pipeline.settings import Settings


@dataclass(frozen=True)
class RolledBack:
    """`release` is current and says what `asked` said, less `rows` of `persons` who have refused since; `before` was."""

    asked: str
    release: str
    before: str
    rows: int
    persons: int


def rollback(settings: Settings, to: str, by: str, log: Callable[[str], None] = lambda _: None) -> RolledBack:
    """Make the release `to` current again; the act is in the log of the vault, with who did it.

    Raises:
        StrataError: where there is no such release, or its files are not those that were published.
        GateStopped: where somebody who must not be addressed would still be in it.
    """
    if not by.strip():
        raise StrataError("--by must say who goes back")
    with run_lock(settings, log=log), publish_lock(settings, log=log):
        manifest = shelf.load_manifest(settings, to)
        now = shelf.pointed(settings)
        if now is None:
            raise StrataError(f"no release has been published in {settings.home} yet: run `strata run`")
        _, problems = shelf.verify(settings, to)
        if problems:
            raise StrataError(f"release {to} cannot become current: {problems[0]}")
        if now == to:
            return RolledBack(to, to, to, 0, 0)
        # The release that is left may be lost or damaged: that is when one goes back.
        with suppress(StrataError):
            approvals.spend(settings, shelf.load_manifest(settings, now))
        refused = refused_since(settings, settings.releases / to, manifest["inputs"])
        done = republish.again(settings, manifest, now, refused, log)
        access_log.record(settings, by, f"rollback to {done.release} from {now}", "publication", done.persons)
    return RolledBack(to, done.release, now, done.rows, done.persons)


def refused_since(settings: Settings, folder: Path, known: dict[str, str]) -> Refusals:
    """Who is in the release and would not be today, by the newest build's states of consent and by the desk."""
    desk = consent.refusals(settings, known)
    warehouse = settings.warehouse
    if not warehouse.exists():
        raise StrataError(
            f"{warehouse} is not there, so nobody can tell who has withdrawn since: run `strata run` first"
        )
    con = duck.connect([folder, warehouse.parent], database=warehouse, read_only=True)
    try:
        published = parquet(folder / MEMBERSHIP)
        con.execute(f"create temp view published as select * from {published}")
        flags = [
            row[0].removeprefix(FLAG)
            for row in con.execute("describe published").fetchall()
            if row[0].startswith(FLAG)
        ]
        unprofiled = con.execute("select customer_key from intermediate.int_persons_excluded").fetchall()
        unmarketed = con.execute(
            "select customer_key from published except ("
            "select customer_key from core.fct_consent_states where is_granted and purpose in ('marketing', 'profiling') "
            "group by customer_key having count(distinct purpose) = 2 except "
            "select customer_key from core.dim_customers where is_minor)"
        ).fetchall()
        channels = {
            channel: con.execute(
                f"select distinct customer_key from published where {quote(FLAG + channel)} and customer_key not in ("
                "select customer_key from core.fct_consent_states where purpose = 'marketing' and channel in ($1, 'all') "
                "group by customer_key having bool_or(is_granted) "
                "and not bool_or(channel = $1 and not is_granted))",
                [channel],
            ).fetchall()
            for channel in flags
        }
    finally:
        con.close()
    keys = {channel: {row[0] for row in rows} for channel, rows in channels.items()}
    return Refusals(
        desk.unprofiled | {row[0] for row in unprofiled},
        desk.unmarketed | {row[0] for row in unmarketed},
        {
            channel: desk.channels.get(channel, frozenset()) | keys.get(channel, set())
            for channel in {*desk.channels, *keys}
        },
    )
