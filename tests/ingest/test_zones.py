"""The SQL of zones.py says what Python's own zone data says, around every change and between them."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import duckdb
import pytest

from pipeline.ingest.zones import offset_changes, offset_of_utc, utc_of_local

ZONES = [
    "Asia/Shanghai",
    "Europe/London",
    "America/New_York",
    "Australia/Lord_Howe",
    "Africa/Casablanca",
    "Pacific/Apia",
]
UNTIL = 2027


def _moments(zone: str) -> list[datetime]:
    """UTC moments: close to every change, and one a month."""
    _, changes = offset_changes(zone, UNTIL)
    close = [m + timedelta(minutes=d) for m, _, _ in changes for d in (-61, -31, -1, 0, 1, 29, 59, 61, 121)]
    monthly = [datetime(year, month, 3, 5, 7) for year in range(2000, UNTIL + 1) for month in range(1, 13)]
    return close + monthly


@pytest.mark.parametrize("zone", ZONES)
def test_offset_of_a_utc_moment(zone: str) -> None:
    moments = _moments(zone)
    con = duckdb.connect()
    found = con.execute(
        f"select {offset_of_utc('x', zone, UNTIL)} from (select unnest($1::timestamp[]) as x)", [moments]
    ).fetchall()
    info = ZoneInfo(zone)
    for moment, (offset,) in zip(moments, found, strict=True):
        expected = moment.replace(tzinfo=UTC).astimezone(info).utcoffset()
        assert timedelta(minutes=offset) == expected, moment


@pytest.mark.parametrize("zone", ZONES)
def test_utc_of_a_local_time_takes_the_first_of_two(zone: str) -> None:
    info = ZoneInfo(zone)
    locals_ = [m.replace(tzinfo=UTC).astimezone(info).replace(tzinfo=None, fold=0) for m in _moments(zone)]
    con = duckdb.connect()
    found = con.execute(
        f"select {utc_of_local('x', zone, UNTIL)} from (select unnest($1::timestamp[]) as x)", [locals_]
    ).fetchall()
    for local, (utc,) in zip(locals_, found, strict=True):
        assert utc == local.replace(tzinfo=info, fold=0).astimezone(UTC).replace(tzinfo=None), local


def test_a_zone_without_changes_is_a_constant() -> None:
    assert offset_of_utc("x", "Asia/Shanghai", UNTIL) == "cast(480 as smallint)"
