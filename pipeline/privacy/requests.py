"""Requests of people about their data (R43): what is open and by when, and what the desk writes down about them."""

import re
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, Literal
from zoneinfo import ZoneInfo

import pyarrow as pa

from pipeline import alerts, duck
from pipeline.duck import literal
from pipeline.errors import StrataError
from pipeline.ingest import ledger
from pipeline.ingest.contracts import Column, load_contracts, source_of
from pipeline.ingest.vault import Vault, normalise
from pipeline.lock import run_lock
from pipeline.privacy import consent, desk, persons
from pipeline.quality.checks import Check
from pipeline.quality.policy import thresholds
from pipeline.settings import Settings

State = Literal["done", "open", "due_soon", "overdue"]
ALERTS = ("requests_are_done_in_time", "requests_are_done_before_the_last_day")
_TRUE = {"true", "1", "yes", "是"}
_FALSE = {"false", "0", "no", "否"}
# Who somebody is in a source, and whether the house counts them as staff, is not theirs to correct.
_NOT_THEIRS = ("source", "source_customer_id", "is_test", "is_employee", "registered_at", "updated_at")


@dataclass(frozen=True)
class Request:
    """One request in its newest state. `due_on` is the policy's day where the source states none."""

    request_id: str
    source: str
    source_customer_id: str
    kind: str
    received_on: date
    due_on: date
    done_on: date | None = None
    received_at: datetime | None = None
    due_at: datetime | None = None

    def state(self, as_of: date, warn_days: int) -> State:
        """What it is on `as_of`: overdue once its due day is over, due soon from `warn_days` before that day."""
        if self.done_on:
            return "done"
        if self.due_on < as_of:
            return "overdue"
        return "due_soon" if self.due_on <= as_of + timedelta(days=warn_days) else "open"


@dataclass(frozen=True)
class Written:
    """What was written down at the desk for one person. `file` lies below `vault/desk`."""

    request_id: str
    kind: str
    customer_key: str
    file: str


def all_requests(settings: Settings, as_of: date) -> list[Request]:
    """Every request that is known for `as_of`, at the desk too, in its newest state; the earliest due first."""
    rows = _in_raw(settings, as_of)
    whole = consent.taken_in(settings, [r["_delivery"] for r in rows])
    for word in desk.words(settings, whole):
        if word.feed == "dsr":
            rows.append(dict(word.row) | {"source": word.source, "zone": None})
    newest: dict[tuple[str, str, str], dict[str, Any]] = {}
    for row in rows:
        # A row at the desk replaces what it was made of: it stands later in the list. An id that a source gives to two
        # people makes two requests.
        key = (row["source"], row["request_id"], row["source_customer_id"])
        before = newest.get(key)
        if before is None or (_time(row.get("updated_at")) or datetime.min) >= (
            _time(before.get("updated_at")) or datetime.min
        ):
            newest[key] = row
    days = int(thresholds(as_of)["request_due_days"])
    found = [_request(settings, row, days) for row in newest.values()]
    return sorted(found, key=lambda r: (r.due_on, r.source, r.request_id))


def open_requests(settings: Settings, as_of: date) -> list[Request]:
    """The requests that are not done, the earliest due first."""
    return [request for request in all_requests(settings, as_of) if request.done_on is None]


def delete_requests(settings: Settings, as_of: date) -> list[Request]:
    """Whoever asked to be erased and is still here, also where the source calls the request done: it is done there."""
    return [request for request in all_requests(settings, as_of) if request.kind == "delete"]


def _in_raw(settings: Settings, as_of: date) -> list[dict[str, Any]]:
    entries = [e for e in ledger.in_force(ledger.read(settings), as_of) if e.status == "loaded"]
    files = sorted(str(p) for p in settings.raw.glob("[!_]*/dsr/*/*/*.parquet"))
    if not files:
        return []
    with duck.connect([settings.raw]) as con:
        columns = {"_delivery": [e.delivery for e in entries], "source": [e.source for e in entries]}
        columns |= {"zone": [e.zone for e in entries]}
        con.register("in_force", pa.table({k: pa.array(v, pa.string()) for k, v in columns.items()}))
        listed = ", ".join(literal(f) for f in files)
        return (
            con.execute(
                "select source, zone, _delivery, request_id, source_customer_id, kind, received_at, due_at, done_at, "
                f"updated_at from read_parquet([{listed}], union_by_name = true, hive_partitioning = false) "
                "join in_force using (_delivery) order by updated_at nulls first, _delivery, _row"
            )
            .to_arrow_table()
            .to_pylist()
        )


def _time(value: Any) -> datetime | None:
    """A time in UTC without zone, from raw as it is or from the desk's text."""
    if value is None or isinstance(value, datetime):
        return value
    return datetime.fromisoformat(value).astimezone(UTC).replace(tzinfo=None)


def _request(settings: Settings, row: Mapping[str, Any], due_days: int) -> Request:
    zone = ZoneInfo(row["zone"] or settings.timezone)

    def day(name: str) -> date | None:
        at = _time(row.get(name))
        return at.replace(tzinfo=UTC).astimezone(zone).date() if at else None

    received = day("received_at")
    if received is None:
        raise StrataError(f"request {row['request_id']} of {row['source']} says no time: deliver it again")
    return Request(
        row["request_id"],
        row["source"],
        row["source_customer_id"],
        row["kind"],
        received,
        day("due_at") or received + timedelta(days=due_days),
        day("done_at"),
        _time(row["received_at"]),
        _time(row.get("due_at")),
    )


def find(settings: Settings, source: str, request_id: str) -> Request:
    """One request. Raises StrataError where there is none of that id."""
    for request in all_requests(settings, persons.as_of(settings)):
        if (request.source, request.request_id) == (source, request_id):
            return request
    raise StrataError(f"source {source} has no request {request_id}: see `strata subject requests --all`")


def note(
    settings: Settings,
    kind: str,
    source: str,
    customer_id: str,
    *,
    by: str,
    request_id: str | None = None,
    lifted: bool = False,
    done: bool = True,
) -> Written:
    """Write down that a request of `kind` was met now, or that what it asked for has ended (`lifted`).

    Args:
        request_id: the request that is answered; a new one where None.

    Raises StrataError where customer or request are not known, or the request is another's or of another kind.
    """
    if not by.strip():
        raise StrataError("--by must say who does it")
    person = persons.find(settings, source, customer_id)
    moment = desk.moments(settings, persons.as_of(settings))[0]
    asked = find(settings, source, request_id) if request_id else None
    if asked and (asked.source, asked.source_customer_id) not in person.records:
        raise StrataError(f"request {request_id} of {source} is not of customer {customer_id}")
    if asked and asked.kind != kind:
        raise StrataError(f"request {request_id} of {source} is for `{asked.kind}`, not for `{kind}`")
    name = request_id or f"desk-{secrets.token_hex(6)}"
    row: dict[str, Any] = {
        "request_id": name,
        "source_customer_id": asked.source_customer_id if asked else customer_id,
        "kind": kind,
        "received_at": _text(asked.received_at) if asked else moment.at,
        "updated_at": moment.at,
    }
    row |= {"due_at": _text(asked.due_at)} if asked and asked.due_at else {}
    row |= {"done_at": moment.at} if done else {}
    row |= {"lifted_at": moment.at} if lifted else {}
    file = desk.write(settings, moment.day, source, "dsr", [row])
    return Written(name, kind, person.customer_key, file)


def _text(at: datetime | None) -> str | None:
    return at.replace(tzinfo=UTC).isoformat(timespec="seconds") if at else None


def rectify(
    settings: Settings,
    source: str,
    customer_id: str,
    changes: Mapping[str, str],
    *,
    by: str,
    request_id: str | None = None,
) -> Written:
    """Write a person's record of one source down anew with other values; the next run takes it in as the newest state.

    Args:
        changes: column of the customers feed → value; an empty one says that it is not known.

    Raises StrataError for a column that is not the person's to correct, or a value that its contract refuses.
    """
    person = persons.find(settings, source, customer_id)
    contract = load_contracts()["customers"]
    checked = {
        name: _checked(name, contract.columns.get(name), value, source_of(source).country)
        for name, value in changes.items()
    }
    if not checked:
        raise StrataError("nothing to rectify: say --set COLUMN=VALUE")
    moment = desk.moments(settings, persons.as_of(settings))[0]
    with run_lock(settings), Vault(settings, f"rectification by {by}") as vault:
        row = _present(settings, vault, source, customer_id)
    row |= checked | {"source_customer_id": customer_id, "updated_at": moment.at}
    written = note(settings, "rectify", source, customer_id, by=by, request_id=request_id)
    file = desk.write(settings, moment.day, source, "customers", [row])
    return Written(written.request_id, "rectify", person.customer_key, file)


def _checked(name: str, column: Column | None, value: str, country: str) -> str | bool | None:
    """The value as the contract wants it."""
    if column is None or name in _NOT_THEIRS:
        names = [n for n in load_contracts()["customers"].columns if n not in _NOT_THEIRS]
        raise StrataError(f"{name} cannot be rectified; what can be: {', '.join(names)}")
    if not value.strip():
        return None
    if column.values and value not in column.values:
        raise StrataError(f"{name} is one of {', '.join(column.values)}")
    if column.type == "b":
        if value.lower() not in _TRUE | _FALSE:
            raise StrataError(f"{name} is true or false")
        return value.lower() in _TRUE
    if column.type == "d":
        try:
            date.fromisoformat(value)
        except ValueError as error:
            raise StrataError(f"{name} is a date such as 1990-01-31") from error
    if column.type in ("i", "m", "q") and not re.fullmatch(r"\d+(\.\d+)?", value):
        raise StrataError(f"{name} is a number")
    if column.pii in ("phone", "email") and normalise(column.pii, value, country) is None:
        raise StrataError(f"{name} is no {column.pii} that anybody could be reached by")
    return value


def _present(settings: Settings, vault: Vault, source: str, customer_id: str) -> dict[str, Any]:
    """The newest row of a customer in raw, with clear values; empty where no customers file has named them."""
    files = sorted(str(p) for p in settings.raw.glob(f"{source}/customers/*/*/*.parquet"))
    if not files:
        return {}
    current = {
        e.delivery: e for e in ledger.in_force(ledger.read(settings), date.max) if e.status == "loaded"
    }
    listed = ", ".join(literal(f) for f in files)
    with duck.connect([settings.raw], spill=settings.vault / "spill") as con:
        con.register("in_force", pa.table({"_delivery": pa.array(list(current), pa.string())}))
        rows = (
            con.execute(
                f"select * from read_parquet([{listed}], union_by_name = true, hive_partitioning = false) "
                "semi join in_force using (_delivery) where source_customer_id = $1 "
                "order by updated_at desc nulls last, _delivery desc, _row desc limit 1",
                [customer_id],
            )
            .to_arrow_table()
            .to_pylist()
        )
    if not rows:
        return {}
    raw = rows[0]
    clear = vault.clear([raw[n] for n in raw if n.endswith("_token") and raw[n]])
    row: dict[str, Any] = {}
    for name, column in load_contracts()["customers"].columns.items():
        if column.pii == "birth_date":
            if raw.get("birth_year") and raw.get("birth_month_day"):
                row[name] = f"{raw['birth_year']:04d}-{raw['birth_month_day']}"
        elif column.pii:
            row[name] = clear.get(raw.get(f"{name}_token") or "")
        elif name in raw and name != "source":
            value = raw[name]
            row[name] = _text(value) if isinstance(value, datetime) else value
    return {k: v if isinstance(v, bool) or v is None else str(v) for k, v in row.items() if v is not None}


def alert(settings: Settings, as_of: date, checks: Iterable[Check]) -> None:
    """Tell of requests that are overdue or nearly so; each is named by its source and id."""
    failed: Sequence[Check] = [c for c in checks if c.check in ALERTS and not c.passed]
    for check in failed:
        first = check.description.split("\n")[0]
        alerts.send(settings, f"strata: {as_of}: {first} {'; '.join(check.examples)}", check=check.check)
