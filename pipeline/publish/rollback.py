"""Going back to a release that was published before: the pointer moves, and nothing is built.

Who may be addressed is asked of today and not of then: whoever has withdrawn since is left out, and the release is
then made again, without them, under the next free id of its day.
"""

from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pipeline import duck
from pipeline.duck import literal, parquet, quote
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

        def note(release: str, people: int) -> None:
            access_log.record(settings, by, f"rollback to {release} from {now}", "publication", people)

        done = republish.again(settings, manifest, now, refused, log, note)
    return RolledBack(to, done.release, now, done.rows, done.persons)


def refused_since(settings: Settings, folder: Path, known: Collection[str]) -> Refusals:
    """Who is in the release and would not be today: by the newest build's states of consent, by the desk, and by what was
    delivered since that build.

    Args:
        known: the deliveries that the release was made of.
    """
    warehouse = settings.warehouse
    if not warehouse.exists():
        raise StrataError(
            f"{warehouse} is not there, so nobody can tell who has withdrawn since: run `strata run` first"
        )
    con = duck.connect([folder, warehouse.parent], database=warehouse, read_only=True)
    try:
        told = consent.heard(settings, con, known)
        members = parquet(folder / MEMBERSHIP)
        names = [row[0] for row in con.execute(f"describe select * from {members}").fetchall()]
        flags = [name for name in names if name.startswith(FLAG)]
        held = "".join(f", bool_or({quote(flag)}) as {quote(flag)}" for flag in flags)
        con.execute(
            f"create temp table published as select customer_key{held} from {members} group by customer_key"
        )
        # One look at the states, of the people of the release only.
        allowed = "".join(f", {_allows(flag.removeprefix(FLAG))} as {quote(flag)}" for flag in flags)
        con.execute(
            "create temp table allowed as select customer_key, "
            "bool_or(is_granted and purpose = 'marketing') and bool_or(is_granted and purpose = 'profiling') "
            f"as may_be_addressed{allowed} from core.fct_consent_states semi join published using (customer_key) "
            "where purpose in ('marketing', 'profiling') group by customer_key"
        )
        unprofiled = con.execute("select customer_key from intermediate.int_persons_excluded").fetchall()
        unmarketed = con.execute(
            "select customer_key from published anti join (from allowed where may_be_addressed) using (customer_key) "
            "union select customer_key from published semi join (from core.dim_customers where is_minor) "
            "using (customer_key)"
        ).fetchall()
        channels = {
            flag.removeprefix(FLAG): con.execute(
                f"select customer_key from published anti join (from allowed where {quote(flag)}) using (customer_key) "
                f"where {quote(flag)}"
            ).fetchall()
            for flag in flags
        }
    finally:
        con.close()
    states = Refusals(
        frozenset(row[0] for row in unprofiled),
        frozenset(row[0] for row in unmarketed),
        {channel: frozenset(row[0] for row in rows) for channel, rows in channels.items()},
    )
    return states | consent.refusals(settings, known) | consent.delivered_since(settings, told)


def _allows(channel: str) -> str:
    """SQL over the states of one person: a word on the channel outweighs the word on all of them."""
    one = f"purpose = 'marketing' and channel = {literal(channel)}"
    return (
        f"bool_or(is_granted and ({one} or purpose = 'marketing' and channel = 'all')) "
        f"and not bool_or({one} and not is_granted)"
    )
