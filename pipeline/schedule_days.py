"""One partition is one delivery day of the whole line; the as-of date is the day after it."""

from datetime import date, timedelta

from dagster import DailyPartitionsDefinition

from pipeline import settings as settings_module
from pipeline.ingest.database.days import active
from pipeline.ingest.landing import scan


def first_day() -> date:
    """First partition: as set, else the earliest delivery in landing, else 2020-01-01."""
    settings = settings_module.load()
    if settings.first_day:
        return settings.first_day
    deliveries, _ = scan(settings.landing) if settings.landing.is_dir() else ([], [])
    days = [d.dt for d in deliveries]
    if active(settings):
        # What a database holds of the past is not in landing yet.
        days.append(date(2020, 1, 1))
    return min(days, default=date(2020, 1, 1))


def daily_partitions() -> DailyPartitionsDefinition:
    """Delivery days from `first_day` to today. Today counts: its delivery may have come before midnight."""
    return DailyPartitionsDefinition(
        start_date=first_day().isoformat(), timezone=settings_module.load().timezone, end_offset=1
    )


def as_of_date(partition_key: str) -> date:
    """The as-of date of a partition: its day is the last complete one."""
    return date.fromisoformat(partition_key) + timedelta(days=1)


def partition_key(as_of: date) -> str:
    return (as_of - timedelta(days=1)).isoformat()
