"""Access (GDPR art. 15, PIPL art. 45): everything that a home holds about one person, in clear, for that person.

`vault/outbox/<time>-<id>/` holds `subject.json` and the same to read, `subject.html`; mode 0600. What is in it is told to
nobody else: the log says that it was made, by whom and why.
"""

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from pipeline import duck
from pipeline.duck import literal, quote
from pipeline.errors import StrataError
from pipeline.ingest.contracts import load_contracts
from pipeline.ingest.vault import Vault
from pipeline.ingest.vault.private import write_private
from pipeline.lock import run_lock
from pipeline.privacy import access_log, persons, requests
from pipeline.privacy.erasure_subject import FeedOfSource, People, resolve
from pipeline.publish import shelf
from pipeline.settings import Settings

_ORDERS = ("order_id",)


@dataclass(frozen=True)
class Exported:
    """Where the export lies, and how much it holds: rows of each feed, rows of each published table."""

    folder: Path
    customer_key: str
    records: tuple[tuple[str, str], ...]
    rows: Mapping[str, int]
    tables: Mapping[str, int]


def export_subject(
    settings: Settings,
    source: str,
    customer_id: str,
    *,
    by: str,
    purpose: str,
    request_id: str | None = None,
) -> Exported:
    """Write down all that is held about the person with this id; a request of kind access is done with it.

    Raises StrataError where customer or request are not known.
    """
    if not by.strip() or not purpose.strip():
        raise StrataError("--by and --purpose must say who exports and what for: both are logged")
    person = persons.find(settings, source, customer_id)
    if request_id:
        asked = requests.find(settings, source, request_id)
        if asked.kind != "access" or (asked.source, asked.source_customer_id) not in person.records:
            raise StrataError(
                f"request {request_id} of {source} is no access request of customer {customer_id}"
            )
    with run_lock(settings), Vault(settings, f"export-subject: {purpose}") as vault:
        subject = resolve(settings, person.records, [person.customer_key], vault.database)
        feeds = _feeds(settings, subject, vault)
    derived = _derived(settings, person.customer_key)
    held = {
        "made_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "made_by": by,
        "purpose": purpose,
        "request": request_id,
        "customer_key": person.customer_key,
        "earlier_keys": [key for key in subject.keys if key != person.customer_key],
        "known_as": [{"source": s, "customer": i} for s, i in person.records],
        "delivered": feeds,
        "derived": derived,
        "releases": _releases(settings, person.customer_key),
    }
    folder = _write(settings, held)
    rows = {name: len(found) for name, found in feeds.items()}
    access_log.record(settings, by, "subject exported", purpose, 1)
    if request_id:
        requests.note(settings, "access", source, customer_id, by=by, request_id=request_id)
    tables = {name: len(found) for name, found in derived.items()}
    return Exported(folder, person.customer_key, person.records, rows, tables)


def _feeds(settings: Settings, subject: Any, vault: Vault) -> dict[str, list[dict[str, Any]]]:
    """`<source>/<feed>` → the person's rows as they were delivered, all deliveries, tokens turned back into values."""
    found: dict[str, list[dict[str, Any]]] = {}
    with People(settings, subject.records, subject.follows, subject.tokens) as people:
        orders = set()
        feeds = list(people.feeds())
        for feed in feeds:
            rows = _rows(feed, feed.theirs) if feed.is_personal else []
            if rows:
                found[f"{feed.source}/{feed.contract.feed}"] = rows
                orders |= {(feed.source, str(r[c])) for r in rows for c in _ORDERS if r.get(c)}
        # What hangs on an order of theirs and names nobody, such as its lines.
        for feed in feeds:
            name = f"{feed.source}/{feed.contract.feed}"
            if name not in found and "order_id" in feed.contract.stored and not feed.customers:
                own = sorted(order for source, order in orders if source == feed.source)
                if own:
                    rows = _rows(feed, f"order_id in ({', '.join(literal(o) for o in own)})")
                    found |= {name: rows} if rows else {}
    clear = vault.clear(
        value
        for rows in found.values()
        for row in rows
        for n, value in row.items()
        if n.endswith("_token") and value
    )
    return {name: [_shown(name, row, clear) for row in rows] for name, rows in sorted(found.items())}


def _rows(feed: FeedOfSource, where: str) -> list[dict[str, Any]]:
    return (
        feed.con.execute(
            f"select * exclude (_file) from {feed.relation} where {where} order by _delivery, _row"
        )
        .to_arrow_table()
        .to_pylist()
    )


def _shown(name: str, row: Mapping[str, Any], clear: Mapping[str, str]) -> dict[str, Any]:
    """A row of raw as the person may read it: clear values in place of tokens, and the file that it came with."""
    contract = load_contracts()[name.split("/")[1]]
    shown: dict[str, Any] = {}
    for column, spec in contract.stored.items():
        if spec.pii == "birth_date":
            day = row.get(f"{column.removesuffix('_date')}_month_day")
            year = row.get(f"{column.removesuffix('_date')}_year")
            shown[column] = "-".join(str(p) for p in (year, day) if p is not None) or None
        elif spec.pii:
            shown[column] = clear.get(row.get(f"{column}_token") or "", row.get(f"{column}_masked"))
        else:
            shown[column] = row.get(column)
    return {k: v for k, v in shown.items() if v is not None} | {"delivered_with": row["_delivery"]}


def _derived(settings: Settings, key: str) -> dict[str, list[dict[str, Any]]]:
    """Rows about the person in the tables of the current release: what was concluded from the delivered ones."""
    manifest = shelf.current(settings)
    found: dict[str, list[dict[str, Any]]] = {}
    if manifest is None:
        return found
    folder = settings.releases / manifest["release"]
    with duck.connect([folder]) as con:
        for name, table in manifest["tables"].items():
            if "customer_key" in table["columns"]:
                rows = con.execute(
                    f"select * from read_parquet({_file(folder, name)}, hive_partitioning = false) "
                    f"where {quote('customer_key')} = $1",
                    [key],
                ).to_arrow_table()
                if rows.num_rows:
                    found[name] = rows.to_pylist()
    return found


def _releases(settings: Settings, key: str) -> list[str]:
    """Ids of the kept releases that hold the person's key."""
    held = []
    for name in shelf.list_releases(settings):
        folder = settings.releases / name
        links = folder / "tables" / "core" / "dim_identity_links.parquet"
        if links.exists():
            with duck.connect([folder]) as con:
                row = con.execute(
                    f"select 1 from read_parquet({_file(folder, 'core.dim_identity_links')}, hive_partitioning = false) "
                    "where customer_key = $1 limit 1",
                    [key],
                ).fetchone()
            held += [name] if row else []
    return held


def _file(folder: Path, table: str) -> str:
    return literal(str(folder / "tables" / f"{table.replace('.', '/')}.parquet"))


def _write(settings: Settings, held: Mapping[str, Any]) -> Path:
    """`subject.json` and `subject.html` in a folder of their own; its path."""
    folder = settings.vault / "outbox" / f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(4)}"
    folder.mkdir(parents=True, mode=0o700)
    for parent in (folder, folder.parent):
        parent.chmod(0o700)
    text = json.dumps(held, ensure_ascii=False, indent=1, default=str)
    write_private(folder / "subject.json", text + "\n")
    page = (
        Environment(
            loader=FileSystemLoader(Path(__file__).parent / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        .get_template("subject.html.j2")
        .render(held=json.loads(text))
    )
    write_private(folder / "subject.html", page)
    return folder
