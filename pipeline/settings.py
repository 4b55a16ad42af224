"""Every path and environment variable of Strata, once.

| variable | default | meaning |
|---|---|---|
| STRATA_HOME | var/ | raw, vault, warehouse, releases: everything Strata writes |
| STRATA_LANDING | landing/ | where source systems deliver files; Strata writes there only what it reads from databases |
| STRATA_CURRENCY | the sources' one currency, else CNY | reporting currency (ISO 4217) |
| STRATA_TIMEZONE | Asia/Shanghai | zone of the schedule and of the business day D |
| STRATA_TOKEN_KEY | `$STRATA_HOME/token.key`, made on first use | key of the tokens, 64 hex characters |
| STRATA_TOKEN_KEY_NEW | none | the key that `strata vault rotate` goes over to |
| STRATA_FIRST_DAY | earliest delivery day in landing | first daily partition that Dagster shows |
| STRATA_BACKUP | none | folder of the weekly backup, on another disk |
| STRATA_MEMORY | four fifths of the machine's | memory that the process may hold while DuckDB works, such as 4GB; what does not fit goes to disk |
| STRATA_ALERT_WEBHOOK | none | address that a run-failure alert is posted to |
"""

import os
import re
import sys
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from zoneinfo import ZoneInfo

from pipeline.errors import StrataError

PROJECT_ROOT = Path(__file__).resolve().parents[1]
DBT_PROJECT_DIR = PROJECT_ROOT / "dbt_project"
CONTRACTS_DIR = PROJECT_ROOT / "pipeline" / "ingest" / "contracts"
MAPPINGS_DIR = PROJECT_ROOT / "pipeline" / "ingest" / "mappings"

# Great Expectations would otherwise report its use to its makers.
os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")
os.environ.setdefault("DBT_SEND_ANONYMOUS_USAGE_STATS", "false")
# The SQL of a build may open the seeds, wherever the command is called from (macros/dialect/file_access.sql).
os.environ["STRATA_DBT_PROJECT"] = str(DBT_PROJECT_DIR)


def _add_interpreter_to_path() -> None:
    """`.venv/bin/strata` runs without an activated environment, yet dagster-dbt looks `dbt` up on PATH."""
    bin_dir = str(Path(sys.executable).parent)
    if bin_dir not in os.environ.get("PATH", "").split(os.pathsep):
        os.environ["PATH"] = bin_dir + os.pathsep + os.environ.get("PATH", "")


_add_interpreter_to_path()


@dataclass(frozen=True)
class Settings:
    """Where one home is and how it is configured. All paths are absolute."""

    home: Path
    landing: Path
    currency: str | None
    timezone: str
    first_day: date | None
    alert_webhook: str | None
    backup: Path | None = None
    policy_preset: str | None = None

    raw = property(lambda self: self.home / "raw")
    ledger = property(lambda self: self.home / "raw" / "_ledger")
    quarantine = property(lambda self: self.home / "quarantine")
    vault = property(lambda self: self.home / "vault")
    token_key = property(lambda self: self.home / "token.key")
    identity = property(lambda self: self.home / "identity")
    decisions = property(lambda self: self.home / "decisions" / "identity.jsonl")
    approvals = property(lambda self: self.home / "decisions" / "gates.jsonl")
    build = property(lambda self: self.home / "build")
    warehouse = property(lambda self: self.home / "warehouse" / "warehouse.duckdb")
    dbt = property(lambda self: self.home / "dbt")
    releases = property(lambda self: self.home / "releases")
    pointer = property(lambda self: self.home / "CURRENT.json")
    release_ids = property(lambda self: self.home / "release_ids.json")
    serving = property(lambda self: self.home / "serving" / "marts.duckdb")
    lock = property(lambda self: self.home / "run.lock")
    dagster_home = property(lambda self: self.home / "dagster")


def memory() -> str | None:
    """Memory that the process may hold, None for DuckDB's own default. Raises StrataError on a value that is no size."""
    stated = os.environ.get("STRATA_MEMORY") or None
    if stated and not re.fullmatch(r"\d+(\.\d+)?\s?[KMGT]i?B", stated):
        raise StrataError(f"STRATA_MEMORY={stated!r} is no size such as 4GB")
    return stated


def load() -> Settings:
    """Read the environment. Raises StrataError on a value that cannot work."""
    memory()
    timezone = os.environ.get("STRATA_TIMEZONE") or "Asia/Shanghai"
    try:
        ZoneInfo(timezone)
    except Exception as error:
        raise StrataError(
            f"STRATA_TIMEZONE={timezone!r} is no time zone: use an IANA name such as Asia/Shanghai"
        ) from error
    currency = os.environ.get("STRATA_CURRENCY") or None
    if currency and not (len(currency) == 3 and currency.isascii() and currency.isupper()):
        raise StrataError(f"STRATA_CURRENCY={currency!r} is no ISO 4217 code such as CNY")
    first_day = os.environ.get("STRATA_FIRST_DAY")
    try:
        first = date.fromisoformat(first_day) if first_day else None
    except ValueError as error:
        raise StrataError(f"STRATA_FIRST_DAY={first_day!r} is no date such as 2026-01-31") from error
    backup = os.environ.get("STRATA_BACKUP")
    return Settings(
        home=Path(os.environ.get("STRATA_HOME") or "var").expanduser().resolve(),
        landing=Path(os.environ.get("STRATA_LANDING") or "landing").expanduser().resolve(),
        currency=currency,
        timezone=timezone,
        first_day=first,
        alert_webhook=os.environ.get("STRATA_ALERT_WEBHOOK") or None,
        backup=Path(backup).expanduser().resolve() if backup else None,
        policy_preset=os.environ.get("STRATA_POLICY_PRESET") or None,
    )
