"""What one build is for: the as-of date, the day of its cut points, the reporting currency.

The as-of date reaches dbt as a one-row Parquet source and not as `--vars`, which would cost a full parse a day.
"""

import csv
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import pyarrow as pa

from pipeline.clv.evaluated import keep_template, read_by
from pipeline.errors import StrataError
from pipeline.ingest import ledger
from pipeline.ingest.files import write_parquet
from pipeline.settings import DBT_PROJECT_DIR, Settings

POLICY_DIR = DBT_PROJECT_DIR / "seeds" / "policy"
_NO_MINOR_UNIT = {"JPY", "KRW", "VND"}


@dataclass(frozen=True)
class RunContext:
    """One row for dbt. `refresh_date` is the day whose RFM cut points are in force on `as_of_date` (M-01).

    `rules` is the hash of SQL and seeds: where it differs from that of the build before, a class may have moved by it.
    """

    as_of_date: date
    refresh_date: date
    reporting_currency: str
    currency_digits: int
    policy_preset: str | None
    rules: str


def refresh_date(as_of: date, extra: Iterable[date]) -> date:
    """First day of the month of `as_of`, or the latest extra refresh after it that is not after `as_of`."""
    first = as_of.replace(day=1)
    return max((day for day in extra if first < day <= as_of), default=first)


def policy_refreshes() -> list[date]:
    """Dated extra refreshes of the cut points, from the policy seed."""
    path = POLICY_DIR / "rfm_refreshes.csv"
    with path.open(encoding="utf-8") as file:
        return [date.fromisoformat(row["refresh_date"]) for row in csv.DictReader(file)]


def reporting_currency(settings: Settings, in_force: Iterable[ledger.Entry]) -> str:
    """The currency of the home: as set, else the one that all its sources declare, else CNY.

    Raises StrataError where sources disagree and none is set: a sum over two currencies would mean nothing.
    """
    if settings.currency:
        return settings.currency
    declared = {entry.currency for entry in in_force if entry.currency}
    if len(declared) > 1:
        raise StrataError(
            f"the sources declare {', '.join(sorted(declared))}: set STRATA_CURRENCY to the reporting currency"
        )
    return declared.pop() if declared else "CNY"


def policy_preset(name: str | None) -> str | None:
    """The preset of that name. Raises StrataError where there is none."""
    known = policy_presets()
    if name and name not in known:
        raise StrataError(f"there is no policy preset {name!r}: set one of {', '.join(known)}, or none")
    return name


def policy_presets() -> dict[str, list[dict[str, str]]]:
    """Rows of policy_presets.csv by preset."""
    found: dict[str, list[dict[str, str]]] = {}
    with (POLICY_DIR / "policy_presets.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            found.setdefault(row["preset"], []).append(row)
    return found


def write_context(settings: Settings, as_of: date) -> RunContext:
    """Decide and write `build/run_context.parquet` and the custom segments beside it; see to it that the
    evaluations are a table, be it an empty one. Raises StrataError."""
    keep_template(settings)
    # The readers of the seeds ask this module for their folder.
    from pipeline.segments import custom

    custom.write(settings, as_of)
    in_force = ledger.in_force(ledger.read(settings), as_of)
    currency = reporting_currency(settings, in_force)
    context = RunContext(
        as_of,
        refresh_date(as_of, policy_refreshes()),
        currency,
        0 if currency in _NO_MINOR_UNIT else 2,
        policy_preset(settings.policy_preset),
        project_hash(suffixes=(".sql", ".csv")),
    )
    schema = pa.schema(
        [
            ("as_of_date", pa.date32()),
            ("refresh_date", pa.date32()),
            ("reporting_currency", pa.string()),
            ("currency_digits", pa.int32()),
            ("policy_preset", pa.string()),
            ("rules", pa.string()),
        ]
    )
    write_parquet(pa.Table.from_pylist([vars(context)], schema), settings.build / "run_context.parquet")
    return context


def project_hash(
    folders: Iterable[Path] = (DBT_PROJECT_DIR,), suffixes: tuple[str, ...] = (".sql", ".yml", ".csv")
) -> str:
    """SHA-256 over the SQL, YAML and seeds of the dbt project: what a build is made by."""
    digest = hashlib.sha256()
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            parts = path.relative_to(folder).parts
            if path.suffix in suffixes and parts[0] not in ("target", "logs"):
                digest.update("/".join(parts).encode())
                digest.update(path.read_bytes())
    return digest.hexdigest()


def fingerprint(settings: Settings, as_of: date) -> str:
    """SHA-256 of everything that decides a build for `as_of`: deliveries and their revisions, what people
    decided about suspect merges, what back-tests found, policy, SQL, currency.

    Files that were refused count too: a release shows them in its ledger.
    """
    entries = ledger.read(settings)
    digest = hashlib.sha256(project_hash().encode())
    preset = f"|{settings.policy_preset}" if settings.policy_preset else ""
    digest.update(f"{as_of}|{reporting_currency(settings, ledger.in_force(entries, as_of))}{preset}".encode())
    for entry in sorted(entries, key=lambda e: (e.delivery, e.sha256)):
        if entry.dt is None or (entry.dt < as_of and entry.known_from and entry.known_from <= as_of):
            digest.update(f"{entry.delivery}|{entry.sha256}|{entry.status}\n".encode())
    for path in read_by(settings, as_of):
        digest.update(path.read_bytes())
    if settings.decisions.exists():
        digest.update(settings.decisions.read_bytes())
    return digest.hexdigest()
