"""Going back to a release that was published before: the pointer moves, and nothing is built.

Who may be addressed is asked of today and not of then: whoever has withdrawn since is left out, and the release is
then made again, without them, under the next free id of its day.
"""

from collections.abc import Callable, Collection, Sequence
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

# Bits of what a person said: granted profiling, marketing on any channel, marketing on all. Two for each channel follow.
_PROFILING, _MARKETING, _BY_ALL = 1, 2, 4
_BOTH = _PROFILING | _MARKETING


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
        con.execute(f"create temp table allowed as {_allowed(flags)}")
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


def _allowed(flags: Sequence[str]) -> str:
    """SQL of `may_be_addressed` and each flag by today's states, one row per person who said anything of either purpose.

    What a person said is one number, gathered in one look: a bit for each grant, and one for each channel refused by
    itself, which outweighs the word on all. A condition for each flag takes twice as long.
    """
    own = {flag: (1 << 3 + 2 * n, 1 << 4 + 2 * n) for n, flag in enumerate(flags)}
    marketing = " ".join(
        f"when {literal(flag.removeprefix(FLAG))} then if(is_granted, {_MARKETING | granted}, {refused})"
        for flag, (granted, refused) in own.items()
    )
    said = (
        f"case purpose when 'profiling' then if(is_granted, {_PROFILING}, 0) "
        f"else case channel when 'all' then if(is_granted, {_MARKETING | _BY_ALL}, 0) {marketing} "
        f"else if(is_granted, {_MARKETING}, 0) end end"
    )
    allowed = "".join(
        f", said & {granted | _BY_ALL} > 0 and said & {refused} = 0 as {quote(flag)}"
        for flag, (granted, refused) in own.items()
    )
    return (
        f"select customer_key, said & {_BOTH} = {_BOTH} as may_be_addressed{allowed} from "
        f"(select customer_key, bit_or({said}) as said from core.fct_consent_states "
        "where purpose in ('marketing', 'profiling') group by customer_key)"
    )
