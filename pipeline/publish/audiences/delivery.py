"""From the files of the outbox to a destination's API: each member once, whatever breaks on the way.

    vault/outbox/<export>/<destination>/<audience>/delivery.jsonl     what became of which members, one line a request

A line is on disk before the next request goes out. A request that was answered and not yet written down is sent again:
members are sets at every destination, so the second time changes nothing. What the destination takes in request by
request is acknowledged as a whole at the end; who was refused or kept back is not held to be there.
"""

import copy
import hashlib
import io
import json
import os
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from pipeline.errors import StrataError
from pipeline.ingest.vault.private import private_files
from pipeline.lock import run_lock
from pipeline.privacy import access_log
from pipeline.privacy.consent import refusals
from pipeline.publish.audiences import endpoints, selection, source
from pipeline.publish.audiences import state as states
from pipeline.publish.audiences.endpoints import Endpoint, Sender, Upload
from pipeline.publish.audiences.holdings import ERASURE
from pipeline.publish.audiences.outbox import rests_on
from pipeline.publish.audiences.plan import no_basis, policy_of, released_for, transfer_of
from pipeline.publish.audiences.policy import Policy
from pipeline.publish.audiences.profiles import PROFILES, identifiers
from pipeline.publish.audiences.writers import Row, zipped
from pipeline.settings import Settings

JOURNAL = "delivery.jsonl"
ACCEPTED, REFUSED, WITHHELD = "accepted", "refused", "withheld"


@dataclass(frozen=True)
class _Shape:
    """Where the members of a request body are, and the row of each. `inside` is () where the body is one member.

    Args:
        is_file: each file of the outbox is uploaded as one request; its body here is {"ids": its lines}.
        needs: what the parcel must know besides, so that the destination knows which list is meant.
    """

    inside: tuple[str, ...]
    row: Callable[[Any], Row]
    is_file: bool = False
    needs: tuple[str, ...] = ()


def _of_google(member: Mapping[str, Any]) -> Row:
    told = {name: value for one in member["userData"]["userIdentifiers"] for name, value in one.items()}
    return told.get("emailAddress", ""), told.get("phoneNumber", "")


_SHAPES: Mapping[str, _Shape] = {
    "google_data_manager": _Shape(("audienceMembers",), _of_google),
    "meta": _Shape(("payload", "data"), lambda cells: tuple(cells)),
    "wecom": _Shape((), lambda body: (body["userid"], body["external_userid"])),
    "wechat_official_account": _Shape(("openid_list",), lambda openid: (openid,)),
    "tencent_ads": _Shape(("ids",), lambda line: (line,), is_file=True, needs=("remote_id", "account")),
}


@dataclass(frozen=True)
class Request:
    """One request of the outbox: its place there, whether it adds or removes, its body and the row of each member."""

    place: str
    kind: str
    body: Mapping[str, Any]
    rows: tuple[Row, ...]
    inside: tuple[str, ...]

    def of(self, positions: Sequence[int]) -> Mapping[str, Any]:
        """The body with these members alone."""
        if len(positions) == len(self.rows):
            return self.body
        body = copy.deepcopy(dict(self.body))
        holder = body
        for key in self.inside[:-1]:
            holder = holder[key]
        members = holder[self.inside[-1]]
        holder[self.inside[-1]] = [members[at] for at in positions]
        if "session" in body:
            # Meta counts the requests of an upload: a piece of one is an upload of its own, the same each time.
            number = zlib.crc32(repr((self.place, list(positions), self.body["session"])).encode())
            body["session"] = {
                "session_id": number,
                "batch_seq": 1,
                "last_batch_flag": True,
                "estimated_num_total": len(positions),
            }
        return body


@dataclass(frozen=True)
class Parcel:
    """What one folder of the outbox has for one destination and audience."""

    export: str
    folder: Path
    destination: str
    audience: str
    purpose: str
    channel: str
    remote_id: str
    requests: tuple[Request, ...]
    account: str = ""

    @cached_property
    def journal(self) -> "Journal":
        return Journal(self.folder / JOURNAL)

    def left(self) -> Iterator[tuple[Request, list[int]]]:
        """Each request with the positions of the members of whom nothing was written down yet."""
        for request in self.requests:
            done = self.journal.done.get(request.place, {})
            if positions := [at for at in range(len(request.rows)) if at not in done]:
                yield request, positions


class Journal:
    """What became of the members of one parcel: place of the request → position → outcome."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.done: dict[str, dict[int, str]] = {}
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        # A crash may have left half a line: it says nothing, and the next one must not be joined to it.
        self._is_open = bool(text) and not text.endswith("\n")
        for line in text.splitlines():
            try:
                told = json.loads(line)
            except ValueError:
                continue
            self._take(told["request"], told["members"], told["outcome"])

    def write(self, place: str, positions: Sequence[int], outcome: str, told: str, attempts: int) -> None:
        """Write one outcome down; on disk when this returns. `told` holds no contact."""
        line = {
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
            "request": place,
            "outcome": outcome,
            "members": _ranges(positions),
            "told": told,
            "attempts": attempts,
        }
        with private_files(), self._path.open("ab") as file:
            file.write((("\n" if self._is_open else "") + json.dumps(line) + "\n").encode())
            file.flush()
            os.fsync(file.fileno())
        self._is_open = False
        self._take(place, _ranges(positions), outcome)

    def count(self, outcome: str) -> int:
        return sum(one == outcome for of in self.done.values() for one in of.values())

    def _take(self, place: str, ranges: Sequence[Sequence[int]], outcome: str) -> None:
        found = self.done.setdefault(place, {})
        for first, last in ranges:
            found.update(dict.fromkeys(range(first, last + 1), outcome))


@dataclass
class Delivered:
    """What became of one parcel.

    Args:
        status: dry_run; delivered; stopped (the rest goes with the next delivery); refused (no basis for the transfer).
        requests: still to be sent when the delivery began. adds, removes: members in them.
        accepted, refused, withheld: members so far, over all deliveries of the parcel. Withheld: refusals said since the export.
        acknowledged: whether later exports count from this one now.
    """

    destination: str
    audience: str
    export: str
    host: str
    status: str
    reason: str = ""
    requests: int = 0
    adds: int = 0
    removes: int = 0
    accepted: int = 0
    refused: int = 0
    withheld: int = 0
    acknowledged: bool = False
    transfer: Mapping[str, str] | None = None

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


class Stopped(StrataError):
    """A destination does not go on; what was taken in so far is written down."""


Forbidden = Callable[[Parcel, Collection[str]], set[str]]
"""Those of the customer_keys who may not be added, as known at this moment."""


def deliver(
    settings: Settings,
    destination: str,
    *,
    audience: str | None = None,
    send: bool = False,
    base_url: str | None = None,
    policy_folder: Path | None = None,
    log: Callable[[str], None] = lambda _: None,
) -> list[Delivered]:
    """Send what the last export wrote for a destination, and removes of erased people. A dry run sends nothing.

    Holds the run lock while it sends: nobody is exported or erased meanwhile.

    Raises:
        StrataError: where the destination has no endpoint, nothing waits, or a file is not the one that was exported.
    """
    with run_lock(settings, log=log):
        as_of = released_for(settings)
        policy = policy_of(as_of, policy_folder)
        endpoint = _endpoint(destination, endpoints.load(as_of, *([policy_folder] if policy_folder else [])))
        if base_url:
            endpoint = replace(endpoint, base_url=endpoints.checked(base_url))
        parcels = list(found(settings, destination, audience))
        if not parcels:
            raise StrataError(
                f"the outbox has nothing for {destination}{f' and {audience}' if audience else ''}: `strata audiences export` first"
            )
        forbidden = _Refusals(settings, policy)
        reason = no_basis(policy, policy.destinations[destination])
        sender = Sender(endpoint, policy.limits) if send and not reason else None
        results = []
        for parcel in parcels:
            told = _told(parcel, endpoint, policy)
            results.append(told)
            if reason:
                told.status, told.reason = "refused", reason
            elif sender is not None:
                try:
                    hand_over(settings, parcel, told, endpoint, sender, policy.limits, forbidden)
                except Stopped as stop:
                    told.status, told.reason = "stopped", str(stop)
        return results


def hand_over(
    settings: Settings,
    parcel: Parcel,
    told: Delivered,
    endpoint: Endpoint,
    sender: Sender,
    limits: Mapping[str, float],
    forbidden: Forbidden,
) -> None:
    """Send what is left of a parcel and, when all of it was taken in, acknowledge its export. Fills `told`.

    Raises Stopped where the destination does not go on.
    """
    state = states.load(settings, parcel.destination, parcel.audience)
    if state.acknowledged and state.acknowledged.export == parcel.export:
        told.status, told.reason, told.acknowledged = "delivered", "it was acknowledged before", True
        told.requests = told.adds = told.removes = 0
        return
    sent = next((one for one in state.waiting if one.export == parcel.export), None)
    members = {row: member for member, row in state.snapshots[sent.number].items()} if sent else {}
    if not sent and any(request.kind == "adds" for request in parcel.requests):
        raise Stopped(f"export {parcel.export} can no longer be acknowledged: export again")
    needs = set(_SHAPES[parcel.destination].needs)
    if PROFILES[parcel.destination].remote_id or "{remote_id}" in endpoint.add[1] + endpoint.remove[1]:
        needs.add("remote_id")
    for lacking in sorted(name for name in needs if not getattr(parcel, name)):
        raise Stopped(
            f"{parcel.audience} was exported without {lacking}: put {parcel.destination}'s id of it into audiences.csv and export again"
        )
    if any(parcel.left()):
        purpose = f"{parcel.purpose} by {parcel.channel or 'every channel'}{rests_on(told.transfer)}"
        what = f"audience {parcel.audience} sent to {parcel.destination} at {endpoint.host}"
        access_log.record(settings, access_log.operator(), what, purpose, told.adds + told.removes)
    try:
        post = _Post(parcel, endpoint, sender, limits, forbidden, members)
        for request, positions in list(parcel.left()):
            post(request, positions)
    finally:
        told.accepted, told.refused, told.withheld = (
            parcel.journal.count(outcome) for outcome in (ACCEPTED, REFUSED, WITHHELD)
        )
    if sent:
        absent, unmoved = set(), set()
        for request in parcel.requests:
            for at, outcome in parcel.journal.done[request.place].items():
                if outcome != ACCEPTED and request.kind == "adds":
                    absent.add(members.get(request.rows[at], ""))
                elif outcome == REFUSED:
                    unmoved |= set(identifiers(PROFILES[parcel.destination], request.rows[at]))
        still = {
            row: member
            for row, member in state.held.possible.items()
            if not unmoved.isdisjoint(identifiers(PROFILES[parcel.destination], row))
        }
        states.save(settings, states.after_ack(state, sent.number, absent, still))
    told.status, told.acknowledged = "delivered", sent is not None


@dataclass
class _Post:
    """Sends members of a request, in halves where somebody in it is refused: who it is, few destinations say."""

    parcel: Parcel
    endpoint: Endpoint
    sender: Sender
    limits: Mapping[str, float]
    forbidden: Forbidden
    members: Mapping[Row, str]
    refused: int = 0

    def __call__(self, request: Request, positions: Sequence[int]) -> None:
        journal, kept = self.parcel.journal, list(positions)

        def body() -> Mapping[str, Any] | Upload | None:
            if request.kind == "adds":
                owners = {at: self.members.get(request.rows[at]) for at in kept}
                barred = self.forbidden(self.parcel, {m for m in owners.values() if m})
                # Whom no state names was erased since.
                if out := [at for at, owner in owners.items() if owner is None or owner in barred]:
                    journal.write(request.place, out, WITHHELD, "may not be addressed any more", 0)
                    kept[:] = [at for at in kept if at not in out]
            if not kept:
                return None
            made = request.of(kept)
            return (
                _file_of(self.parcel, request, made["ids"])
                if _SHAPES[self.parcel.destination].is_file
                else made
            )

        method, path = self.endpoint.add if request.kind == "adds" else self.endpoint.remove
        answer = self.sender.send(method, path, self.parcel.remote_id, body)
        if answer.verdict == "accepted":
            if kept:
                journal.write(request.place, kept, ACCEPTED, answer.told, answer.attempts)
        elif answer.verdict != "members":
            raise Stopped(
                f"{self.endpoint.host}: {answer.told}; what it took in is noted, deliver again to go on"
            )
        elif len(kept) > 1:
            middle = len(kept) // 2
            self(request, kept[:middle])
            self(request, kept[middle:])
        else:
            journal.write(request.place, kept, REFUSED, answer.told, answer.attempts)
            self.refused += 1
            if self.refused > self.limits["delivery_rejected_rows_max"]:
                raise Stopped(
                    f"{self.endpoint.host} refused {self.refused} members one by one ({answer.told}; limit "
                    "delivery_rejected_rows_max): look whether the request is what it does not take"
                )


def _file_of(parcel: Parcel, request: Request, lines: Sequence[str]) -> Upload:
    """The upload of these lines: what custom_audience_files/add asks for beside the file."""
    name = request.place.partition("#")[0]
    fields = {
        "account_id": parcel.account,
        "audience_id": parcel.remote_id,
        "user_id_type": "HASH_MOBILE_PHONE",
        "operation_type": "APPEND" if request.kind == "adds" else "REDUCE",
    }
    return Upload(fields, name, zipped(name, "".join(f"{line}\n" for line in lines).encode()))


def _ranges(positions: Sequence[int]) -> list[list[int]]:
    """Ascending positions as [first, last] of each run."""
    found: list[list[int]] = []
    for at in positions:
        if found and found[-1][1] == at - 1:
            found[-1][1] = at
        else:
            found.append([at, at])
    return found


def found(settings: Settings, destination: str, audience: str | None = None) -> Iterator[Parcel]:
    """What is to be delivered, in order: removes of erased people, then the newest export of each audience."""
    folders = []
    for path in (settings.vault / "outbox").glob(f"*/{destination}/*/manifest.json"):
        try:
            top = json.loads((path.parents[2] / "manifest.json").read_text(encoding="utf-8"))
            own = json.loads(path.read_text(encoding="utf-8"))
            folders.append((top["created_at"], path.parents[2].name, path.parent, own))
        except (OSError, ValueError, KeyError) as error:
            raise StrataError(f"{path} is damaged: export again") from error
    newest = {
        own["audience"]: name
        for _, name, _, own in sorted(folders, key=lambda one: one[:2])
        if not _is_erasure(name)
    }
    for _, name, folder, own in sorted(folders, key=lambda one: (not _is_erasure(one[1]), *one[:2])):
        if audience not in (None, own["audience"]) or not (
            _is_erasure(name) or newest[own["audience"]] == name
        ):
            continue
        requests = tuple(_requests(folder, destination, own))
        known = states.load(settings, destination, own["audience"])
        parcel = Parcel(
            name,
            folder,
            destination,
            own["audience"],
            own["purpose"],
            own["channel"],
            own.get("remote_id") or known.remote_id,
            requests,
            own.get("account") or known.account,
        )
        if not _is_erasure(name) or any(parcel.left()):
            yield parcel


def _is_erasure(export: str) -> bool:
    return export.startswith(f"{ERASURE}.")


def _endpoint(destination: str, known: Mapping[str, Endpoint]) -> Endpoint:
    if destination not in known or destination not in _SHAPES:
        have = ", ".join(sorted(known.keys() & _SHAPES.keys()))
        raise StrataError(
            f"nothing is delivered to {destination}: take its files from the outbox; delivered to: {have}"
        )
    return known[destination]


def _requests(folder: Path, destination: str, manifest: Mapping[str, Any]) -> Iterator[Request]:
    """The requests of a folder, removes first. Raises StrataError where a file is not the one that was written."""
    shape = _SHAPES[destination]
    files = [f for f in manifest["files"] if f["kind"] in ("adds", "removes")]
    for file in sorted(files, key=lambda f: (f["kind"] == "adds", f["name"])):
        if not file["name"].endswith(".zip" if shape.is_file else (".json", ".jsonl")):
            continue
        path = folder / file["name"]
        content = path.read_bytes() if path.exists() else b""
        if hashlib.sha256(content).hexdigest() != file["sha256"]:
            raise StrataError(f"{path} is not the file that was exported: export again; nothing was sent")
        bodies = content.splitlines() if path.suffix == ".jsonl" else [content]
        for n, text in enumerate(bodies, 1):
            body = {"ids": _lines_of(text)} if shape.is_file else json.loads(text)
            members: Any = body
            for key in shape.inside:
                members = members[key]
            rows = tuple(shape.row(m) for m in (members if shape.inside else [body]))
            yield Request(f"{file['name']}#{n}", file["kind"], body, rows, shape.inside)


def _lines_of(packed: bytes) -> list[str]:
    """The lines of the text file in a zip that the outbox holds."""
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        return archive.read(archive.namelist()[0]).decode().splitlines()


class _Refusals:
    """Which members may not be added: by the last build, and by what was said since, looked up at every call."""

    def __init__(self, settings: Settings, policy: Policy) -> None:
        self._settings, self._policy = settings, policy
        self._home = source.read(settings, ())
        self._open: dict[tuple[str, str, str], set[str]] = {}

    def __call__(self, parcel: Parcel, members: Collection[str]) -> set[str]:
        # The run lock is held: nothing is taken in meanwhile, but something may be written at the desk.
        said = refusals(self._settings, self._home.heard)
        refused = said.unprofiled | said.unmarketed | said.channels.get(parcel.channel, frozenset())
        for purpose in self._policy.destinations[parcel.destination].purposes:
            refused |= said.others.get(purpose, frozenset())
        return {m for m in members if m in refused or m not in self._addressable(parcel)}

    def _addressable(self, parcel: Parcel) -> set[str]:
        """Everybody of the current release who consents to what the parcel is for, at this destination."""
        key = (parcel.destination, parcel.purpose, parcel.channel)
        if key not in self._open:
            people = self._home.people
            # Whom the current release does not have any more was taken out of it, however old the last build is.
            barred = people["excluded"].notna() | ~people["in_release"].astype(bool)
            for flag in ("is_minor", "is_internal"):
                barred |= people[flag].eq(True).fillna(False).astype(bool)
            found = set(people.loc[~barred, "customer_key"])
            for purpose in (parcel.purpose, *self._policy.destinations[parcel.destination].purposes):
                said = selection.consent_of(self._home.consents, purpose, parcel.channel)
                found = {member for member in found if said.get(member)}
            self._open[key] = found
        return self._open[key]


def _told(parcel: Parcel, endpoint: Endpoint, policy: Policy) -> Delivered:
    left = list(parcel.left())
    sizes = {kind: sum(len(p) for r, p in left if r.kind == kind) for kind in ("adds", "removes")}
    return Delivered(
        parcel.destination,
        parcel.audience,
        parcel.export,
        endpoint.host,
        "dry_run",
        "",
        len(left),
        sizes["adds"],
        sizes["removes"],
        parcel.journal.count(ACCEPTED),
        parcel.journal.count(REFUSED),
        parcel.journal.count(WITHHELD),
        transfer=transfer_of(policy, policy.destinations[parcel.destination]),
    )
