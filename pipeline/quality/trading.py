"""Which days are like other days: closed days, public holidays and sales events, by the policy's calendar.

`seeds/policy/trading_calendar.csv` has them as rows. A row holds for the sources of one country, for one source, or for
all (`*`). Its yearly rows are written by `python -m pipeline.quality.trading`, so that no run asks a library.
"""

import csv
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cache
from pathlib import Path

from pipeline.errors import StrataError
from pipeline.ingest.contracts import Source
from pipeline.settings import DBT_PROJECT_DIR

PATH = DBT_PROJECT_DIR / "seeds" / "policy" / "trading_calendar.csv"
FIELDS = ("starts_on", "ends_on", "scope", "kind", "name_en", "name_zh", "reason")
KINDS = ("closed", "holiday", "event", "unusual")
"""closed: no delivery is due · holiday: one may be missing and have any size · event: sales above the usual are
expected · unusual: somebody looked at the day and found its figures right."""


@dataclass(frozen=True)
class Special:
    """Why a day is not like others. `kind` is one of KINDS."""

    kind: str
    name: str


class Calendar:
    """Special days by scope (a country, a source name or `*`) and day."""

    def __init__(self, days: Mapping[tuple[str, date], Special]) -> None:
        self._days = dict(days)

    def special(self, source: Source, day: date) -> Special | None:
        """The row for this source and day; the source's own before its country's, that before everybody's."""
        if day.weekday() in source.closed_weekdays:
            return Special("closed", "closed, as source.yml says")
        if source.closed_dates and day.isoformat() in source.closed_dates:
            return Special("closed", "closed, as source.yml says")
        for scope in (source.source, source.country, "*"):
            if found := self._days.get((scope, day)):
                return found
        return None

    def is_trading_day(self, source: Source, day: date, *, holidays: bool = False) -> bool:
        """Whether the source is open; a holiday counts only where `holidays`."""
        found = self.special(source, day)
        return found is None or found.kind in ("event", "unusual") or (holidays and found.kind == "holiday")

    def last_trading_day(self, source: Source, before: date, *, holidays: bool = False) -> date:
        """The newest trading day before `before`."""
        day = before - timedelta(days=1)
        for _ in range(400):
            if self.is_trading_day(source, day, holidays=holidays):
                break
            day -= timedelta(days=1)
        return day

    def extended(self, days: Mapping[tuple[str, date], Special]) -> "Calendar":
        """With further days; the policy's own rows stay before them."""
        return Calendar({**days, **self._days})


def _read(path: Path) -> Iterator[tuple[tuple[str, date], Special]]:
    with path.open(encoding="utf-8") as file:
        for line, row in enumerate(csv.DictReader(file), start=2):
            try:
                first, last = (
                    date.fromisoformat(row["starts_on"]),
                    date.fromisoformat(row["ends_on"] or row["starts_on"]),
                )
                if row["kind"] not in KINDS or last < first or not row["scope"] or not row["reason"]:
                    raise ValueError(
                        f"kind is one of {', '.join(KINDS)}, with a scope, a reason and days in order"
                    )
            except ValueError as error:
                raise StrataError(f"{path}:{line}: {error}") from error
            for n in range((last - first).days + 1):
                yield (row["scope"], first + timedelta(days=n)), Special(row["kind"], row["name_en"])


@cache
def _of_file(path: Path, _stamp: int) -> Calendar:
    days: dict[tuple[str, date], Special] = {}
    # Where several rows name one day the stronger statement holds: what somebody looked at, then what is closed.
    rank = {"unusual": 0, "closed": 1, "holiday": 2, "event": 3}
    for key, special in _read(path):
        if key not in days or rank[special.kind] < rank[days[key].kind]:
            days[key] = special
    return Calendar(days)


def load_calendar(path: Path = PATH) -> Calendar:
    """The policy's calendar. Raises StrataError naming the line of a row that cannot be meant."""
    return _of_file(path, path.stat().st_mtime_ns)


# The years that the seed holds; whoever needs more widens this and writes the seed anew.
_YEARS = range(2009, 2029)
_COUNTRIES = {"CN": (None, "zh_CN"), "GB": ("ENG", None), "HK": (None, "zh_HK"), "US": (None, None)}
_YEARLY = "yearly: "
_SPRING = "Spring Festival"


def yearly_rows() -> Iterator[dict[str, str]]:
    """Public holidays of some countries and the sales seasons around them, as rows of the seed."""
    for country, (part, chinese) in _COUNTRIES.items():
        import holidays

        english = holidays.country_holidays(country, subdiv=part, years=_YEARS, language="en_US")
        local = (
            holidays.country_holidays(country, subdiv=part, years=_YEARS, language=chinese) if chinese else {}
        )
        for run in _runs(sorted(english)):
            named = [day for day in run if day in english and not english[day].startswith("Day off")]
            names = _names(english[day] for day in named), _names(local[day] for day in named if day in local)
            yield _row(run[0], run[-1], country, "holiday", *names, "public holiday")
        for year in _YEARS:
            yield from _seasons(country, year)


def _seasons(country: str, year: int) -> Iterator[dict[str, str]]:
    """Weeks of a year in which shops expect to sell more."""
    reason = "sales season"
    if country in ("CN", "HK"):
        first = _spring_festival(year)
        days = (first - timedelta(days=21), first - timedelta(days=1))
        yield _row(*days, country, "event", "New Year shopping", "年货节", reason)
    if country == "CN":
        for first, last, english, chinese in (
            (date(year, 3, 5), date(year, 3, 8), "Women's Day", "女王节"),
            (date(year, 6, 1), date(year, 6, 20), "618", "618"),
            (date(year, 11, 1), date(year, 11, 12), "11.11", "双十一"),
            (date(year, 12, 9), date(year, 12, 12), "12.12", "双十二"),
        ):
            yield _row(first, last, country, "event", english, chinese, reason)
    if country in ("GB", "US"):
        thanksgiving = date(year, 11, 22) + timedelta(days=(3 - date(year, 11, 22).weekday()) % 7)
        monday = thanksgiving - timedelta(days=3)
        yield _row(monday, thanksgiving + timedelta(days=5), country, "event", "Black Friday", "", reason)
    if country != "CN":
        yield _row(date(year, 12, 1), date(year, 12, 24), country, "event", "Christmas shopping", "", reason)
        days = (date(year, 12, 27), date(year, 12, 31))
        yield _row(*days, country, "holiday", "Christmas week", "", "many shops are closed")


def _spring_festival(year: int) -> date:
    """First day of the lunar year that begins in `year`."""
    import holidays

    days = holidays.country_holidays("CN", years=year, language="en_US")
    return min(
        day for day, name in days.items() if _SPRING in name and "Eve" not in name and day.year == year
    )


def _row(
    first: date, last: date, scope: str, kind: str, name_en: str, name_zh: str, reason: str
) -> dict[str, str]:
    values = (str(first), str(last), scope, kind, name_en, name_zh, _YEARLY + reason)
    return dict(zip(FIELDS, values, strict=True))


def _names(names: Iterable[str]) -> str:
    parts = (part.split("(")[0].split("（")[0].strip() for name in names for part in name.split(";"))
    return " / ".join(dict.fromkeys(parts))


def _runs(days: list[date]) -> Iterator[list[date]]:
    """Days that follow each other, with a weekend between two of them counted in."""
    run: list[date] = []
    for day in days:
        gap = [run[-1] + timedelta(days=n) for n in range(1, (day - run[-1]).days)] if run else []
        if run and not all(between.weekday() >= 5 for between in gap):
            yield run
            run, gap = [], []
        run += [*gap, day]
    if run:
        yield run


def write_yearly_rows(path: Path = PATH) -> int:
    """Write the yearly rows of the seed anew and keep every other one; number of rows written."""
    with path.open(encoding="utf-8") as file:
        kept = [row for row in csv.DictReader(file) if not row["reason"].startswith(_YEARLY)]
    rows = [*kept, *yearly_rows()]
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, FIELDS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return len(rows)


if __name__ == "__main__":
    sys.stdout.write(f"{write_yearly_rows()} rows in {PATH}\n")
