"""What lies in landing: `<landing>/<source>/<feed>/<YYYY-MM-DD>[.<part>].<ext>`.

Names that begin with `_` or `.` are not deliveries and are passed over. A delivery may have a manifest beside it,
`<file>.manifest.json`, which says what the sender sent. Links are never followed: what is behind one is not landing.
"""

import json
import os
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from pathlib import Path
from typing import Any

from pipeline.errors import StrataError
from pipeline.ingest.contracts import delivered_contract, load_contracts, source_of
from pipeline.ingest.files import MAX_NAME_BYTES, file_stat, temporary_of
from pipeline.ingest.reading.content import FileRejected, open_regular
from pipeline.ingest.vault import masking

FORMATS = ("csv", "csv.gz", "jsonl", "jsonl.gz", "parquet", "xlsx")
_EXTS = "|".join(FORMATS)
_NAME = re.compile(
    rf"(?P<day>\d{{4}}-\d{{2}}-\d{{2}})(?:\.(?P<part>[A-Za-z0-9_-]+))?\.(?P<ext>{_EXTS.replace('.', '[.]')})"
)
# Letters of any script; no quotes, braces or glob characters, which mean something to a shell, to SQL or to DuckDB.
_SOURCE = re.compile(r"\w[\w.-]{0,99}")
EXPECTED = f"<source>/<feed>/<YYYY-MM-DD>[.<part>].<{_EXTS}>"
MANIFEST = ".manifest.json"
_MANIFEST_BYTES = 65_536
# Deliveries stand three levels deep; what is far below them is named by its folder and not walked through.
_MAX_DEPTH = 8


@dataclass(frozen=True, order=True)
class Delivery:
    """One file that stands where a delivery stands. `dt` is its business day, read from the name.

    `origin` stands before its name in the ledger where it does not lie in landing.
    """

    source: str
    feed: str
    dt: date
    name: str
    path: Path
    manifest: Path | None = None
    origin: str = ""

    @property
    def stem(self) -> str:
        """Day and part: what a corrected file shares with the file that it corrects."""
        return self.name.removesuffix(f".{self.ext}")

    @property
    def ext(self) -> str:
        """One of FORMATS."""
        *_, before, last = self.name.split(".")
        return f"{before}.{last}" if last == "gz" else last

    @property
    def file(self) -> str:
        """Path below landing; of a file from elsewhere with its origin before it."""
        return f"{self.origin}{self.source}/{self.feed}/{self.name}"

    def id_of(self, rev: int) -> str:
        """Id of a revision of the delivery, as ledger and raw have it."""
        return f"{self.source}/{self.feed}/{self.stem}/rev={rev}"

    @property
    def stat(self) -> str:
        """What identifies file and manifest: while it is the same, neither need be read again."""
        return file_stat(self.path) + (f"+{file_stat(self.manifest)}" if self.manifest else "")


@dataclass(frozen=True, order=True)
class Misplaced:
    """Something that is no delivery, with the reject code and what was expected in its place."""

    file: str
    expected: str
    path: Path
    code: str = "unexpected_path"


def scan(landing: Path) -> tuple[list[Delivery], list[Misplaced]]:
    """Everything below landing that is no folder, sorted. Raises StrataError where there is no landing folder."""
    if not landing.is_dir():
        raise StrataError(
            f"landing folder {landing} does not exist: make it, or name another with --landing or STRATA_LANDING"
        )
    deliveries: list[Delivery] = []
    misplaced: list[Misplaced] = []
    for folder, names in _folders(landing, ()):
        if len(folder) == _MAX_DEPTH:
            misplaced.append(Misplaced(_shown(folder)[0], EXPECTED, landing.joinpath(*folder)))
            continue
        present = set(names)
        for name in names:
            found = _delivery(landing, (*folder, name), present)
            if isinstance(found, Delivery):
                deliveries.append(found)
            elif found:
                misplaced.append(found)
    return sorted(deliveries), sorted(misplaced)


def _folders(landing: Path, inside: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], list[str]]]:
    """(parts of a folder below landing, names in it that are no folders), depth first, links not followed."""
    folders: list[str] = []
    names: list[str] = []
    if len(inside) == _MAX_DEPTH:
        yield inside, names
        return
    try:
        with os.scandir(landing.joinpath(*inside)) as entries:
            for entry in entries:
                if entry.name[0] not in "_.":
                    (folders if entry.is_dir(follow_symlinks=False) else names).append(entry.name)
    except FileNotFoundError:
        # It was taken away since its parent was listed.
        return
    except PermissionError as error:
        raise StrataError(
            f"landing folder {landing.joinpath(*inside)} cannot be read: give its reader permission"
        ) from error
    yield inside, sorted(names)
    for name in sorted(folders):
        yield from _folders(landing, (*inside, name))


def _shown(parts: tuple[str, ...]) -> tuple[str, bool]:
    """The path as the ledger may hold it, and whether a name has to be written another way for that.

    Control characters, marks that turn text around and bytes that are no UTF-8 are written as escapes: a name must not
    break the line or the terminal that it is told on.
    """
    text = "/".join(parts)
    shown = "".join(
        c.encode("unicode_escape").decode()
        if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp")
        else c
        for c in text
    )
    return shown, shown != text


def _delivery(landing: Path, parts: tuple[str, ...], present: set[str]) -> Delivery | Misplaced | None:
    path = landing.joinpath(*parts)
    file, unsafe = _shown(parts)
    if unsafe:
        return Misplaced(file, "a name without control characters", path, "unsafe_name")
    name = parts[-1]
    if name.endswith(MANIFEST) and name.removesuffix(MANIFEST) in present:
        return None
    if path.is_symlink() and len(parts) < 3:
        return Misplaced(file, "a folder; what is behind a link is not read", path, "not_a_regular_file")
    if len(parts) != 3:
        return Misplaced(file, EXPECTED, path)
    source, feed, _ = parts
    if not _SOURCE.fullmatch(source):
        return Misplaced(file, "a source name of letters, digits, . _ and - only", path)
    if delivered_contract(source_of(source), feed) is None:
        known = [*source_of(source).feeds] or [*load_contracts()]
        return Misplaced(file, f"{source}/<feed>/{name} with a feed of: {', '.join(known)}", path)
    match = _NAME.fullmatch(name)
    if match is None:
        return Misplaced(file, f"{source}/{feed}/<YYYY-MM-DD>[.<part>].<{_EXTS}>", path)
    try:
        day = date.fromisoformat(match["day"])
    except ValueError:
        return Misplaced(file, f"{source}/{feed}/ a day that exists in place of {match['day']}", path)
    manifest = path.with_name(name + MANIFEST) if name + MANIFEST in present else None
    found = Delivery(source, feed, day, name, path, manifest)
    over = len(temporary_of(f"{made_of(found.id_of(10**6))}.parquet").encode()) - MAX_NAME_BYTES
    if over > 0:
        return Misplaced(file, f"a name that is {over} bytes shorter", path, "name_too_long")
    if _is_personal(source) or _is_personal(match["part"] or ""):
        # It would stand in the ledger, in paths and on the page.
        return Misplaced(file, "a name without a phone or id number in it", path, "unsafe_name")
    return found


@lru_cache(maxsize=10_000)
def _is_personal(text: str) -> bool:
    """Whether a phone or id number stands in a part of a name. Sources and parts are the same every day."""
    return masking.mask([text]) != [text]


def made_of(delivery: str) -> str:
    """A delivery's id as part of a file name."""
    return delivery.replace("/", "~")


@dataclass(frozen=True)
class Manifest:
    """What the sender says of a file: any of `bytes`, `sha256` (of the file as delivered) and `rows` (records)."""

    said: dict[str, Any]

    def check(self, **found: object) -> None:
        """Raises FileRejected where the manifest says otherwise; what it does not say is not compared."""
        for key, value in found.items():
            said = self.said.get(key, value)
            if said != value:
                # A name in a manifest is whatever somebody wrote there.
                words = "another" if key == "file" else str(said)[:64]
                raise FileRejected(
                    "manifest_mismatch", f"{key}: the manifest says {words}, the file has {value}"
                )


def read_manifest(delivery: Delivery) -> Manifest:
    """The manifest of a delivery, empty where it has none. Raises FileRejected where it cannot be read."""
    if delivery.manifest is None:
        return Manifest({})
    try:
        with open_regular(delivery.manifest) as file:
            said = json.loads(file.read(_MANIFEST_BYTES))
    except FileRejected as rejected:
        raise FileRejected(
            "manifest_mismatch", f"the manifest cannot be read: {rejected.detail}"
        ) from rejected
    except (ValueError, RecursionError) as error:
        raise FileRejected("manifest_mismatch", "the manifest is no JSON of up to 64 KB") from error
    kinds = {"file": str, "bytes": int, "sha256": str, "rows": int}
    if not isinstance(said, dict) or any(type(v) is not kinds.get(k) for k, v in said.items()):
        raise FileRejected(
            "manifest_mismatch",
            "a manifest is an object of bytes and rows (numbers), sha256 and file (texts)",
        )
    manifest = Manifest(said | ({"sha256": said["sha256"].lower()} if "sha256" in said else {}))
    manifest.check(file=delivery.name)
    return manifest
