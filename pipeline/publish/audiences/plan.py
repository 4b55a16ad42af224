"""What an export would do: who is addressed at each destination, what changes there, and what stops it.

Clear contacts are in memory only; nothing is written but the line that says that the vault was opened.
"""

from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import Any

from pipeline.errors import StrataError
from pipeline.ingest.vault import Vault, token
from pipeline.publish import shelf
from pipeline.publish.audiences import diff as diffs
from pipeline.publish.audiences import policy as policies
from pipeline.publish.audiences import selection, source
from pipeline.publish.audiences import state as states
from pipeline.publish.audiences.diff import Diff, Holding
from pipeline.publish.audiences.policy import Destination, Policy, Target
from pipeline.publish.audiences.profiles import PROFILES, Profile, identifiers, render
from pipeline.publish.audiences.selection import Chosen
from pipeline.publish.audiences.writers import Row
from pipeline.settings import Settings

STOPPED = ("blocked", "refused")
# Without it a message of that channel does not arrive.
_NEEDED = {"email": "email", "sms": "phone", "call": "phone"}
_CONTACT = ("userid", "external_userid", "openid")
_HOW = ": look at `strata audiences preview`; if it is right, export with --approved-by NAME"


@dataclass
class Delivery:
    """What became of one audience at one destination.

    Args:
        status: written; ended (declared no more: everybody leaves); below_minimum (removes alone may be written); no_remote_id (the destination's own id is not in
            the policy); blocked (change volume: only removes that rest on somebody's word are written); refused
            (foreign transfer without a basis: nothing leaves, not even removes).
        base: release that the destination acknowledged, None before the first.
        size: people who are addressed. reach: of them, those with an identifier that it takes.
        not_reached: reason → people of `size` who are not in `reach`.
        removed: reason → removes.
    """

    audience: str
    destination: str
    channel: str
    purpose: str
    status: str
    reason: str
    base: str | None
    matched: int
    suppressed: Mapping[str, int]
    lost: int
    holdout: int
    size: int
    reach: int
    minimum: int
    not_reached: Mapping[str, int]
    full: int = 0
    adds: int = 0
    removes: int = 0
    removed: Mapping[str, int] = field(default_factory=dict)
    transfer: Mapping[str, str] | None = None
    files: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True)
class Planned:
    """A delivery with what it would write."""

    delivery: Delivery
    target: Target
    change: Diff
    state: states.State
    after: states.State | None


@dataclass(frozen=True)
class Exported:
    """One export: its id and folder (None where no audience is declared), and what became of each audience."""

    release: str
    as_of: str
    policy_version: str
    export: str | None
    folder: Path | None
    deliveries: list[Delivery]

    @property
    def stopped(self) -> list[Delivery]:
        return [d for d in self.deliveries if d.status in STOPPED]

    def as_dict(self) -> dict[str, Any]:
        return {
            "release": self.release,
            "as_of_date": self.as_of,
            "policy_version": self.policy_version,
            "export": self.export,
            "folder": str(self.folder) if self.folder else None,
            "deliveries": [asdict(d) for d in self.deliveries],
        }


def policy_of(as_of: date, folder: Path | None) -> Policy:
    """The policy in force on a day, of the project or of another folder of seeds."""
    return policies.load(as_of, *([folder] if folder else []))


def released_for(settings: Settings) -> date:
    """The as-of date of the current release."""
    manifest = shelf.current(settings)
    if manifest is None:
        raise StrataError(f"no release has been published in {settings.home} yet: run `strata run`")
    return date.fromisoformat(manifest["as_of_date"])


class _People:
    """Who was a customer_key that nobody has today. Looked up only where one is met."""

    def __init__(self, vault: Vault, home: source.Home) -> None:
        self._vault, self._home = vault, home

    @cached_property
    def _minted(self) -> set[str]:
        """The customer_key that each record known today would have of its own."""
        key = self._vault.minting_key
        records = (self._home.records[name].to_pylist() for name in ("source", "source_customer_id"))
        return {token(key, "customer", f"{source}\x1f{id_}") for source, id_ in zip(*records, strict=True)}

    def fate(self, member: str) -> str:
        """She was erased, her record belongs to another person now, or it is gone."""
        if self._vault.tombstones.erased_on("key", member):
            return "erased"
        return "merged" if member in self._minted else selection.UNKNOWN


def plan(
    settings: Settings,
    policy_folder: Path | None,
    purpose: str,
    audiences: Collection[str] | None,
    destinations: Collection[str] | None,
    approved_by: str,
) -> tuple[source.Home, list[Planned], list[Chosen]]:
    """Everything that an export needs, with clear contacts in `snapshot`; nothing is written."""
    # One policy for the whole export: the one in force on the day that the release is for.
    policy = policy_of(released_for(settings), policy_folder)
    home = source.read(settings, policy.schemes)
    _check_names(policy, audiences, destinations)
    vault = Vault(settings, purpose)
    chosen = selection.choose(policy.audiences, home.people, home.consents, vault.holdout_salt, policy.limits)
    wanted = [
        (one, target)
        for one in chosen
        for target in one.audience.targets
        if (audiences is None or one.audience.name in audiences)
        and (destinations is None or target.destination.name in destinations)
    ]
    sending = {
        key for one, target in wanted if not no_basis(policy, target.destination) for key in one.active
    }
    contacts = _clear_contacts(vault, home, sending)
    if unknown := sending - contacts.keys():
        raise StrataError(
            f"{len(unknown)} people of release {home.release} are not among the customers of today: a run was begun and "
            "not finished; `strata run` first"
        )
    people = _People(vault, home)
    planned = [
        _plan_one(settings, home, policy, people, one, target, contacts, approved_by)
        for one, target in wanted
    ]
    return home, planned + _ended(settings, home, policy, audiences, destinations, approved_by), chosen


def _check_names(
    policy: Policy, audiences: Collection[str] | None, destinations: Collection[str] | None
) -> None:
    have = {a.name for a in policy.audiences}
    goes = {t.destination.name for a in policy.audiences for t in a.targets}
    for asked, known, what in (
        (audiences, have, "audience"),
        (destinations, goes, "destination with an audience"),
    ):
        for name in asked or ():
            if name not in known:
                raise StrataError(
                    f"audiences.csv has no {what} {name}; it has: {', '.join(sorted(known)) or 'none'}"
                )


def no_basis(policy: Policy, destination: Destination) -> str:
    """Why nothing may go to a destination, or ''."""
    if destination.is_foreign and destination.name not in policy.bases:
        return (
            f"{destination.name} is in {destination.country or 'another country'} and transfer_bases.csv has no basis for it in "
            "force: add a row (standard_contract, certification, security_assessment or exempt) with its reference"
        )
    return ""


def _clear_contacts(
    vault: Vault, home: source.Home, keys: Collection[str]
) -> dict[str, dict[str, str | None]]:
    """customer_key → clear fields of the people who are addressed; the vault is asked for nobody else."""
    rows = home.contacts[home.contacts["customer_key"].isin(keys)]
    rows = rows.astype(object).where(rows.notna(), None)
    if rows.empty:
        return {}
    with vault:
        clear = vault.clear([t for name in ("phone_token", "email_token") for t in rows[name] if t])
    return {
        row["customer_key"]: {
            "customer_key": row["customer_key"],
            "phone": clear.get(row["phone_token"]),
            "email": clear.get(row["email_token"]),
            **{name: row[name] for name in _CONTACT},
        }
        for row in rows.to_dict("records")
    }


def _plan_one(
    settings: Settings,
    home: source.Home,
    policy: Policy,
    people: _People,
    one: Chosen,
    target: Target,
    contacts: Mapping[str, Mapping[str, str | None]],
    approved_by: str,
) -> Planned:
    audience, destination = one.audience, target.destination
    profile = PROFILES[destination.name]
    state = states.load(settings, destination.name, audience.name)
    not_reached: dict[str, str] = {}
    refusal = no_basis(policy, target.destination)
    for purpose in destination.purposes:
        said = selection.consent_of(home.consents, purpose, audience.channel)
        for key in one.active:
            if not said.get(key):
                not_reached.setdefault(key, selection.WITHDRAWN if key in said else selection.NO_CONSENT)
    rows: dict[str, Row] = {}
    for key in one.active:
        if key in not_reached:
            continue
        row = render(destination.name, _for_channel(profile, audience.channel, contacts.get(key, {})))
        if row is None or not _reaches(profile, audience.channel, row):
            not_reached[key] = selection.NO_IDENTIFIER
        else:
            rows[key] = row
    snapshot, shares = diffs.distinct(profile, rows)
    not_reached |= dict.fromkeys(shares, selection.SHARED)

    def why(member: str) -> str:
        return not_reached.get(member) or one.reasons.get(member) or people.fate(member)

    delivery = Delivery(
        audience.name,
        destination.name,
        audience.channel,
        audience.purpose,
        "written",
        "",
        state.acknowledged.release if state.acknowledged else None,
        one.matched,
        one.suppressed,
        len(one.lost),
        len(one.holdout),
        len(one.active),
        len(snapshot),
        target.minimum,
        dict(sorted(Counter(not_reached.values()).items())),
        transfer=transfer_of(policy, target.destination),
    )
    if refusal:
        delivery.status, delivery.reason, delivery.reach, delivery.not_reached = "refused", refusal, 0, {}
        return Planned(delivery, target, Diff((), (), ()), state, None)
    if profile.remote_id and not target.remote_id:
        delivery.status = "no_remote_id"
        delivery.reason = (
            f"audiences.csv has no remote_id for {audience.name} at {destination.name}: {profile.remote_id}"
        )
        return Planned(delivery, target, Diff((), (), ()), state, None)
    if destination.name == "wechat_official_account" and not target.remote_id.isdigit():
        raise StrataError(
            f"audiences.csv: remote_id of {audience.name} at {destination.name} must be the tag's number"
        )
    blocked = "" if approved_by else _too_much(policy.limits, profile, state, snapshot, why)
    held = {member for member in state.held.possible.values()}
    if blocked:
        delivery.status, delivery.reason = "blocked", blocked
        return _removes_only(
            delivery,
            target,
            state,
            {m for m in held if m not in snapshot and why(m) in selection.STATED},
            why,
        )
    if len(snapshot) < target.minimum:
        delivery.status = "below_minimum"
        delivery.reason = (
            f"{len(snapshot)} people can be reached, {destination.name} takes no fewer than {target.minimum}"
        )
        return _removes_only(delivery, target, state, {m for m in held if m not in snapshot}, why)
    change = diffs.diff(profile, state.held, snapshot, why)
    count(delivery, change)
    sent = states.Sent(state.next_number, "", home.release, "", len(snapshot))
    after = states.after_export(state, sent, snapshot)
    after = replace(after, remote_id=target.remote_id, account=target.account)
    return Planned(delivery, target, change, state, after)


def _ended(
    settings: Settings,
    home: source.Home,
    policy: Policy,
    audiences: Collection[str] | None,
    destinations: Collection[str] | None,
    approved_by: str,
) -> list[Planned]:
    """Audiences that were exported and are declared no more: everybody leaves, once somebody says so."""
    declared = {(t.destination.name, a.name) for a in policy.audiences for t in a.targets}
    planned = []
    for name, audience in states.known(settings):
        if (name, audience) in declared or name not in policy.destinations:
            continue
        if (audiences is not None and audience not in audiences) or (
            destinations is not None and name not in destinations
        ):
            continue
        state = states.load(settings, name, audience)
        change = diffs.diff(PROFILES[name], state.held, {}, lambda _: "audience_ended")
        if not change.removes:
            continue
        target = Target(policy.destinations[name], 0, state.remote_id, state.account)
        base = state.acknowledged.release if state.acknowledged else None
        delivery = Delivery(
            audience, name, "", "", "ended", "audiences.csv declares it no more", base, 0, {}, 0, 0, 0, 0, 0, {},
            transfer=transfer_of(policy, target.destination),
        )  # fmt: skip
        if not approved_by:
            # A line that was lost from the seed looks the same.
            delivery.status = "blocked"
            delivery.reason = (
                f"audiences.csv declares it no more and {len(change.removes)} members would leave{_HOW}"
            )
            planned.append(Planned(delivery, target, change, state, None))
            continue
        count(delivery, change)
        sent = states.Sent(state.next_number, "", home.release, "", 0)
        planned.append(Planned(delivery, target, change, state, states.after_export(state, sent, {})))
    return planned


def _for_channel(
    profile: Profile, channel: str, contact: Mapping[str, str | None]
) -> Mapping[str, str | None]:
    """What a channel needs of a contact: no phone where mail is sent, no address where messages are."""
    needed = _NEEDED.get(channel)
    keys = {column for group in profile.known_by for column in group} if len(profile.known_by) == 1 else set()
    return {
        name: value
        for name, value in contact.items()
        if needed is None or name not in _NEEDED.values() or name == needed or name in keys
    }


def _reaches(profile: Profile, channel: str, row: Row) -> bool:
    needed = _NEEDED.get(channel)
    return needed not in profile.columns or bool(row[profile.columns.index(needed)])


def transfer_of(policy: Policy, destination: Destination) -> dict[str, str] | None:
    """On what a foreign transfer to the destination rests; None where none is needed or none is declared."""
    basis = policy.bases.get(destination.name)
    if not destination.is_foreign or basis is None:
        return None
    return {"country": destination.country, "basis": basis.basis, "reference": basis.reference}


def _too_much(
    limits: Mapping[str, float],
    profile: Profile,
    state: states.State,
    snapshot: Mapping[str, Row],
    why: Callable[[str], str],
) -> str:
    """Why a change is too large to pass without a name, or ''. A first export is not compared with anything."""
    before = state.last
    if not before:
        return ""
    # By what the destination knows them: two records that became one person are no change to it.
    there = {i for row in before.values() for i in identifiers(profile, row)}
    wanted = {i for row in snapshot.values() for i in identifiers(profile, row)}
    left = [
        m for m, row in before.items() if m not in snapshot and wanted.isdisjoint(identifiers(profile, row))
    ]
    gone = [m for m in left if why(m) not in selection.STATED]
    new = [
        m for m, row in snapshot.items() if m not in before and there.isdisjoint(identifiers(profile, row))
    ]
    few = limits["audience_change_rows_min"]
    top = Counter(why(m) for m in gone).most_common(1)
    told = f"mostly {top[0][0]}; " if top else ""
    if gone and not snapshot:
        return f"{len(gone)} of {len(before)} members would leave and nobody would be left ({told}a source may be empty){_HOW}"
    if len(gone) > few and len(gone) > limits["audience_removes_share_max"] * len(before):
        return (
            f"{len(gone)} of {len(before)} members would leave ({told}limit "
            f"{limits['audience_removes_share_max']:.0%}, audience_removes_share_max){_HOW}"
        )
    if len(new) > few and len(new) > limits["audience_adds_share_max"] * len(before):
        return (
            f"{len(new)} people would join {len(before)} members (limit {limits['audience_adds_share_max']:.0%}, "
            f"audience_adds_share_max){_HOW}"
        )
    return ""


def removes_of(state: states.State, members: Collection[str], why: Callable[[str], str]) -> Diff:
    """Removes of these people alone; whatever else may be there stays."""
    some = {row: member for row, member in state.held.possible.items() if member in members}
    rest = {row: row for row, member in state.held.possible.items() if member not in members}
    found = diffs.diff(PROFILES[state.destination], Holding({}, some), rest, why)  # type: ignore[arg-type]
    return Diff((), (), found.removes)


def _removes_only(
    delivery: Delivery, target: Target, state: states.State, members: set[str], why: Callable[[str], str]
) -> Planned:
    change = removes_of(state, members, why)
    count(delivery, change)
    if not change.removes:
        return Planned(delivery, target, change, state, None)
    return Planned(delivery, target, change, state, states.after_removes(state, members))


def count(delivery: Delivery, change: Diff) -> None:
    delivery.full, delivery.adds, delivery.removes = len(change.full), len(change.adds), len(change.removes)
    delivery.removed = dict(sorted(Counter(reason for _, reason in change.removes).items()))
