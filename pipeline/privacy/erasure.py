"""Erasure: a person leaves every file of a home, and does not come back with an old one.

| state in the journal | what is done then |
|---|---|
| begun | who it is, and what is asked, is on disk |
| tombstoned | nothing of them comes in any more |
| staged | vault, raw and quarantine stand beside the old ones without them |
| removed | those are in place; warehouse and links are gone. The next run builds and publishes |
| republished | every kept release is without them, the originals are deleted |
| swept | logs, Dagster's storage, build scratch and outbox too |

Then the whole home is scanned, the certificate written and the journal deleted. Each step can be done again, so
whoever dies at any point has only delayed it: the next `strata erase` or `strata run` goes on. The journal
(`vault/erasures/<id>.json`) holds clear values until the end; the certificate holds none.
"""

import json
import secrets
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from pipeline.errors import StrataError
from pipeline.home import backup_folders
from pipeline.home_scan import scan
from pipeline.identity.links import write_links
from pipeline.ingest.vault import Vault
from pipeline.ingest.vault.keys import now
from pipeline.ingest.vault.private import fsync_folder, write_private
from pipeline.ingest.vault.tombstones import Tombstones
from pipeline.lock import run_lock
from pipeline.privacy import desk, erasure_leftovers, erasure_raw, requests
from pipeline.privacy.erasure_proof import still_there
from pipeline.privacy.erasure_subject import People, Subject, of_guest_orders, resolve
from pipeline.publish import commit, shelf
from pipeline.publish.audiences.holdings import ERASURE, forget
from pipeline.publish.redaction import Who, made, redact
from pipeline.settings import Settings

STATES = ("begun", "tombstoned", "staged", "removed", "republished", "swept")
Log = Callable[[str], None]


def _silent(_: str) -> None:
    return None


@dataclass(frozen=True)
class Certificate:
    """What an erasure came to. Counts and release ids only: nothing in it names a person.

    `subject` are the tombstones of the customer ids: whoever holds the vault's keys and an id can tell that it is meant.
    """

    erasure: str
    status: str
    requested_by: str
    reason: str
    requests: Sequence[str]
    begun_at: str
    done_at: str
    subject: Sequence[str]
    persons: int
    identifiers: Mapping[str, int]
    removed: Mapping[str, Any]
    releases: Sequence[Mapping[str, Any]]
    scan: Mapping[str, Any]

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Plan:
    """What an erasure would take, counted without a change."""

    persons: int
    source_records: int
    identifiers: Mapping[str, int]
    rows: Mapping[str, int]
    kept_as_guest: Mapping[str, int]
    releases: Sequence[str]


def tombstones(settings: Settings) -> Tombstones:
    """What the home has erased."""
    return Vault(settings, "tombstones").tombstones


def plan(settings: Settings, records: Collection[tuple[str, str]], keys: Collection[str]) -> Plan:
    """What `erase` would do; nothing is written."""
    with run_lock(settings), Vault(settings, "erasure, dry run") as vault:
        subject = resolve(settings, records, keys, vault.database)
        _check_known(settings, vault.tombstones, subject, keys)
    rows, guests = _rows_of(settings, subject)
    held = [
        release
        for release in shelf.list_releases(settings)
        if still_there(settings.releases / release, subject)
    ]
    return Plan(_persons(subject), len(subject.records), _identifiers(subject), rows, guests, held)


def erase(
    settings: Settings,
    persons: Collection[str] = (),
    requests: Sequence[str] = (),
    log: Log = _silent,
    *,
    records: Collection[tuple[str, str]] = (),
    by: str,
    reason: str,
    run: Callable[[Settings, date], Any] | None = None,
) -> Certificate:
    """Erase persons now: a fresh release is built and published without them, and the certificate says the rest.

    Args:
        persons: customer_keys; `records` names persons by (source, source customer id) instead.
        requests: ids of the requests that this answers.
        run: builds and publishes for the as-of date of the current release; `strata run` where None.

    Raises:
        StrataError: where nobody is meant, or something of them is left; the certificate says what.
        GateStopped: where the gates refuse today's data: vault, raw and quarantine are clean then, kept releases are
            not, and the next `strata run` that passes finishes the erasure.
    """
    with run_lock(settings, log=log):
        # Begun before others are settled: one by retention may be about to forget what else this person is known by.
        erasure = _under_way(settings, records, persons) or begin(
            settings, records, persons, requests, by=by, reason=reason, must_be_known=True
        )
        settle(settings, log)
        current = shelf.newest_as_of(settings)
        if current:
            (run or _run)(settings, current)
        finish(settings, log)
    return read_certificate(settings, erasure)


def _run(settings: Settings, as_of: date) -> None:
    from pipeline.errors import GateStopped
    from pipeline.run import run_day

    outcome = run_day(settings, as_of, again=True)
    if outcome.exit_code:
        left = [m for m in outcome.messages if m.startswith("erasure ")]
        if left:
            raise StrataError(left[0])
        what = "; ".join(outcome.messages) or "a gate stopped the run"
        kind = GateStopped if outcome.exit_code == 2 else StrataError
        raise kind(
            "vault, raw and quarantine are without the person, but no fresh release could be published, so kept releases "
            f"still hold them: {what}. Mend that; the next `strata run` finishes the erasure"
        )


def begin(
    settings: Settings,
    records: Collection[tuple[str, str]],
    keys: Collection[str],
    requests: Sequence[str],
    *,
    by: str,
    reason: str,
    may_return: bool = False,
    must_be_known: bool = False,
) -> str:
    """Open the journal of one erasure: who is meant and everything by which they are known. Id of the erasure.

    `must_be_known` raises StrataError where the home has nothing of them; `may_return` leaves no tombstone: the time to keep them is over, and a new delivery may name them again.
    """
    if not settings.raw.exists():
        raise StrataError(f"{settings.home} knows nobody yet: run `strata run` first")
    with Vault(settings, "erasure") as vault:
        subject = resolve(settings, records, keys, vault.database)
        if must_be_known:
            _check_known(settings, vault.tombstones, subject, keys)
    return _open_journal(settings, subject, requests, may_return=may_return, by=by, reason=reason)


def begin_guest_contacts(
    settings: Settings, orders: Collection[tuple[str, str]], *, by: str, reason: str
) -> str:
    """Open the journal for contacts left with guest orders, (source, order_id), whose time is over. Id of the erasure."""
    with Vault(settings, "erasure") as vault:
        subject = of_guest_orders(settings, orders, vault.database)
    return _open_journal(settings, subject, (), may_return=True, by=by, reason=reason)


def _open_journal(
    settings: Settings, subject: Subject, requests: Sequence[str], *, may_return: bool, by: str, reason: str
) -> str:
    erasure = f"{_today(settings)}-{secrets.token_hex(4)}"
    _write(
        settings,
        {
            "erasure": erasure,
            # Who may return has no tombstone to be set up.
            "state": "tombstoned" if may_return else "begun",
            "may_return": may_return,
            "by": by,
            "reason": reason,
            "requests": list(requests),
            "begun_at": now(),
            "subject": subject.as_dict(),
        },
    )
    return erasure


def _check_known(settings: Settings, known: Tombstones, subject: Subject, keys: Collection[str]) -> None:
    rows, guests = _rows_of(settings, subject)
    if subject.records and (rows or guests or subject.tokens or set(subject.keys) - set(keys)):
        return
    erased = any(known.erased_on("key", key) for key in keys)
    erased = erased or any(known.has_customer(source, i) for source, i in subject.records)
    said = (
        "the person was erased before" if erased else "look at core.dim_identity_links of the current release"
    )
    raise StrataError(f"no customer of {settings.home} is meant by that: {said}")


def _under_way(settings: Settings, records: Collection[tuple[str, str]], keys: Collection[str]) -> str | None:
    """The erasure of these very persons that was begun and is not finished: asked for again, it goes on.

    One whose persons may return (retention) is not what is asked for: it leaves no tombstone.
    """
    for journal in _journals(settings):
        if journal.get("may_return"):
            continue
        subject = Subject.from_dict(journal["subject"])
        if set(records) <= set(subject.records) and set(keys) <= set(subject.keys):
            return str(journal["erasure"])
    return None


def of_requests(settings: Settings, as_of: date, log: Log = _silent) -> int:
    """Begin the erasures that delete requests of the feed `dsr` ask for, up to where a run takes over; requests met."""
    found = requests.delete_requests(settings, as_of)
    if not found:
        return 0
    log(f"{len(found)} delete request{'s' if len(found) > 1 else ''} to be met")
    # A request may name a customer who came with this very sweep.
    write_links(settings, [as_of])
    begin(
        settings,
        [(r.source, r.source_customer_id) for r in found],
        (),
        [r.request_id for r in found],
        by="feed dsr",
        reason="delete request of the data subject",
    )
    settle(settings, log)
    return len(found)


def settle(settings: Settings, log: Log = _silent) -> None:
    """Bring every erasure that was begun to where vault, raw and quarantine are without the person. Under the run lock."""
    for journal in _journals(settings):
        subject = Subject.from_dict(journal["subject"])
        if journal["state"] == "begun":
            _vault_tombstones(settings, subject)
            journal = _advance(settings, journal, "tombstoned")
        if journal["state"] == "tombstoned":
            log(f"erasure {journal['erasure']}: writing vault, raw and quarantine without {_people(subject)}")
            removed = erasure_raw.stage(settings, subject, journal["erasure"], _today(settings))
            journal = _advance(settings, journal, "staged", removed=removed.as_dict())
        if journal["state"] == "staged":
            erasure_raw.swap(settings)
            erasure_raw.cut_links(settings, subject)
            desk.forget(settings, subject.records)
            _advance(settings, journal, "removed")


def _vault_tombstones(settings: Settings, subject: Subject) -> None:
    Vault(settings, "tombstones").tombstones.add(subject.tombstones(), _today(settings))
    backup_folders.leave_tombstones(settings)


def finish(settings: Settings, log: Log = _silent) -> list[Certificate]:
    """Finish every erasure whose fresh release is current: republish, sweep, scan, certify. Under the run lock.

    Raises StrataError where something of a person is left; the certificate says where, and the journal stays.
    """
    certificates = []
    for journal in _journals(settings):
        if STATES.index(journal["state"]) < STATES.index("removed"):
            continue
        certificates.append(_finished(settings, journal, log))
    failed = [c for c in certificates if c.status != "complete"]
    if failed:
        places = ", ".join(failed[0].scan["places"][:3])
        raise StrataError(
            f"erasure {failed[0].erasure} is not complete, something is left in {places}: see "
            f"{_certificate_path(settings, failed[0].erasure)}; remove it and run `strata run`"
        )
    return certificates


def _finished(settings: Settings, journal: dict[str, Any], log: Log) -> Certificate:
    subject, erasure = Subject.from_dict(journal["subject"]), journal["erasure"]
    if journal["state"] == "removed":
        done = _republish(settings, subject, erasure, log)
        journal = _advance(settings, journal, "republished", releases=done)
    if journal["state"] == "republished":
        # Destinations must be told to remove them by what they know them by; these files alone may still name them.
        forget(settings, subject.keys)
    skip = [settings.vault / "erasures", *(settings.vault / "outbox").glob(f"{ERASURE}.*")]
    if journal["state"] == "republished":
        swept = erasure_leftovers.sweep(settings, subject, skip)
        journal = _advance(settings, journal, "swept", other_files=swept)
    log(f"erasure {erasure}: scanning {settings.home}")
    hits = scan(settings.home, subject.needles(), skip=skip)
    places = Counter(f"{hit.file} · {hit.where}" for hit in hits)
    places.update(f"{name} · a row of them" for name in still_there(settings.home, subject))
    certificate = Certificate(
        erasure,
        "failed" if places else "complete",
        journal["by"],
        journal["reason"],
        journal["requests"],
        journal["begun_at"],
        now(),
        _subject_tokens(settings, subject),
        _persons(subject),
        _identifiers(subject),
        journal["removed"] | {"other_files": journal["other_files"]},
        journal["releases"],
        {
            "files": sum(1 for p in settings.home.rglob("*") if p.is_file()),
            "looked_for": len(subject.clear) + len(subject.words) + len(subject.keys) + len(subject.tokens),
            "found": sum(places.values()),
            "places": sorted(places),
        },
    )
    _write_certificate(settings, certificate)
    if not places:
        _journal_path(settings, erasure).unlink()
        fsync_folder(settings.vault / "erasures")
        log(f"erasure {erasure}: complete; certificate {_certificate_path(settings, erasure)}")
    else:
        # What is left may be mended by hand or by the sweep of the next attempt.
        _advance(settings, journal, "removed")
    return certificate


def _republish(settings: Settings, subject: Subject, erasure: str, log: Log) -> list[dict[str, Any]]:
    who = Who(subject.keys, subject.records)

    def mend(source: Path, target: Path) -> None:
        erasure_leftovers.mend(source, target, subject)

    # What an attempt that was killed left: half a candidate, or half a deleted original.
    commit.sweep_leftovers(settings)
    for release in shelf.list_releases(settings):
        done = redact(settings, release, who, erasure, mend)
        if done:
            log(f"release {done.original} is republished as {done.release} without {_people(subject)}")
    # Of the manifests, so that those count too that an attempt made which was killed.
    return [asdict(one) for one in made(settings, erasure)]


def _rows_of(settings: Settings, subject: Subject) -> tuple[dict[str, int], dict[str, int]]:
    """(rows that go, rows that stay as those of guests) of raw, by feed."""
    rows: Counter[str] = Counter()
    guests: Counter[str] = Counter()
    with People(settings, subject.records, subject.follows, subject.tokens, subject.guest_orders) as people:
        for feed in people.feeds():
            if feed.is_personal:
                found = feed.con.execute(
                    f"select count(*) from {feed.relation} where {feed.theirs}"
                ).fetchone()
                if found and found[0]:
                    (guests if feed.rule.as_guest else rows)[feed.contract.feed] += found[0]
    return dict(rows), dict(guests)


def _persons(subject: Subject) -> int:
    return subject.persons_n or max(len(subject.keys), 1 if subject.records else 0)


def _people(subject: Subject) -> str:
    if subject.guest_orders:
        n = len(subject.guest_orders)
        return f"{n} contact{'s' if n != 1 else ''} of guests"
    n = _persons(subject)
    return f"{n} person{'s' if n != 1 else ''}"


def _identifiers(subject: Subject) -> dict[str, int]:
    """How many identifiers of each kind are theirs alone; `shared` ones are other people's too and stay."""
    counts = Counter(kind for kind, _ in subject.tokens)
    counts["source_id"] = len(subject.records)
    counts["customer_key"] = len(subject.keys)
    counts.update(column for column, _ in subject.follows)
    return dict(sorted(counts.items())) | {"shared": subject.shared_n}


def _subject_tokens(settings: Settings, subject: Subject) -> list[str]:
    known = tombstones(settings)
    return sorted(
        {known.token("customer", value) for kind, value in subject.tombstones() if kind == "customer"}
    )


def _today(settings: Settings) -> date:
    return datetime.now(ZoneInfo(settings.timezone)).date()


def _journal_path(settings: Settings, erasure: str) -> Path:
    return settings.vault / "erasures" / f"{erasure}.json"


def _journals(settings: Settings) -> Iterator[dict[str, Any]]:
    for path in sorted((settings.vault / "erasures").glob("*.json")):
        yield json.loads(path.read_text(encoding="utf-8"))


def unfinished(settings: Settings) -> list[str]:
    """Ids of erasures that were begun and are not complete."""
    return [journal["erasure"] for journal in _journals(settings)]


def _write(settings: Settings, journal: dict[str, Any]) -> None:
    path = _journal_path(settings, journal["erasure"])
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_private(path, json.dumps(journal, ensure_ascii=False, indent=1) + "\n")


def _advance(settings: Settings, journal: dict[str, Any], state: str, **found: Any) -> dict[str, Any]:
    after = journal | found | {"state": state}
    _write(settings, after)
    return after


def _certificate_path(settings: Settings, erasure: str) -> Path:
    return settings.vault / "certificates" / f"{erasure}.json"


def read_certificate(settings: Settings, erasure: str) -> Certificate:
    """The certificate of one erasure. Raises StrataError where there is none."""
    path = _certificate_path(settings, erasure)
    if not path.exists():
        raise StrataError(f"erasure {erasure} has no certificate in {path.parent}: it is not finished")
    return Certificate(**json.loads(path.read_text(encoding="utf-8")))


def _write_certificate(settings: Settings, certificate: Certificate) -> None:
    path = _certificate_path(settings, certificate.erasure)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_private(path.with_suffix(".txt"), told(certificate) + "\n")
    write_private(path, json.dumps(certificate.as_dict(), ensure_ascii=False, indent=1) + "\n")


def told(certificate: Certificate) -> str:
    """The certificate as text."""
    c, removed = certificate, certificate.removed
    said = "is complete" if c.status == "complete" else "is NOT complete"
    rows = ", ".join(f"{feed} {n}" for feed, n in removed["raw_rows"].items()) or "none"
    guests = ", ".join(f"{feed} {n}" for feed, n in removed["rows_kept_as_guest"].items()) or "none"
    lines = [
        f"erasure {c.erasure} {said}: {c.persons} person{'s' if c.persons != 1 else ''}",
        f"  asked for by {c.requested_by}: {c.reason}"
        + (f" (requests {', '.join(c.requests)})" if c.requests else ""),
        f"  begun {c.begun_at}, done {c.done_at}",
        "  identifiers: " + ", ".join(f"{kind} {n}" for kind, n in c.identifiers.items()),
        f"  rows removed from raw: {rows} ({removed['raw_files']} files written anew)",
        f"  sales kept as those of guests: {guests}",
        f"  vault: {removed['vault_values']} values, of them {removed['texts_of_others']} texts of others; "
        f"quarantine: {removed['quarantined_values']} values",
    ]
    lines += [
        f"  release {r['original']} → {r['release']}: {sum(r['rows'].values())} rows of {r['persons']} person"
        f"{'s' if r['persons'] != 1 else ''}, {sum(r['cells'].values())} small cells"
        for r in c.releases
    ]
    other = ", ".join(f"{place} {n}" for place, n in removed["other_files"].items())
    lines.append(f"  other files mended or deleted: {other or 'none'}")
    lines.append(
        f"  scan of {c.scan['files']:,} files, decoded: {c.scan['found']} of {c.scan['looked_for']} identifiers found"
    )
    lines += [f"    LEFT in {place}" for place in c.scan["places"]]
    return "\n".join(lines)


def planned(found: Plan) -> str:
    """A dry run as text."""
    rows = ", ".join(f"{feed} {n}" for feed, n in found.rows.items()) or "none"
    guests = ", ".join(f"{feed} {n}" for feed, n in found.kept_as_guest.items()) or "none"
    return "\n".join(
        [
            f"would erase {found.persons} person{'s' if found.persons != 1 else ''} with {found.source_records} "
            "source records; nothing was changed",
            "  identifiers: " + ", ".join(f"{kind} {n}" for kind, n in found.identifiers.items()),
            f"  rows of raw that go: {rows}",
            f"  sales that stay as those of guests: {guests}",
            f"  releases to be republished: {', '.join(found.releases) or 'none'}",
        ]
    )
