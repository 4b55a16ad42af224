"""From the current release to files in the vault's outbox, and what a destination says to them.

    vault/outbox/<export>/manifest.json                          every audience of the export: written, or why not
                          assignments.parquet                    who is active, held out or lost to another audience
                          <destination>/<audience>/manifest.json and the files

An export is built apart. Then the states are written, then one rename shows the folder: a crash between leaves a
destination that may hold more than was sent, which the next diff allows for.
"""

import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import StrataError
from pipeline.ingest.files import fsync
from pipeline.ingest.vault import Vault, token
from pipeline.ingest.vault.private import close_folder, fsync_folder, private_files
from pipeline.lock import run_lock
from pipeline.privacy import access_log
from pipeline.publish import release as releases
from pipeline.publish.audiences import diff as diffs
from pipeline.publish.audiences import policy as policies
from pipeline.publish.audiences import selection, source, writers
from pipeline.publish.audiences import state as states
from pipeline.publish.audiences.diff import Diff, Holding
from pipeline.publish.audiences.policy import Audience, Destination, Policy, Target
from pipeline.publish.audiences.profiles import PROFILES, Profile, identifiers, render
from pipeline.publish.audiences.selection import Chosen
from pipeline.publish.audiences.writers import Batch, Row
from pipeline.settings import Settings

ERASURE = "erasure"
"""What the folders of the outbox are called that tell destinations of erased people: `erasure.<time>`."""
_BUILDING = ".tmp-audiences-"
STOPPED = ("blocked", "refused")
# Without it a message of that channel does not arrive.
_NEEDED = {"email": "email", "sms": "phone", "call": "phone"}
_CONTACT = ("userid", "external_userid", "openid")


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
    """One export: its id and folder (None where nothing was written), and what became of each audience."""

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


def preview(settings: Settings, policy_folder: Path | None = None) -> Exported:
    """What an export would do. Nothing is written but the line that says that the vault was opened."""
    with run_lock(settings):
        home, planned, _ = _plan(settings, policy_folder, "audience preview", None, None, "")
        return Exported(
            home.release,
            home.as_of.isoformat(),
            home.policy_version,
            None,
            None,
            [p.delivery for p in planned],
        )


def export(
    settings: Settings,
    *,
    audiences: Collection[str] | None = None,
    destinations: Collection[str] | None = None,
    approved_by: str = "",
    policy_folder: Path | None = None,
    now: datetime | None = None,
    log: Callable[[str], None] = lambda _: None,
) -> Exported:
    """Write the files of every audience for its destinations, and note what each may hold from now on.

    Args:
        audiences, destinations: only these; overlap is resolved over all audiences all the same.
        approved_by: name of who lets a change pass that the volume guard would stop.
        now: clock of the outbox, UTC.

    Raises:
        StrataError: where the policy cannot be read, nothing was published, or a name is unknown.
    """
    at = (now or datetime.now(UTC)).astimezone(UTC)
    with run_lock(settings, log=log):
        limits = policy_of(released_for(settings), policy_folder).limits
        _prune(settings, at - timedelta(days=limits["outbox_days"]))
        home, planned, chosen = _plan(
            settings, policy_folder, "audience export", audiences, destinations, approved_by.strip()
        )
        name = _free_name(settings, home.release, at)
        export_folder = settings.vault / "outbox" / name
        writing = [p for p in planned if p.after is not None or p.delivery.status == "no_remote_id"]
        result = Exported(
            home.release,
            home.as_of.isoformat(),
            home.policy_version,
            name if writing else None,
            export_folder if writing else None,
            [p.delivery for p in planned],
        )
        if writing:
            log(f"writing {sum(p.after is not None for p in writing)} audiences to {export_folder}")
            is_whole = audiences is None and destinations is None
            _write(settings, result, writing, chosen, name, at, approved_by.strip(), is_whole=is_whole)
        return result


def acknowledge(
    settings: Settings, destination: str, *, release: str | None = None, audience: str | None = None
) -> list[dict[str, Any]]:
    """Note that a destination holds its newest export of `release` (None: of any). One row per audience acknowledged.

    Raises StrataError where there is no such export waiting.
    """
    with run_lock(settings):
        known = [a for d, a in states.known(settings) if d == destination]
        if not known:
            have = ", ".join(sorted({d for d, _ in states.known(settings)})) or "none"
            raise StrataError(f"nothing was exported for {destination} yet; there are exports for: {have}")
        if audience is not None and audience not in known:
            raise StrataError(
                f"{destination} was never given audience {audience}; it was given: {', '.join(known)}"
            )
        done, has = [], set()
        for name in [audience] if audience else known:
            state = states.load(settings, destination, name)
            has |= {one.release for one in state.waiting}
            waiting = [one for one in state.waiting if release in (None, one.release, one.export)]
            if not waiting:
                continue
            after = states.after_ack(state, waiting[-1].number)
            states.save(settings, after)
            done.append(
                {"destination": destination, "audience": name, "export": waiting[-1].export}
                | {
                    "release": waiting[-1].release,
                    "rows": waiting[-1].rows,
                    "still_waiting": len(after.waiting),
                }
            )
        if not done:
            raise StrataError(
                f"no export of {release or 'any release'} waits to be acknowledged by {destination}; waiting: "
                f"{', '.join(sorted(has)) or 'none'}"
            )
        return done


def holdings(settings: Settings) -> list[dict[str, Any]]:
    """What each destination holds of each audience, as far as it said so."""
    found = []
    for destination, audience in states.known(settings):
        state = states.load(settings, destination, audience)
        found.append(
            {
                "destination": destination,
                "audience": audience,
                "acknowledged": state.acknowledged.release if state.acknowledged else None,
                "rows": state.acknowledged.rows if state.acknowledged else 0,
                "waiting": [one.export for one in state.waiting],
            }
        )
    return found


def forget(settings: Settings, customer_keys: Collection[str], now: datetime | None = None) -> Path | None:
    """Write removes of erased people for every destination that may hold them, and drop them from all states.

    For `strata erase`, before it sweeps the home. Earlier exports that name them are deleted from the outbox. The folder
    of the removes, or None where no destination ever got them.
    """
    at, members = (now or datetime.now(UTC)).astimezone(UTC), set(customer_keys)
    with run_lock(settings):
        folder = settings.vault / "outbox" / _free_name(settings, ERASURE, at)
        told: list[Delivery] = []
        afters = []
        with private_files():
            for destination, audience in states.known(settings):
                state = states.load(settings, destination, audience)
                change = _removes_of(state, members, lambda _: "erased")
                if change.removes:
                    batch = _batch(state, None, None, "removes", change)
                    place = folder / destination / audience
                    files = _write_batches(place, [batch])
                    told.append(_told_removes(state, change, files))
                    _write_json(place / "manifest.json", asdict(told[-1]))
                afters.append(states.without(states.after_removes(state, members), members))
        for after in afters:
            states.save(settings, after)
        for old in (settings.vault / "outbox").glob("*/assignments.parquet"):
            if members & set(pq.read_table(old, columns=["customer_key"])["customer_key"].to_pylist()):
                shutil.rmtree(old.parent)
        if not told:
            return None
        access_log.record(
            settings, access_log.operator(), "erasure told to destinations", "erasure", len(members)
        )
        _write_json(
            folder / "manifest.json",
            {"export": folder.name, "created_at": _iso(at), "deliveries": [asdict(d) for d in told]},
        )
        close_folder(settings.vault)
        return folder


def policy_of(as_of: date, folder: Path | None) -> Policy:
    """The policy in force on a day, of the project or of another folder of seeds."""
    return policies.load(as_of, *([folder] if folder else []))


def released_for(settings: Settings) -> date:
    """The as-of date of the current release."""
    manifest = releases.current(settings)
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
        return {token(key, "customer", f"{source}\x1f{id_}") for source, id_ in self._home.records}

    def fate(self, member: str) -> str:
        """She was erased, her record belongs to another person now, or it is gone."""
        if self._vault.tombstones.erased_on("key", member):
            return "erased"
        return "merged" if member in self._minted else selection.UNKNOWN


def _plan(
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
    _count(delivery, change)
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
        _count(delivery, change)
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


_HOW = ": look at `strata audiences preview`; if it is right, export with --approved-by NAME"


def _removes_of(state: states.State, members: Collection[str], why: Callable[[str], str]) -> Diff:
    """Removes of these people alone; whatever else may be there stays."""
    some = {row: member for row, member in state.held.possible.items() if member in members}
    rest = {row: row for row, member in state.held.possible.items() if member not in members}
    found = diffs.diff(PROFILES[state.destination], Holding({}, some), rest, why)  # type: ignore[arg-type]
    return Diff((), (), found.removes)


def _removes_only(
    delivery: Delivery, target: Target, state: states.State, members: set[str], why: Callable[[str], str]
) -> Planned:
    change = _removes_of(state, members, why)
    _count(delivery, change)
    if not change.removes:
        return Planned(delivery, target, change, state, None)
    return Planned(delivery, target, change, state, states.after_removes(state, members))


def _count(delivery: Delivery, change: Diff) -> None:
    delivery.full, delivery.adds, delivery.removes = len(change.full), len(change.adds), len(change.removes)
    delivery.removed = dict(sorted(Counter(reason for _, reason in change.removes).items()))


def _batch(
    state: states.State, audience: Audience | None, target: Target | None, kind: writers.Kind, change: Diff
) -> Batch:
    rows: Iterable[Row] = [row for row, _ in change.removes] if kind == "removes" else getattr(change, kind)
    return Batch(
        state.destination,
        state.audience,
        audience.name_zh if audience else state.audience,
        audience.channel if audience else "",
        kind,
        PROFILES[state.destination].columns,
        tuple(rows),
        tuple(reason for _, reason in change.removes) if kind == "removes" else (),
        target.remote_id if target else state.remote_id,
        target.account if target else state.account,
        target.destination.request_rows if target else None,
        target.destination.file_rows if target else None,
        target.destination.file_bytes if target else None,
    )


def _write(
    settings: Settings,
    result: Exported,
    planned: list[Planned],
    chosen: list[Chosen],
    name: str,
    at: datetime,
    approved_by: str,
    *,
    is_whole: bool,
) -> None:
    outbox = settings.vault / "outbox"
    building = outbox / f"{_BUILDING}{name}"
    by_name = {one.audience.name: one.audience for one in chosen}
    with private_files():
        building.mkdir(parents=True, mode=0o700)
        try:
            for one in planned:
                _write_one(building, one, by_name.get(one.delivery.audience), result, name, at, approved_by)
            _write_assignments(building / "assignments.parquet", chosen)
            _write_json(
                building / "manifest.json",
                result.as_dict()
                | {"created_at": _iso(at), "approved_by": approved_by or None, "is_whole": is_whole},
            )
            _close(building)
            who = approved_by or access_log.operator()
            for one in planned:
                if one.after is not None:
                    _note(settings, who, one.delivery)
                    states.save(settings, _dated(one.after, name, at))
            building.rename(outbox / name)
            fsync_folder(outbox)
        except BaseException:
            shutil.rmtree(building, ignore_errors=True)
            raise
    close_folder(settings.vault)


def _dated(after: states.State, export_name: str, at: datetime) -> states.State:
    """The state with the name and time of the export that it now waits for, and without those whose files are gone."""
    waiting = tuple(
        states.Sent(one.number, one.export or export_name, one.release, one.created_at or _iso(at), one.rows)
        for one in after.waiting
    )
    return replace(after, waiting=waiting)


def _write_one(
    building: Path,
    one: Planned,
    audience: Audience | None,
    result: Exported,
    name: str,
    at: datetime,
    approved_by: str,
) -> None:
    delivery, profile = one.delivery, PROFILES[one.target.destination.name]
    place = building / delivery.destination / delivery.audience
    if delivery.status == "no_remote_id":
        place.mkdir(parents=True, mode=0o700)
        if audience and delivery.destination in ("wecom", "wechat_official_account"):
            made = writers.create_tag(delivery.destination, audience.name_zh)
            (place / made.name).write_bytes(made.content)
            delivery.files = [_described(made, "create the tag", "")]
    else:
        kinds: list[writers.Kind] = (
            ["full", "adds", "removes"] if delivery.status == "written" else ["removes"]
        )
        batches = [_batch(one.state, audience, one.target, kind, one.change) for kind in kinds]
        delivery.files = _write_batches(place, batches)
    _write_json(
        place / "manifest.json",
        asdict(delivery)
        | {
            "export": name,
            "release": result.release,
            "as_of_date": result.as_of,
            "policy_version": result.policy_version,
            "created_at": _iso(at),
            "approved_by": approved_by or None,
            "name_zh": audience.name_zh if audience else None,
            "name_en": audience.name_en if audience else None,
            "rule": audience.rule_text if audience else None,
            "holdout_share": audience.holdout_share if audience else None,
            "remote_id": one.target.remote_id or None,
            "operations": dict(profile.operations),
            "note": profile.note or None,
            "limits": {
                "request_rows": one.target.destination.request_rows,
                "file_rows": one.target.destination.file_rows,
                "file_bytes": one.target.destination.file_bytes,
            },
        },
    )


def _write_batches(place: Path, batches: Iterable[Batch]) -> list[dict[str, Any]]:
    place.mkdir(parents=True, exist_ok=True, mode=0o700)
    described = []
    for batch in batches:
        for made in writers.write(batch):
            (place / made.name).write_bytes(made.content)
            described.append(_described(made, PROFILES[batch.destination].operations[batch.kind], batch.kind))
    return described


def _described(made: writers.File, operation: str, kind: str) -> dict[str, Any]:
    return {
        "name": made.name,
        "kind": kind,
        "operation": operation,
        "rows": made.rows,
        "bytes": len(made.content),
        "sha256": hashlib.sha256(made.content).hexdigest(),
    }


def _told_removes(state: states.State, change: Diff, files: list[dict[str, Any]]) -> Delivery:
    base = state.acknowledged.release if state.acknowledged else None
    told = Delivery(
        state.audience,
        state.destination,
        "",
        "erasure",
        "written",
        "",
        base,
        0,
        {},
        0,
        0,
        0,
        0,
        0,
        {},
        files=files,
    )
    _count(told, change)
    return told


def _write_assignments(path: Path, chosen: list[Chosen]) -> None:
    """One row per person, channel and audience whose rule and consent hold: the losers of an overlap are on record."""
    rows = [
        (key, one.audience.channel, one.audience.name, arm, one.lost.get(key))
        for one in chosen
        for arm, keys in (("active", one.active), ("holdout", one.holdout), ("lost", tuple(one.lost)))
        for key in keys
    ]
    names = ("customer_key", "channel", "audience", "arm", "won_by")
    columns = list(zip(*sorted(rows, key=str), strict=True)) or [()] * len(names)
    pq.write_table(
        pa.table({n: pa.array(list(c), pa.string()) for n, c in zip(names, columns, strict=True)}), path
    )


def rests_on(transfer: Mapping[str, str] | None) -> str:
    """What the access log says of a foreign transfer; '' where there is none."""
    if not transfer:
        return ""
    return f"; transfer to {transfer['country']} on {transfer['basis']} {transfer['reference']}"


def _note(settings: Settings, who: str, delivery: Delivery) -> None:
    """One line of the access log for each audience that leaves."""
    purpose = f"{delivery.purpose} by {delivery.channel}{rests_on(delivery.transfer)}"
    count = delivery.full + delivery.removes
    access_log.record(
        settings, who, f"audience {delivery.audience} exported to {delivery.destination}", purpose, count
    )


def _prune(settings: Settings, before: datetime) -> None:
    """Delete the exports that are older than the outbox is kept, and what a crash left. Under the run lock.

    Others keep things in the outbox too: only what says that it is an export of audiences is touched.
    """
    for folder in (settings.vault / "outbox").glob("*"):
        try:
            told = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
            old = "deliveries" in told and datetime.fromisoformat(told["created_at"]) < before
        except (OSError, ValueError, KeyError, TypeError):
            old = False
        if old or folder.name.startswith(_BUILDING):
            shutil.rmtree(folder)
    for destination, audience in states.known(settings):
        state = states.load(settings, destination, audience)
        left = states.forget_older(state, _iso(before))
        if left.waiting != state.waiting:
            states.save(settings, left)


def _free_name(settings: Settings, stem: str, at: datetime) -> str:
    name, n = f"{stem}.{at:%Y%m%dT%H%M%SZ}", 1
    while (settings.vault / "outbox" / name).exists():
        n += 1
        name = f"{stem}.{at:%Y%m%dT%H%M%SZ}-{n}"
    return name


def _close(folder: Path) -> None:
    """Modes, and everything on disk before the folder gets its name."""
    close_folder(folder)
    for path in folder.rglob("*"):
        if path.is_file():
            fsync(path)
        else:
            fsync_folder(path)
    fsync_folder(folder)


def _iso(at: datetime) -> str:
    return at.isoformat(timespec="seconds")


def _write_json(path: Path, data: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    path.write_text(json.dumps(data, ensure_ascii=False, indent=1, default=str) + "\n", encoding="utf-8")
