"""What lies in landing: `<landing>/<source>/<feed>/<YYYY-MM-DD>[.<part>].<ext>`.

Names that begin with `_` or `.` are not deliveries and are passed over.
"""

import re
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from pipeline.errors import StrataError
from pipeline.ingest.contracts import delivered_contract, load_contracts, source_of

FORMATS = ("csv", "jsonl", "parquet", "xlsx")
_NAME = re.compile(r"(?P<day>\d{4}-\d{2}-\d{2})(?:\.(?P<part>[A-Za-z0-9_-]+))?\.(?P<ext>[a-z]+)")
EXPECTED = "<source>/<feed>/<YYYY-MM-DD>[.<part>].<csv|jsonl|parquet|xlsx>"


@dataclass(frozen=True, order=True)
class Delivery:
    """One file that stands where a delivery stands. `dt` is its business day, read from the name."""

    source: str
    feed: str
    dt: date
    name: str
    path: Path

    @property
    def stem(self) -> str:
        """Day and part: what a corrected file shares with the file that it corrects."""
        return self.name.rsplit(".", 1)[0]

    @property
    def ext(self) -> str:
        return self.name.rsplit(".", 1)[1]

    @property
    def file(self) -> str:
        """Path below landing."""
        return f"{self.source}/{self.feed}/{self.name}"


@dataclass(frozen=True, order=True)
class Misplaced:
    """A file that is no delivery, with what was expected in its place."""

    file: str
    expected: str
    path: Path


def scan(landing: Path) -> tuple[list[Delivery], list[Misplaced]]:
    """Every file below landing, sorted. Raises StrataError where there is no landing folder."""
    if not landing.is_dir():
        raise StrataError(
            f"landing folder {landing} does not exist: make it, or name another with --landing or STRATA_LANDING"
        )
    deliveries: list[Delivery] = []
    misplaced: list[Misplaced] = []
    for path in sorted(landing.rglob("*")):
        relative = path.relative_to(landing)
        if any(part[0] in "_." for part in relative.parts) or (path.is_dir() and not path.is_symlink()):
            continue
        found = _delivery(path, relative)
        if isinstance(found, Delivery):
            deliveries.append(found)
        else:
            misplaced.append(found)
    return sorted(deliveries), misplaced


def _delivery(path: Path, relative: Path) -> Delivery | Misplaced:
    # A name that is no UTF-8 must still be told, and the ledger holds UTF-8 only.
    file = relative.as_posix().encode("utf-8", "backslashreplace").decode()
    if len(relative.parts) != 3:
        return Misplaced(file, EXPECTED, path)
    source, feed, name = relative.parts
    if delivered_contract(source_of(source), feed) is None:
        known = [*source_of(source).feeds] or [*load_contracts()]
        return Misplaced(file, f"{source}/<feed>/{name} with a feed of: {', '.join(known)}", path)
    match = _NAME.fullmatch(name)
    if match is None or match["ext"] not in FORMATS:
        return Misplaced(file, f"{source}/{feed}/<YYYY-MM-DD>[.<part>].<{'|'.join(FORMATS)}>", path)
    try:
        day = date.fromisoformat(match["day"])
    except ValueError:
        return Misplaced(file, f"{source}/{feed}/ a day that exists in place of {match['day']}", path)
    return Delivery(source, feed, day, name, path)
