"""Who is in which audience, and why the others are not. Pure: frames in, lists of customer_keys out."""

import hmac
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from pipeline import duck
from pipeline.duck import literal, quote
from pipeline.publish.audiences.policy import Audience

MARKETING_CHANNELS_WITHOUT_ADDRESS = ("wechat", "push")
"""Channels that need no phone or e-mail, so that their age says nothing."""

UNKNOWN, NO_CONSENT, WITHDRAWN = "unknown_person", "no_consent", "consent_withdrawn"
# What a refusal by a message is called: the word of fct_consent_states → the reason.
BY_MESSAGE = {"unsubscribe": "unsubscribed", "complaint": "complained"}
REFUSED = frozenset({WITHDRAWN, *BY_MESSAGE.values()})
"""Reasons that say that the person refused to be addressed on the channel."""
UNPROFILED = frozenset({"restricted", "objected_profiling", "withdrew_profiling"})
"""Reasons of no profile that say nothing of being addressed: a refusal of the channel goes before them."""
NOT_RELEASED, LEFT_CLASS, HELD_OUT = "not_in_release", "left_class", "holdout"
NO_IDENTIFIER, SHARED = "no_identifier", "shared_contact"
AGE_UNKNOWN = "age_unknown"
STATED = frozenset(
    {
        *REFUSED,
        *UNPROFILED,
        "erased",
        "under_14",
        "minor",
        "pressure_cap",
    }
)
"""Reasons that rest on something that was said or done, never on something missing: these removes always go out."""


@dataclass(frozen=True)
class Chosen:
    """One audience.

    Args:
        matched: how many the rule is true of.
        active: who is addressed. holdout: who would be, but is held out. lost: customer_key → audience of higher
            priority that has her on this channel.
        reasons: customer_key → why she is not active, for everybody known but those in `active`.
    """

    audience: Audience
    matched: int
    active: tuple[str, ...]
    holdout: tuple[str, ...]
    lost: Mapping[str, str]
    reasons: Mapping[str, str]
    suppressed: Mapping[str, int]


class _Reasons(Mapping[str, str]):
    """Reasons of those whom a rule is true of, and of all others: these are looked through only where one is asked for."""

    def __init__(self, own: Mapping[str, str], others: pa.Table) -> None:
        self._own, self._others = own, others

    @cached_property
    def _all(self) -> dict[str, str]:
        return {**dict(_pairs(self._others)), **self._own}

    def __getitem__(self, key: str) -> str:
        return self._own[key] if key in self._own else self._all[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._all)

    def __len__(self) -> int:
        return len(self._own) + len(self._others)


def _pairs(rows: pa.Table) -> Iterator[tuple[str, str]]:
    return zip(rows["customer_key"].to_pylist(), rows["reason"].to_pylist(), strict=True)


def held_out(salt: bytes, customer_key: str, share: float) -> bool:
    """Whether a person is in the hold-out of this share. Always the same answer; a larger share holds out the same
    people and more."""
    number = int.from_bytes(hmac.digest(salt, b"holdout\x1f" + customer_key.encode(), "sha256")[:8], "big")
    return number < int(share * 2**64)


def choose(
    audiences: Iterable[Audience],
    people: pd.DataFrame,
    consents: pd.DataFrame,
    salt: bytes,
    limits: Mapping[str, float],
) -> list[Chosen]:
    """Each audience, in the order of priority.

    Args:
        people: one row per person known today: customer_key, excluded (reason or null), is_minor, is_age_known,
            is_internal, contact_status, in_release, released_<channel> (null where the release has no flag for it), messages_7d,
            messages_30d, and one column for each scheme of the rules with her class or null.
        consents: one row per customer_key, purpose and channel: is_granted, refused_by (`unsubscribe`, `complaint`; any
            other: a withdrawal).
        limits: thresholds of the policy.
    """
    taken: dict[str, dict[str, str]] = {}
    chosen = []
    # A column in which nobody has anything would come without a type.
    texts = [c for c in people.columns if people[c].isna().all() or people[c].dtype == object]
    people = people.astype({c: "string" for c in texts if not c.startswith("released_")})
    con = duck.connect([])
    try:
        con.register("people", pa.Table.from_pandas(people, preserve_index=False))
        con.register("consents", pa.Table.from_pandas(consents, preserve_index=False))
        for audience in sorted(audiences, key=lambda a: a.priority):
            rows = _judged(con, audience, limits, set(people.columns))
            owners = taken.setdefault(audience.channel, {})
            active: list[str] = []
            holdout: list[str] = []
            lost: dict[str, str] = {}
            reasons: dict[str, str] = {}
            suppressed: dict[str, int] = {}
            concerned = pc.or_(pc.is_null(rows["reason"]), pc.fill_null(rows["matches"], False))
            for key, reason in _pairs(rows.filter(concerned)):
                if reason is not None:
                    reasons[key] = reason
                    suppressed[reason] = suppressed.get(reason, 0) + 1
                elif key in owners:
                    lost[key] = owners[key]
                    reasons[key] = f"in_{owners[key]}"
                else:
                    owners[key] = audience.name
                    if held_out(salt, key, audience.holdout_share):
                        holdout.append(key)
                        reasons[key] = HELD_OUT
                    else:
                        active.append(key)
            matched = len(active) + len(holdout) + len(lost) + sum(suppressed.values())
            chosen.append(
                Chosen(
                    audience,
                    matched,
                    tuple(active),
                    tuple(holdout),
                    lost,
                    _Reasons(reasons, rows.filter(pc.invert(concerned))),
                    dict(sorted(suppressed.items())),
                )
            )
    finally:
        con.close()
    return chosen


def consent_of(consents: pd.DataFrame, purpose: str, channel: str) -> dict[str, bool]:
    """customer_key → whether she consents to `purpose` on `channel`; who never said anything is not in it.

    The word on the channel itself decides; without one the word on `all` does.
    """
    own = consents[(consents["purpose"] == purpose) & consents["channel"].isin([channel, "all"])]
    own = own.assign(is_own=own["channel"] == channel).sort_values("is_own")
    return dict(zip(own["customer_key"], own["is_granted"].astype(bool), strict=True))


def _judged(
    con: duckdb.DuckDBPyConnection, audience: Audience, limits: Mapping[str, float], columns: set[str]
) -> pa.Table:
    """customer_key, `matches`: whether the rule is true of her, `reason`: the first why she may not be addressed, or null."""
    rule, values = audience.rule.sql()
    flag = f"released_{audience.channel}"
    released = quote(flag) if flag in columns else "null"
    by_message = " ".join(
        f"when {literal(word)} then {literal(reason)}" for word, reason in BY_MESSAGE.items()
    )
    refused = f"case refused_by {by_message} else {literal(WITHDRAWN)} end"
    refusable = ", ".join(map(literal, sorted(UNPROFILED)))
    age_known = "is_age_known" if "is_age_known" in columns else "false"
    parameters = {
        "purpose": audience.purpose,
        "channel": audience.channel,
        "has_address": audience.channel not in MARKETING_CHANNELS_WITHOUT_ADDRESS,
        "is_message": audience.channel != "ads",
        "adults_only": audience.adults_only,
        "max_7d": limits["pressure_7d_max"],
        "max_30d": limits["pressure_30d_max"],
    }
    for n, value in enumerate(values):
        rule = rule.replace("?", f"$class_{n}", 1)
        parameters[f"class_{n}"] = value
    return con.execute(
        f"""
        with words as (
            select customer_key, coalesce(
                bool_and(is_granted) filter (where channel = $channel),
                bool_and(is_granted) filter (where channel = 'all')) as is_granted,
                -- A message is of one channel.
                min(refused_by) filter (where channel = $channel and not is_granted) as refused_by
            from consents where purpose = $purpose and channel in ($channel, 'all') group by customer_key
        ),
        judged as (
            select people.*, words.is_granted, words.refused_by, in_release and {rule} as matches, {released} as is_released
            from people left join words using (customer_key)
        )
        select customer_key, matches, case
            -- Whom a tool may keep as somebody to write to, where it only hears that no profile is made of her.
            when excluded in ({refusable}) and not is_granted then {refused}
            when excluded is not null then excluded
            when is_minor then 'minor'
            when $adults_only and not coalesce({age_known}, false) then '{AGE_UNKNOWN}'
            when is_internal then 'internal'
            when not is_granted then {refused}
            when is_granted is null then '{NO_CONSENT}'
            when $has_address and contact_status = 'none' then '{NO_IDENTIFIER}'
            when $has_address and contact_status <> 'fresh' then 'stale_contact'
            when not in_release or not coalesce(is_released, true) then '{NOT_RELEASED}'
            when $is_message and (messages_7d >= $max_7d or messages_30d >= $max_30d) then 'pressure_cap'
            when not matches then '{LEFT_CLASS}'
        end as reason
        from judged order by customer_key
        """,
        parameters,
    ).to_arrow_table()
