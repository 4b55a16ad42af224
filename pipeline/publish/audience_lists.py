"""Lists of tokens in a release: `audiences/<audience>.csv`, who is in each audience of the policy.

They hold nobody but people of the written `segment_membership`, with the classes that the rules name, and no contact:
what a tool takes in is rendered into the vault's outbox. `audiences/lists.py` makes them; a release that is made again
without somebody takes its lists over without her, and chooses nobody anew.
"""

import csv
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from pipeline import duck
from pipeline.duck import literal, quote
from pipeline.quality.checks import Check

FOLDER = "audiences"
MEMBERSHIP = Path("tables") / "audiences" / "segment_membership.parquet"
KEY = "customer_key"
_FLAG = "consent_"
_STRAYS = (
    "Somebody in a list of an audience is not in the published memberships, or has no consent to its channel there "
    "(Q-16, Q-17).\n\nThe release was not made. Run again; if it stays, the choice of audiences and the memberships read "
    "consent differently."
)


def carry(
    source_folder: Path,
    folder: Path,
    told: Mapping[str, Any] | None,
    refused: Mapping[str, Collection[str]] | None = None,
) -> tuple[dict[str, Any] | None, set[str]]:
    """Take the lists of a release over into a candidate that is made of it; (what its manifest says, who is left out).

    Left out is whom the candidate's memberships hold no more, and who refused the channel.

    Args:
        told: what the release's manifest says of its lists; `left` stays as it was then.
        refused: channel -> customer_keys.
    """
    if not told or "lists" not in told:
        return (None if told is None else dict(told)), set()
    (folder / FOLDER).mkdir()
    allowed: dict[str, set[str]] = {}
    gone: set[str] = set()
    lists = []
    for one in told["lists"]:
        channel = one["channel"]
        if channel not in allowed:
            allowed[channel] = _members(folder, channel) - set((refused or {}).get(channel, ()))
        with (source_folder / one["file"]).open(encoding="utf-8", newline="") as file:
            head, *rows = csv.reader(file)
        kept = [row for row in rows if row[0] in allowed[channel]]
        gone |= {row[0] for row in rows} - {row[0] for row in kept}
        with (folder / one["file"]).open("w", encoding="utf-8", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows([head, *kept])
        joined = sum(row[1] == "true" for row in kept) if one["joined"] is not None else None
        lists.append({**one, "members": len(kept), "joined": joined})
    return {**told, "lists": lists}, gone


def check(
    folder: Path, told: Mapping[str, Any] | None, refused: Mapping[str, Collection[str]]
) -> list[Check]:
    """Q-16 and Q-17 on the written lists: everybody in one is in the memberships, and consents to its channel.

    Args:
        refused: channel -> customer_keys who have refused it since the build.
    """
    lists = (told or {}).get("lists", ())
    found: set[str] = set()
    for one in lists:
        members = keys_in(folder / one["file"])
        found |= members - _members(folder, one["channel"])
        found |= members & set(refused.get(one["channel"], ()))
    strays = sorted(found)
    made = Check(
        "table", f"{FOLDER}.lists", "lists_hold_members", "block", not strays, len(strays), 0, _STRAYS, tuple(strays[:5]),
        "Q-16, Q-17",
    )  # fmt: skip
    return [made] if lists else []


def keys(folder: Path) -> str | None:
    """SQL for `customer_key` of everybody in a release's lists; None where it has none."""
    if not any((folder / FOLDER).glob("*.csv")):
        return None
    files = literal(str(folder / FOLDER / "*.csv"))
    return f"select {KEY} from read_csv({files}, header = true, all_varchar = true, union_by_name = true)"


def keys_in(path: Path) -> set[str]:
    with path.open(encoding="utf-8", newline="") as file:
        return {row[KEY] for row in csv.DictReader(file)}


def _members(folder: Path, channel: str) -> set[str]:
    """People of the written memberships with consent to the channel, where they state it."""
    path = folder / MEMBERSHIP
    flag = f"{_FLAG}{channel}"
    with duck.connect([folder]) as con:
        table = f"read_parquet({literal(str(path))}, hive_partitioning = false)"
        stated = flag in {row[0] for row in con.execute(f"describe select * from {table}").fetchall()}
        where = f" where {quote(flag)}" if stated else ""
        return {row[0] for row in con.execute(f"select distinct customer_key from {table}{where}").fetchall()}
