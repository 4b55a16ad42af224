"""What one build is for, and the fingerprint that says whether it is still of these inputs."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import date, datetime
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pipeline.errors import StrataError
from pipeline.ingest import ledger
from pipeline.ingest.ledger import Entry
from pipeline.ingest.load import sweep
from pipeline.settings import DBT_PROJECT_DIR, Settings
from pipeline.transform.context import (
    fingerprint,
    project_hash,
    refresh_date,
    reporting_currency,
    write_context,
)

AS_OF = date(2024, 5, 10)
HEAD = "order_id,ordered_at,status\n"
Land = Callable[[str, bytes | str], Path]


@pytest.mark.parametrize(
    ("as_of", "extra", "expected"),
    [
        (date(2024, 5, 1), (), date(2024, 5, 1)),
        (date(2024, 5, 31), (), date(2024, 5, 1)),
        (date(2024, 2, 29), (), date(2024, 2, 1)),
        (date(2024, 5, 14), (date(2024, 5, 15),), date(2024, 5, 1)),
        (date(2024, 5, 15), (date(2024, 5, 15),), date(2024, 5, 15)),
        (date(2024, 5, 31), (date(2024, 5, 20), date(2024, 5, 15)), date(2024, 5, 20)),
        (date(2024, 6, 1), (date(2024, 5, 20),), date(2024, 6, 1)),
    ],
)
def test_cut_points_are_of_the_month_s_first_day_or_a_dated_refresh(
    as_of: date, extra: tuple[date, ...], expected: date
) -> None:
    assert refresh_date(as_of, extra) == expected


def entry(currency: str | None, source: str = "shop") -> Entry:
    return Entry(
        delivery=f"{source}/orders/x/rev=1",
        source=source,
        feed="orders",
        stem="x",
        file="f",
        dt=date(2024, 5, 6),
        rev=1,
        known_from=date(2024, 5, 7),
        sha256="",
        bytes=0,
        status="loaded",
        loaded_at=datetime(2024, 5, 7),
        run_id="r",
        file_stat="",
        currency=currency,
    )


def test_the_reporting_currency_is_set_or_the_sources_one_or_the_default(settings: Settings) -> None:
    assert reporting_currency(settings, []) == "CNY"
    assert reporting_currency(settings, [entry(None)]) == "CNY"
    assert reporting_currency(settings, [entry("GBP"), entry(None), entry("GBP", "app")]) == "GBP"
    assert reporting_currency(replace(settings, currency="EUR"), [entry("GBP")]) == "EUR"


def test_two_currencies_and_none_set_is_an_error(settings: Settings) -> None:
    with pytest.raises(StrataError, match="the sources declare CNY, GBP: set STRATA_CURRENCY"):
        reporting_currency(settings, [entry("GBP"), entry("CNY", "app")])
    assert reporting_currency(replace(settings, currency="CNY"), [entry("GBP"), entry("CNY", "app")]) == "CNY"


def test_the_context_is_one_row_with_the_currency_s_minor_unit(settings: Settings) -> None:
    for currency, digits, preset in (("CNY", 2, None), ("JPY", 0, "grocery")):
        write_context(replace(settings, currency=currency, policy_preset=preset), AS_OF)
        assert pq.read_table(settings.build / "run_context.parquet").to_pylist() == [
            {
                "as_of_date": AS_OF,
                "refresh_date": date(2024, 5, 1),
                "reporting_currency": currency,
                "currency_digits": digits,
                "policy_preset": preset,
                "rules": project_hash(suffixes=(".sql", ".csv")),
            }
        ]


def test_the_fingerprint_follows_the_deliveries_of_its_day_and_nothing_else(
    settings: Settings, land: Land
) -> None:
    def now() -> str:
        return fingerprint(settings, AS_OF)

    def take_in(as_of: date = AS_OF, released: date | None = None) -> None:
        sweep(settings, as_of, run_id="test", released=released)

    land("shop/orders/2024-05-06.csv", HEAD + "a,2024-05-06,paid\n")
    take_in()
    first = now()
    take_in()
    assert now() == first, "nothing new"
    land("shop/orders/2024-05-10.csv", HEAD + "b,2024-05-10,paid\n")
    take_in(date(2024, 5, 11))
    assert now() == first, "a later day"
    land("shop/orders/2024-05-07.csv", HEAD + "c,2024-05-07,paid\n")
    take_in(date(2024, 5, 12), released=date(2024, 5, 11))
    assert now() == first, "a restatement that was not known then"
    land("shop/orders/2024-05-08.csv", HEAD + "d,2024-05-08,paid\n")
    take_in()
    added = now()
    assert added != first, "a new delivery"
    land("shop/orders/2024-05-08.csv", HEAD + "e,2024-05-08,paid\n")
    take_in()
    corrected = now()
    assert corrected not in (first, added), "a new revision"
    land("shop/orders/2024-05-08.csv", b"")
    take_in()
    assert now() not in (first, added, corrected), "a refused revision"
    assert fingerprint(settings, date(2024, 5, 9)) != now(), "another day"
    assert fingerprint(replace(settings, currency="EUR"), AS_OF) != now(), "another currency"


def test_the_fingerprint_does_not_depend_on_the_order_of_the_ledger(settings: Settings, land: Land) -> None:
    for n in (6, 7):
        land(f"shop/orders/2024-05-0{n}.csv", HEAD + f"{n},2024-05-06,paid\n")
        sweep(settings, AS_OF, run_id="test", released=None)
    first = fingerprint(settings, AS_OF)
    entries = ledger.read(settings)
    for path in settings.ledger.glob("*.parquet"):
        path.unlink()
    ledger.append(
        settings, [replace(e, run_id="other", loaded_at=datetime(2030, 1, 1)) for e in reversed(entries)]
    )
    assert fingerprint(settings, AS_OF) == first


@pytest.mark.parametrize(
    ("file", "changes"),
    [
        ("models/staging/deliveries_in_force.sql", True),
        ("seeds/policy/thresholds.csv", True),
        ("dbt_project.yml", True),
        ("models/new_model.sql", True),
        ("README.md", False),
        ("target/manifest.sql", False),
        ("logs/x.yml", False),
    ],
)
def test_sql_seeds_and_settings_of_the_project_count(tmp_path: Path, file: str, changes: bool) -> None:
    project = tmp_path / "dbt_project"
    shutil.copytree(DBT_PROJECT_DIR, project, ignore=shutil.ignore_patterns("target", "logs", "dbt_packages"))
    before = project_hash((project,))
    assert before == project_hash((project,))
    path = project / file
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_text((path.read_text() if path.exists() else "") + "\n")
    assert (project_hash((project,)) != before) == changes


def test_a_renamed_model_counts(tmp_path: Path) -> None:
    (tmp_path / "a.sql").write_text("select 1")
    before = project_hash((tmp_path,))
    (tmp_path / "a.sql").rename(tmp_path / "b.sql")
    assert project_hash((tmp_path,)) != before
