"""What a home knows of its people today: classes of the current release, consent and contacts of the last build.

The release says who is in which class; the build says who may be addressed, and is never older than the release.
Read under the run lock. Only tokens here: clear values come from the vault, for those who are chosen.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pyarrow as pa

from pipeline import duck
from pipeline.duck import literal, quote
from pipeline.errors import StrataError
from pipeline.identity import tables
from pipeline.ingest import ledger
from pipeline.ingest.files import sha256
from pipeline.privacy import consent
from pipeline.privacy.consent import Refusals
from pipeline.publish import shelf
from pipeline.settings import Settings

_MEMBERSHIP = Path("tables") / "audiences" / "segment_membership.parquet"
_FLAG = "consent_"


@dataclass(frozen=True)
class Home:
    """People of one home.

    Args:
        people, consents: as `selection.choose` takes them.
        contacts: one row per person: customer_key, phone_token, email_token, userid, external_userid, openid.
        records: source and source_customer_id of every record known today.
        heard: deliveries that the build has read; what was said in others and at the desk is in `people` and `consents` too.
    """

    release: str
    as_of: date
    policy_version: str
    people: pd.DataFrame
    consents: pd.DataFrame
    contacts: pd.DataFrame
    records: pa.Table
    heard: frozenset[str]


def read(settings: Settings, schemes: Iterable[str]) -> Home:
    """Read the home. Raises StrataError where nothing was published, or the build is gone or older than the release."""
    manifest = shelf.current(settings)
    if manifest is None:
        raise StrataError(f"no release has been published in {settings.home} yet: run `strata run`")
    table = settings.releases / manifest["release"] / _MEMBERSHIP
    stated = manifest["files"].get(_MEMBERSHIP.as_posix(), {}).get("sha256")
    if not table.is_file() or sha256(table) != stated:
        raise StrataError(
            f"release {manifest['release']} is damaged: {_MEMBERSHIP} is not the file that was published; "
            "see `strata releases verify`"
        )
    if not settings.warehouse.exists():
        raise StrataError(
            f"{settings.warehouse} is gone (a new token key removes it): `strata run` builds it again, then export"
        )
    with _warehouse(settings) as con:
        return _read(con, settings, manifest, table, sorted(schemes))


def released_people(
    settings: Settings, folder: Path, schemes: Iterable[str]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """People of a written release or its candidate, built just now, and consents, both as `selection.choose` takes them.

    Who is not in the release is in no audience and is left out.
    """
    with _warehouse(settings, folder) as con:
        row = con.execute("select max(as_of_date) from intermediate.int_run_policy").fetchone()
        if row is None or row[0] is None:
            raise StrataError(f"{settings.warehouse} is not a complete build: run `strata run`")
        # The build is the candidate's own: what was delivered for later days is no part of its day.
        own = {e.delivery for e in ledger.in_force(ledger.read(settings), row[0])}
        said = consent.refusals(settings, own)
        people, consents = _people(con, settings, folder / _MEMBERSHIP, sorted(schemes), row[0], said)
    return people[people["in_release"]], consents


@contextmanager
def _warehouse(settings: Settings, *folders: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """The build, with what its people are read from. Raises StrataError where a table of it is missing."""
    con = duck.connect(
        [settings.raw, settings.identity, settings.build, settings.releases, *folders],
        database=settings.warehouse,
        read_only=True,
        spill=settings.build / ".spill",
    )
    try:
        yield con
    except (duckdb.CatalogException, duckdb.BinderException) as error:
        raise StrataError(
            f"{settings.warehouse} is not a complete build ({duck.without_values(error)}): run `strata run`, then export"
        ) from error
    finally:
        con.close()


def _read(
    con: duckdb.DuckDBPyConnection,
    settings: Settings,
    manifest: dict[str, Any],
    table: Path,
    schemes: list[str],
) -> Home:
    row = con.execute("select max(as_of_date) from intermediate.int_run_policy").fetchone()
    built = row[0] if row else None
    as_of = date.fromisoformat(manifest["as_of_date"])
    if built is None or built < as_of:
        raise StrataError(
            f"the warehouse was built for {built}, before release {manifest['release']}: run `strata run` for {as_of}, "
            "or consents given up since would be missed"
        )
    # A run that a gate stopped has taken in refusals that this build has not read.
    heard = consent.heard(settings, con, manifest["inputs"])
    said = consent.refusals(settings, heard) | consent.delivered_since(settings, heard)
    people, consents = _people(con, settings, table, schemes, built, said)
    contacts = con.execute(_contacts(settings)).df()
    records = con.execute("select source, source_customer_id from links").to_arrow_table()
    return Home(
        manifest["release"],
        built,
        str(manifest.get("policy_version") or ""),
        people,
        consents,
        contacts,
        records,
        frozenset(heard),
    )


def _people(
    con: duckdb.DuckDBPyConnection,
    settings: Settings,
    table: Path,
    schemes: list[str],
    built: date,
    refused: Refusals,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Everybody that the build knows, with classes and flags of the membership in `table`; and what they consent to."""
    con.execute(f"create temp view membership as select * from read_parquet({literal(str(table))})")
    _register(con, settings, built)
    flags = [
        name.removeprefix(_FLAG)
        for name, *_ in con.execute("describe membership").fetchall()
        if name.startswith(_FLAG)
    ]
    classes = "".join(
        f", max(class) filter (where scheme = {literal(scheme)}) as {quote(scheme)}" for scheme in schemes
    )
    released = "".join(f", bool_or({quote(_FLAG + c)}) as {quote('released_' + c)}" for c in flags)
    excluded = _has(con, "intermediate", "int_persons_excluded")
    none = "(select cast(null as varchar) as customer_key, cast(null as varchar) as reason where false)"
    people = con.execute(
        f"""
        with released as (select customer_key{released}{classes} from membership group by customer_key),
        sent as (
            select links.customer_key,
                count(*) filter (where messages.day >= cast($built as date) - interval 7 day) as messages_7d,
                count(*) as messages_30d
            from ({_messages(settings)}) as messages
            inner join links using (source, source_customer_id)
            where messages.day >= cast($built as date) - interval 30 day and messages.day < cast($built as date)
            group by links.customer_key
        )
        select customers.customer_key, excluded.reason as excluded, customers.is_minor,
            customers.age is not null as is_age_known, customers.is_test or customers.is_employee as is_internal, customers.contact_status,
            released.customer_key is not null as in_release, released.* exclude (customer_key),
            coalesce(sent.messages_7d, 0) as messages_7d, coalesce(sent.messages_30d, 0) as messages_30d
        from core.dim_customers as customers
        left join {"intermediate.int_persons_excluded" if excluded else none} as excluded
            on customers.customer_key = excluded.customer_key
        left join released on customers.customer_key = released.customer_key
        left join sent on customers.customer_key = sent.customer_key
        """,
        {"built": built},
    ).df()
    consents = con.execute(
        "select customer_key, purpose, channel, is_granted, refused_by from core.fct_consent_states"
    ).df()
    return heeded(people, consents, refused)


def _register(con: duckdb.DuckDBPyConnection, settings: Settings, built: date) -> None:
    """`deliveries` in force and `links` of the day of the build.

    Not through the warehouse's own views: they name files where the home was when they were made.
    """
    in_force = ledger.in_force(ledger.read(settings), built)
    loaded = [e for e in in_force if e.status == "loaded"]
    columns = {
        "delivery": pa.array([e.delivery for e in loaded], pa.string()),
        "source": pa.array([e.source for e in loaded], pa.string()),
        "dt": pa.array([e.dt for e in loaded], pa.date32()),
        "rev": pa.array([e.rev for e in loaded], pa.int32()),
    }
    con.register("deliveries", pa.table(columns))
    con.execute(
        "create temp table links as select source, source_customer_id, customer_key from "
        f"{tables.sql(settings, 'links')} where known_at = $1",
        [built],
    )


def heeded(
    people: pd.DataFrame, consents: pd.DataFrame, refused: Refusals
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """People and consents once more, with what was said since the build."""
    said: list[tuple[str, str, str, str | None]] = [
        (key, "marketing", "all", None) for key in refused.unmarketed
    ]
    for channel, keys in refused.channels.items():
        words = refused.by_message.get(channel, {})
        said += [(key, "marketing", channel, words.get(key)) for key in keys]
    said += [(key, purpose, "all", None) for purpose, keys in refused.others.items() for key in keys]
    if said:
        new = pd.DataFrame(said, columns=["customer_key", "purpose", "channel", "refused_by"])
        new = new.assign(is_granted=False)
        is_marketing = consents["purpose"] == "marketing"
        # A word on every channel ends what was said of each; one on a channel ends that.
        ended = is_marketing & consents["customer_key"].isin(refused.unmarketed)
        for channel, keys in refused.channels.items():
            ended |= is_marketing & (consents["channel"] == channel) & consents["customer_key"].isin(keys)
        for purpose, keys in refused.others.items():
            ended |= (consents["purpose"] == purpose) & consents["customer_key"].isin(keys)
        consents = pd.concat([consents[~ended], new], ignore_index=True)
    excluded = people["excluded"].astype(object)
    excluded[people["customer_key"].isin(refused.unprofiled) & excluded.isna()] = "withdrew_profiling"
    return people.assign(excluded=excluded), consents


def _has(con: duckdb.DuckDBPyConnection, schema: str, name: str) -> bool:
    found = con.execute(
        "select 1 from information_schema.tables where table_schema = $1 and table_name = $2", [schema, name]
    ).fetchone()
    return found is not None


def _raw(settings: Settings, feed: str) -> str:
    """Records of a feed of the deliveries in force, with the source that delivered them as `from_source`."""
    pattern = literal(str(settings.raw / "*" / feed / "*" / "*" / "*.parquet"))
    return (
        f"select records.* exclude (_delivery), deliveries.source as from_source, deliveries.dt, deliveries.rev "
        f"from read_parquet({pattern}, union_by_name = true, hive_partitioning = false) as records "
        "inner join deliveries on records._delivery = deliveries.delivery"
    )


def _messages(settings: Settings) -> str:
    """Marketing messages, each once: those of a campaign. What a contract needs said is none."""
    return (
        "select from_source as source, source_customer_id, cast(sent_at as date) as day from ("
        "select *, row_number() over (partition by from_source, message_id "
        f"order by updated_at desc nulls last, dt desc, rev desc, _row desc) as nth from ({_raw(settings, 'messages')})"
        ") where nth = 1 and campaign_id is not null and source_customer_id is not null"
    )


def _contacts(settings: Settings) -> str:
    """The newest phone and e-mail that any record of a person states, and her ids at WeChat while she is there."""
    return f"""
    with customers as (
        select links.customer_key, records.phone_token, records.email_token, row_number() over (
            partition by links.customer_key
            order by records.updated_at desc nulls last, records.dt desc, records.rev desc, records.from_source,
                records.source_customer_id, records._row desc
        ) as place
        from ({_raw(settings, "customers")}) as records
        inner join links
            on records.from_source = links.source and records.source_customer_id = links.source_customer_id
    ),
    stated as (
        select customer_key,
            arg_min(phone_token, place) filter (where phone_token is not null) as phone_token,
            arg_min(email_token, place) filter (where email_token is not null) as email_token
        from customers group by customer_key
    ),
    members as (
        select *, row_number() over (
            partition by from_source, account_id, member_ext_id
            order by updated_at desc nulls last, dt desc, rev desc, _row desc
        ) as nth
        from ({_raw(settings, "private_domain")})
    ),
    placed as (
        select links.customer_key, members.kind, members.account_id, members.member_ext_id, row_number() over (
            partition by links.customer_key, members.kind
            order by members.last_interaction_at desc nulls last, members.account_id, members.member_ext_id
        ) as place
        from members
        inner join links
            on members.from_source = links.source and members.source_customer_id = links.source_customer_id
        where members.nth = 1 and members.left_at is null
    ),
    wechat as (
        select customer_key,
            max(account_id) filter (where kind = 'wecom') as userid,
            max(member_ext_id) filter (where kind = 'wecom') as external_userid,
            max(member_ext_id) filter (where kind = 'official_account') as openid
        from placed where place = 1 group by customer_key
    )
    select customer_key, phone_token, email_token, userid, external_userid, openid
    from stated full join wechat using (customer_key)
    """
