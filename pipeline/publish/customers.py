"""Why is this customer here: the classes of single customers in small files beside the page, loaded when asked for.

`customers/<first hex digits>.js` holds the customers whose key begins so, `customers/words.js` labels and sentences.
A browser runs them as scripts, because a page that was opened from a file may not read anything else. They hold nobody
but those of the written `segment_membership`, so a release that is made again without somebody makes them again from
its own table; only the words, which name nobody, are taken over.
"""

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import duckdb

from pipeline import duck
from pipeline.duck import literal, parquet
from pipeline.publish import commit
from pipeline.quality.policy import action_texts, reason_templates
from pipeline.settings import Settings

FOLDER = "customers"
_WORDS = "words.js"
_MEMBERSHIP = Path("tables") / "audiences" / "segment_membership.parquet"
_SUMMARY = Path("tables") / "audiences" / "segment_summary.parquet"
_360 = Path("tables") / "segments" / "customer_360.parquet"
# The tables that the files are made of, but for their words.
READS = frozenset({"audiences.segment_membership", "segments.customer_360"})
_NEEDED = {"customer_key", "scheme", "class", "since_date", "reason_codes"}
# Customers up to whom so many hex digits keep a file below a few megabytes: a browser reads it at a stroke.
_DIGITS = ((8_000, 1), (500_000, 2))
_MOST_DIGITS = 3
_HEX = "0123456789abcdef"


def write(
    settings: Settings,
    folder: Path,
    words_of: Path | None = None,
    kept: tuple[Mapping[str, int], Collection[str]] | None = None,
) -> dict[str, int] | None:
    """Write the files of a candidate from its own tables; {"customers", "digits"}, or None where nobody may be shown.

    Args:
        folder: the candidate, with its `tables/`.
        words_of: release that it is made from; its words are taken over, as the policy may have changed since.
        kept: what that release said of its files, and the customer_keys whose rows are not those of then: only their
            files are written, the others taken over.
    """
    membership = folder / _MEMBERSHIP
    if not membership.is_file():
        return None
    con = duck.connect([folder], spill=settings.build / ".spill")
    try:
        members = parquet(membership)
        if not _columns(con, membership) >= _NEEDED:
            return None
        counted = con.execute(f"select count(distinct customer_key) from {members}").fetchone()
        people = counted[0] if counted else 0
        if not people:
            return None
        digits = next((n for limit, n in _DIGITS if people <= limit), _MOST_DIGITS)
        (folder / FOLDER).mkdir()
        # Sorted by customer_key: a beginning reads its own part of the file, and all of them read it once.
        begins = [*_HEX] if digits < _MOST_DIGITS else [a + b for a in _HEX for b in _HEX]
        if words_of and kept and kept[0]["digits"] == digits:
            begins = sorted({key[:digits] for key in kept[1]})
            for source in sorted((words_of / FOLDER).glob("*.js")):
                if source.name != _WORDS and source.stem not in begins:
                    commit.link(source, folder / FOLDER / source.name)
        for begin in begins:
            for shard, content in con.execute(_lines(con, folder, digits), [begin, digits]).fetchall():
                (folder / FOLDER / f"{shard}.js").write_text(
                    f"strataCustomers({{\n{content}\n}});\n", encoding="utf-8"
                )
        _write_words(con, folder, words_of)
    finally:
        con.close()
    return {"customers": people, "digits": digits}


def _lines(con: duckdb.DuckDBPyConnection, folder: Path, digits: int) -> str:
    """(first digits, lines `"<key>": {"a": the action's scheme|class, "r": refused_channels where there are any,
    "c": [[scheme, class, since, reason codes]]}`)."""
    action, refused, joined = "null", "cast(null as varchar)", ""
    part = "customer_key >= $1 and customer_key < $1 || 'g'"
    known = _columns(con, folder / _360)
    if {"action_scheme", "action_class"} <= known:
        action = "max(chosen.action_scheme || '|' || chosen.action_class)"
        if "refused_channels" in known:
            refused = "max(chosen.refused_channels)"
        joined = f"left join (from {parquet(folder / _360)} where {part}) as chosen using (customer_key)"
    return f"""
        with people as (
            select members.customer_key as customer_key, {action} as action, {refused} as refused,
                to_json(list([scheme, class, strftime(since_date, '%Y-%m-%d'), reason_codes] order by scheme)) as classes
            from (from {parquet(folder / _MEMBERSHIP)} where {part}) as members
            {joined}
            group by members.customer_key
        )
        select left(customer_key, $2) as shard,
            string_agg('"' || customer_key || '":{{"a":' || coalesce(to_json(action), 'null') ||
                coalesce(',"r":' || to_json(refused), '') || ',"c":' || classes || '}}',
                ',' || chr(10) order by customer_key)
        from people group by shard order by shard
    """


def _write_words(con: duckdb.DuckDBPyConnection, folder: Path, words_of: Path | None) -> None:
    target = folder / FOLDER / _WORDS
    if words_of and (words_of / FOLDER / _WORDS).is_file():
        commit.link(words_of / FOLDER / _WORDS, target)
        return
    classes: dict[str, dict[str, list[str]]] = {}
    if (folder / _SUMMARY).is_file():
        rows = con.execute(
            "select scheme, class, coalesce(class_label_zh, class), coalesce(class_label_en, class) "
            f"from {parquet(folder / _SUMMARY)} order by all"
        ).fetchall()
        for scheme, name, zh, en in rows:
            classes.setdefault(scheme, {})[name] = [zh, en]
    words: Mapping[str, Any] = {
        "classes": classes,
        "actions": action_texts(),
        "reasons": reason_templates(),
    }
    told = json.dumps(words, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    target.write_text(f"strataWords({told});\n", encoding="utf-8")


def keys(folder: Path) -> str | None:
    """SQL for `customer_key` of everybody in a release's files of customers; None where it has none."""
    if not any((folder / FOLDER).glob("*.js")):
        return None
    files = literal(str(folder / FOLDER / "*.js"))
    # As `_lines` writes them, one a line: a regular expression over all the text takes six times as long.
    lines = f"select unnest(string_split(content, chr(10))) as line from read_text({files})"
    return f"select line[2:33] as customer_key from ({lines}) where starts_with(line, '\"')"


def _columns(con: duckdb.DuckDBPyConnection, path: Path) -> set[str]:
    if not path.is_file():
        return set()
    return {row[0] for row in con.execute(f"describe select * from {parquet(path)}").fetchall()}
