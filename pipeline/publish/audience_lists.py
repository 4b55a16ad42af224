"""Lists of tokens in a release: `audiences/<audience>.csv`, who is in each audience of the policy.

They hold nobody but people of the written `segment_membership`, with the classes that the rules name, and no contact:
what a tool takes in is rendered into the vault's outbox. `audiences/lists.py` makes them; a release that is made again
without somebody takes its lists over without her, and chooses nobody anew.
"""

import csv
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import duckdb

from pipeline import duck
from pipeline.duck import literal, parquet, quote, texts
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
    with duck.connect([folder]) as con:
        _know_members(con, folder)
        for channel in {one["channel"] for one in told["lists"]}:
            members = {row[0] for row in con.execute(_consenting(con, channel)).fetchall()}
            allowed[channel] = members - set((refused or {}).get(channel, ()))
    gone: set[str] = set()
    lists = []
    for one in told["lists"]:
        channel = one["channel"]
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
    if not lists:
        return []
    with duck.connect([folder]) as con:
        _know_members(con, folder)
        pairs = [(channel, key) for channel, keys in refused.items() for key in keys]
        channels, people = ([pair[i] for pair in pairs] for i in (0, 1))
        con.execute(
            f"create temp table refused_channel as select unnest({texts(channels)}) as channel, "
            f"unnest({texts(people)}) as {KEY}"
        )
        found = con.execute(
            " union ".join(
                f"select coalesce({KEY}, '') from {_rows(folder / one['file'])} anti join "
                f"({_consenting(con, one['channel'])}) using ({KEY}) "
                f"union select {KEY} from {_rows(folder / one['file'])} semi join "
                f"(from refused_channel where channel = {literal(one['channel'])}) using ({KEY})"
                for one in lists
            )
        ).fetchall()
    strays = sorted(row[0] for row in found)
    made = Check(
        "table", f"{FOLDER}.lists", "lists_hold_members", "block", not strays, len(strays), 0, _STRAYS, tuple(strays[:5]),
        "Q-16, Q-17",
    )  # fmt: skip
    return [made]


def keys(folder: Path) -> str | None:
    """SQL for `customer_key` of everybody in a release's lists; None where it has none."""
    if not any((folder / FOLDER).glob("*.csv")):
        return None
    files = literal(str(folder / FOLDER / "*.csv"))
    return f"select {KEY} from read_csv({files}, header = true, all_varchar = true, union_by_name = true)"


def keys_in(path: Path) -> set[str]:
    with path.open(encoding="utf-8", newline="") as file:
        return {row[KEY] for row in csv.DictReader(file)}


def _know_members(con: duckdb.DuckDBPyConnection, folder: Path) -> None:
    """The table `members`: everybody in the written memberships, and which channels they state consent to."""
    table = parquet(folder / MEMBERSHIP)
    flags = [
        c[0] for c in con.execute(f"describe select * from {table}").fetchall() if c[0].startswith(_FLAG)
    ]
    told = "".join(f", bool_or({quote(flag)}) as {quote(flag)}" for flag in flags)
    con.execute(f"create temp table members as select {KEY}{told} from {table} group by {KEY}")


def _consenting(con: duckdb.DuckDBPyConnection, channel: str) -> str:
    """SQL of the members who consent to the channel; of all of them where the memberships do not state it."""
    flag = f"{_FLAG}{channel}"
    stated = flag in {row[0] for row in con.execute("describe members").fetchall()}
    return f"select {KEY} from members" + (f" where {quote(flag)}" if stated else "")


def _rows(path: Path) -> str:
    file = literal(str(path))
    return f"read_csv({file}, delim = ',', quote = '\"', escape = '\"', header = true, all_varchar = true)"
