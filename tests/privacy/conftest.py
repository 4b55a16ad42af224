"""A small home in which a person stands everywhere: vault, raw, quarantine, releases, logs, Dagster's storage, outbox."""

import json
import shutil
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.errors import GateStopped
from pipeline.home_scan import Needles
from pipeline.identity import tables as who
from pipeline.identity.links import write_links
from pipeline.ingest.load import sweep
from pipeline.lock import run_lock
from pipeline.privacy import erasure
from pipeline.privacy.erasure_gate import erasure_checks
from pipeline.publish import commit, shelf
from pipeline.publish.tables import PublishedTable, write_database
from pipeline.quality.checks import blocking
from pipeline.settings import Settings

TOKEN_KEY = "ab" * 32
FIRST, AS_OF = date(2024, 5, 7), date(2024, 5, 9)
NAME, PHONE, EMAIL, ADDRESS = "欧阳小雪", "13812345678", "snow@example.org", "杭州市文三路215号2单元1001室"
SHOP_ID, APP_ID, VISITOR = "c0000001", "a0000001", "v0000001"
PERSON = (NAME, PHONE, EMAIL)
# Of one household with the person: the phone is theirs too.
HUSBAND = "c0000002"
OTHERS = 11


def land(settings: Settings, file: str, text: str) -> Path:
    path = settings.landing / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def deliveries() -> dict[str, str]:
    others = "".join(f"c00001{n:02},其他人{n},1390000{n:04},o{n}@example.org,\n" for n in range(OTHERS))
    return {
        "shop/customers/2024-05-06.csv": "source_customer_id,name,phone,email,address\n"
        f"{SHOP_ID},{NAME},{PHONE},{EMAIL},{ADDRESS}\n{HUSBAND},欧阳大山,13700000000,,{ADDRESS}\n{others}",
        "app/customers/2024-05-06.csv": "source_customer_id,name,phone\n"
        f"{APP_ID},{NAME},+86 138 1234 5678\na0000003,司马一,13611112222\n",
        "shop/orders/2024-05-06.csv": "order_id,source_customer_id,ordered_at,status\n"
        f"o1,{SHOP_ID},2024-05-06 09:00:00,paid\no2,{HUSBAND},2024-05-06 10:00:00,paid\no3,,2024-05-06 11:00:00,paid\n",
        "shop/payments/2024-05-06.csv": "payment_id,order_id,amount,payer_hash,status,attempted_at,paid_at\n"
        "p1,o1,10,payer-of-snow,paid,2024-05-06 09:01:00,2024-05-06 09:01:00\n"
        "p2,o2,10,payer-of-hill,paid,2024-05-06 10:01:00,2024-05-06 10:01:00\n",
        "shop/consents/2024-05-06.csv": "consent_id,source_customer_id,purpose,channel,action,at\n"
        f"n1,{SHOP_ID},marketing,all,grant,2024-05-06 09:00:00\nn2,{HUSBAND},marketing,all,grant,2024-05-06 09:00:00\n",
        "shop/tickets/2024-05-06.csv": "ticket_id,source_customer_id,order_id,type,created_at,text\n"
        "t1,,o1,complaint,2024-05-06 12:00:00,Mine came broken\n"
        f"t2,{HUSBAND},,question,2024-05-06 12:00:00,Call {NAME} at {PHONE}\n"
        "t3,c0000100,,question,2024-05-06 12:00:00,Open on Sunday?\n",
        "app/web_sessions/2024-05-06.csv": "session_id,visitor_id,source_customer_id,started_at\n"
        f"s0000001,{VISITOR},{APP_ID},2024-05-06 08:00:00\ns0000002,{VISITOR},,2024-05-06 08:30:00\n"
        "s0000003,v0000002,,2024-05-06 08:30:00\n",
    }  # fmt: skip


def publish_small(settings: Settings, as_of: date) -> str:
    """Publish a release of three tables made from the links, if the gate lets it out and it says something new; its id."""
    rows = [r for r in who.links(settings).to_pylist() if r["known_at"] == as_of]
    keys = sorted({r["customer_key"] for r in rows})
    summary = [
        {"scheme": "abc", "class": c, "customers": n, "revenue": n * 10.0, "is_suppressed": False}
        for c, n in (("A", 10), ("B", len(keys) + 40), ("C", 90))
    ]
    tables = {
        "core.dim_identity_links": pa.Table.from_pylist(
            [{k: r[k] for k in ("source", "source_customer_id", "customer_key")} for r in rows]
        ),
        "segments.customer_abc": pa.table({"customer_key": keys, "abc_class": ["A"] * len(keys)}),
        "audiences.segment_summary": pa.Table.from_pylist(summary),
    }
    candidate = settings.releases / ".tmp-test"
    for key, data in tables.items():
        path = candidate / "tables" / key.replace(".", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(data, path.with_suffix(".parquet"), compression="zstd")
    stopped = blocking(erasure_checks(settings, candidate, as_of))
    if stopped:
        raise GateStopped(str(stopped[0]))
    before = shelf.current(settings)
    hashes = {p: shelf.sha256(candidate / p) for p in shelf.files_of(candidate)}
    same_day = before and before["as_of_date"] == as_of.isoformat()
    if same_day and {p: f["sha256"] for p, f in before["files"].items() if p in hashes} == hashes:
        commit.remove(candidate)
        return before["release"]
    # An export by token, as an audience is, and a list with a row a line.
    (candidate / "audiences").mkdir()
    pq.write_table(pa.table({"token": keys}), candidate / "audiences" / "sms.parquet")
    (candidate / "audiences" / "sms.csv").write_text("customer_key\n" + "".join(f"{key}\n" for key in keys))
    specs = [PublishedTable(*k.split("."), tuple(t.column_names), ()) for k, t in tables.items()]
    write_database(candidate, specs)
    (candidate / "index.html").write_text("page")
    described = {
        k: {"rows": len(t), "columns": dict.fromkeys(t.column_names, ""), "status": "published"}
        for k, t in tables.items()
    }
    release = commit.next_id(settings, as_of)
    manifest: dict[str, Any] = {
        "release": release,
        "as_of_date": as_of.isoformat(),
        "currency": "CNY",
        "policy_version": "1",
        "previous_release": before["release"] if before else None,
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "tables": described,
        "feeds": {},
        "checks": [{"table": "x", "check": "y", "examples": keys}],
    }
    commit.seal(settings, candidate, manifest, is_current=True)
    return release


def daily(settings: Settings, as_of: date) -> None:
    """What a run does with an erasure, around the smallest build there is."""
    erasure.settle(settings)
    sweep(settings, as_of, run_id="test", released=shelf.newest_as_of(settings))
    erasure.of_requests(settings, as_of)
    write_links(settings, [as_of])
    commit.sweep_leftovers(settings)
    publish_small(settings, as_of)
    erasure.finish(settings)


def key_of(settings: Settings, source: str, customer_id: str) -> str:
    rows = who.links(settings).to_pylist()
    return next(
        r["customer_key"] for r in rows if (r["source"], r["source_customer_id"]) == (source, customer_id)
    )


def leave_traces(settings: Settings) -> None:
    """Put the person where nothing should be, and where only a busy home has them."""
    key = key_of(settings, "shop", SHOP_ID)
    storage = settings.dagster_home / "history" / "runs.db"
    storage.parent.mkdir(parents=True)
    with sqlite3.connect(storage) as con:
        con.execute("pragma journal_mode = wal")
        con.execute("create table event_logs (id integer primary key, event text)")
        said = json.dumps({"description": f"example {key}", "inner": json.dumps({"name": NAME})})
        con.executemany("insert into event_logs (event) values (?)", [(said,)] * 50 + [("{}",)])
    files = {
        "build/checks/sources.json": json.dumps({"checks": [{"examples": [key]}]}),
        "dbt/logs/dbt-output.log": f"one line\nFailing row: {key}\nlast line\n",
        "dagster/storage/1/compute_logs/a.err": f"ValueError: {PHONE}\n",
        "alerts.log": f"2024-05-06 failed for {EMAIL}\n2024-05-06 another\n",
        "vault/outbox/sms.csv": f"phone\n{PHONE}\n13900000001\n",
    }
    for name, text in files.items():
        path = settings.home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    pq.write_table(pa.table({"customer_key": [key, "x"]}), settings.identity / "decisions.parquet")


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Two published days of a home in which the person stands everywhere."""
    folder = tmp_path_factory.mktemp("erasure")
    settings = Settings(folder / "home", folder / "landing", None, "Asia/Shanghai", None, None)
    for file, text in deliveries().items():
        land(settings, file, text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STRATA_TOKEN_KEY", TOKEN_KEY)
        with run_lock(settings):
            daily(settings, FIRST)
        daily(settings, AS_OF)
        leave_traces(settings)
    return settings


@dataclass(frozen=True)
class Home:
    """One copy of the built home, to be changed."""

    settings: Settings

    @property
    def person(self) -> Needles:
        """Everything that must be gone: written down here, not asked of the code under test."""
        key = key_of(self.settings, "shop", SHOP_ID)
        return Needles([*PERSON, key], words=[SHOP_ID, APP_ID, VISITOR])


def copied(built: Settings, folder: Path) -> Home:
    """The built home elsewhere, free to be changed."""
    shutil.copytree(built.home, folder / "home")
    shutil.copytree(built.landing, folder / "landing", dirs_exist_ok=True)
    return Home(replace(built, home=folder / "home", landing=folder / "landing"))


def writable(settings: Settings) -> None:
    """Let pytest remove what a release made read-only."""
    for folder in settings.releases.glob("*"):
        commit.remove(folder)


def erase(settings: Settings) -> erasure.Certificate:
    return erasure.erase(settings, records=[("shop", SHOP_ID)], by="tester", reason="request 7", run=daily)


@pytest.fixture
def home(built: Settings, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Home]:
    monkeypatch.setenv("STRATA_TOKEN_KEY", TOKEN_KEY)
    yield copied(built, settings.home.parent)
    writable(settings)
