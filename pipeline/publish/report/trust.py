"""Can today's numbers be trusted: quality banner, row balance, ingest ledger, published tables."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence

import pandas as pd

from pipeline.ingest.reject_codes import load_codes
from pipeline.publish.report import charts
from pipeline.publish.report import numbers as fmt
from pipeline.publish.report.labels import Text, display_order, known, say
from pipeline.publish.report.release import Release, not_enabled_reason, text_of

LISTED_CHECKS = 40  # keeps the page small when everything fails; the manifest has them all
LISTED_FILES = 10
_SHOWN = ("file", "source", "feed", "status", "reject_code", "reject_codes", "rows_rejected", "rows_read")
_ENDS = ("loaded", "duplicate", "rejected")
# A bar of 200: what is there at all must be seen, though it be one row of a million.
_BAR, _LEAST = 200, 2.5


def ledger_totals(release: Release) -> dict | None:
    if release.gap("operations.ingest_ledger", "status"):
        return None
    ledger = release.tables["operations.ingest_ledger"]
    sums = {
        name: fmt.total(ledger[name]) if name in ledger.columns else None
        for name in ("rows_read", "rows_loaded", "rows_rejected", "rows_duplicate")
    }
    files = ledger["status"].value_counts()
    return sums | {
        f"files_{status}": int(files.get(status, 0)) for status in ("loaded", "rejected", "duplicate")
    }


def level_of(check: Mapping) -> str:
    """What a failed check means here: one that somebody has let through once stops nobody from reading on."""
    return "approved" if check.get("approved") else text_of(check.get("level"))


def check_row(check: Mapping) -> dict:
    level = level_of(check)
    return {
        "subject": text_of(check.get("feed") or check.get("table")),
        "check": text_of(check.get("check")) + (f" ({check['gate']})" if check.get("gate") else ""),
        "level": level,
        "level_text": known("level", level) or Text(level, level),
        "observed": fmt.brief(check.get("observed")),
        "limit": limit_text(fmt.brief(check.get("limit"))),
        "approved": text_of(check.get("approved")),
        "description": described(check),
    }


def limit_text(limit: str) -> Text:
    """A limit that has words in it, in both languages; the others are numbers and names of settings."""
    return known("limit", limit) or Text(limit, limit)


def described(check: Mapping) -> Text | None:
    """What it means that the check did not pass; in Chinese where the page has words for it."""
    said = text_of(check.get("description"))
    name = text_of(check.get("check"))
    # The drift gate names its checks by scheme: rfm_few_moved.
    drift = next((kind for kind in ("shares_steady", "few_moved") if name.endswith(f"_{kind}")), name)
    words = known("check", drift)
    return Text(words.zh if words else said, said or words.en if words else said) if said or words else None


def quality(release: Release) -> dict:
    """State fail: a blocking check did not pass and nobody let it through · warn: another one did not pass · none: no
    checks · ok."""
    checks = list(release.manifest.get("checks") or [])
    broken = [check for check in checks if not check.get("passed")]
    severity = {"block": 0, "approved": 1, "warn": 2, "info": 3}
    broken.sort(
        key=lambda c: (
            severity.get(level_of(c), 2),
            text_of(c.get("feed") or c.get("table")),
            text_of(c["check"]),
        )
    )
    levels = {level_of(check) for check in broken}
    state = "fail" if "block" in levels else "warn" if levels - {"info"} else "ok" if checks else "none"
    by_level = {
        level: sum(1 for c in checks if c.get("level") == level) for level in ("block", "warn", "info")
    }
    facts: list[dict[str, Text | str]] = [
        {
            "label": say("quality.checks"),
            "value": say("quality.checks_count", passed=len(checks) - len(broken), total=len(checks)),
            "note": say("quality.checks_levels", **by_level),
        }
    ]
    sums = ledger_totals(release)
    if sums:
        facts.append(
            {
                "label": say("quality.rejected"),
                "value": fmt.count(sums["rows_rejected"]),
                "note": say(
                    "quality.rejected_note",
                    share=fmt.percent(fmt.ratio(sums["rows_rejected"], sums["rows_read"])),
                    read=fmt.count(sums["rows_read"]),
                    files=sums["files_rejected"],
                ),
            }
        )
        facts.append(
            {
                "label": say("quality.duplicate"),
                "value": fmt.count(sums["rows_duplicate"]),
                "note": say("quality.duplicate_note", files=sums["files_duplicate"]),
            }
        )
    latest = sorted(
        (pd.Timestamp(feed["latest_dt"]).date(), name)
        for name, feed in (release.manifest.get("feeds") or {}).items()
        if feed.get("latest_dt") and feed.get("status") != "not_enabled"
    )
    if latest:
        oldest, name = latest[0]
        days = (release.as_of - oldest).days
        facts.append(
            {
                "label": say("quality.freshness"),
                "value": latest[-1][0].isoformat(),
                "note": say("quality.freshness_note", feed=name, date=oldest.isoformat(), days=days),
            }
        )
    off = [
        {"table": name, "reason": not_enabled_reason(name, entry, named=True)}
        for name, entry in sorted((release.manifest.get("tables") or {}).items())
        if entry.get("status") == "not_enabled"
    ]
    return {
        "state": state,
        "headline": say(f"quality.{state}"),
        "facts": facts,
        "failures": [check_row(check) for check in broken[:LISTED_CHECKS]],
        "more": max(len(broken) - LISTED_CHECKS, 0),
        "off": off,
        "subjects": check_subjects(checks),
    }


def check_subjects(checks: Sequence[Mapping]) -> list[dict]:
    """One row per feed or table: passed, warnings, blocked."""
    subjects: dict[str, dict[str, int]] = {}
    for check in checks:
        row = subjects.setdefault(
            text_of(check.get("feed") or check.get("table")) or fmt.DASH,
            {"passed": 0, "warned": 0, "failed": 0},
        )
        row["passed" if check.get("passed") else "failed" if level_of(check) == "block" else "warned"] += 1
    return [{"subject": name} | counts for name, counts in sorted(subjects.items())]


def row_balance(release: Release) -> dict:
    name = "operations.row_balance"
    gap = release.gap(name, "source", "kind", "currency", "rows_n", "amount")
    if gap:
        return {"gap": gap}
    frame = release.tables[name]
    places = display_order("kind")
    sources = []
    currencies = frame.groupby("source")["currency"].nunique()
    for (source, currency), part in frame.groupby(["source", "currency"], sort=True):
        records = sorted(
            part.to_dict("records"), key=lambda r: (places.get(r["kind"], 9), text_of(r["kind"]))
        )
        kinds = [
            {
                "kind": known("kind", text_of(r["kind"])) or Text(text_of(r["kind"]), text_of(r["kind"])),
                "rows": fmt.count(r["rows_n"]),
                "amount": fmt.money_exact(r["amount"], currency),
            }
            for r in records
        ]
        name = f"{text_of(source)} · {currency}" if currencies[source] > 1 else text_of(source)
        sources.append({"source": name, "kinds": kinds} | balance_total(part))
    # Amounts of several currencies have no sum.
    one = len(sources) > 1 and frame["currency"].nunique() == 1
    return {"sources": sources, "overall": balance_total(frame) if one else None}


def balance_total(frame: pd.DataFrame) -> dict:
    """Rows and amount of rows in one currency."""
    return {
        "rows": fmt.count(fmt.total(frame["rows_n"])),
        "amount": fmt.money_exact(fmt.total(frame["amount"]), frame["currency"].iloc[0]),
    }


def ledger(release: Release) -> dict:
    """One row per source/feed, from the manifest's feeds and the ledger's counts."""
    feeds = dict(release.manifest.get("feeds") or {})
    off = sorted(name for name, feed in feeds.items() if feed.get("status") == "not_enabled")
    parts: dict[str, pd.DataFrame] = {}
    gap = release.gap("operations.ingest_ledger", "source", "feed", "status")
    if gap is None:
        frame = release.tables["operations.ingest_ledger"]
        names = frame["source"].map(text_of) + "/" + frame["feed"].map(text_of)
        parts = {str(name): part for name, part in frame.groupby(names, sort=True)}
    shown = sorted((set(feeds) | set(parts)) - set(off))
    if not shown:
        return {"gap": gap or say("gap.feeds"), "off": off}
    rows = [ledger_row(release, name, feeds.get(name, {}), parts.get(name)) for name in shown]
    return {"rows": rows, "off": off, "table_gap": gap}


def ledger_row(release: Release, name: str, feed: Mapping, part: pd.DataFrame | None) -> dict:
    latest = feed.get("latest_dt")
    if part is not None and not latest and "dt" in part.columns:
        loaded = part.loc[part["status"] == "loaded", "dt"].dropna()
        latest = None if loaded.empty else loaded.max()
    latest_day = pd.Timestamp(latest).date() if latest else None
    files = {} if part is None else part["status"].value_counts()
    sums = {
        key: fmt.total(part[f"rows_{key}"]) if part is not None and f"rows_{key}" in part.columns else None
        for key in ("read", "loaded", "rejected", "duplicate")
    }
    return {
        "feed": name,
        "latest": latest_day.isoformat() if latest_day else fmt.DASH,
        "behind": (release.as_of - latest_day).days if latest_day else None,
        "files": fmt.count(feed.get("files") if part is None else len(part)),
        "files_rejected": int(files.get("rejected", 0)),
        "files_duplicate": int(files.get("duplicate", 0)),
        "bars": split([sums[key] for key in _ENDS]),
        "sums": {key: fmt.count(value) for key, value in sums.items()},
        "any_rejected": bool(sums["rejected"]),
    }


def split(parts: Sequence[object]) -> list[tuple[int, float, float]]:
    """(place, x, width) of the parts of a bar of 200 in their order; no part that is there is too thin to be seen."""
    numbers = [float(fmt.exact(part) or 0) for part in parts]
    whole = sum(numbers)
    if not whole:
        return []
    widths = [max(n / whole * _BAR, _LEAST) if n else 0.0 for n in numbers]
    shares = [width / sum(widths) for width in widths]
    return [(i, x, width) for i, (x, width) in enumerate(charts.stack(shares, _BAR)) if width]


def codes_of(row: Mapping) -> dict[str, int]:
    """Reject code -> records of one row of the ledger; a file that was refused or repeated counts as itself."""
    if text_of(row.get("reject_codes")):
        return {code: int(n) for code, n in json.loads(text_of(row["reject_codes"])).items()}
    return {}


def code_text(code: str) -> Text | None:
    found = load_codes().get(code)
    return Text(found.zh, found.en) if found else None


def rejects(release: Release) -> dict:
    """Reject codes with their words, and the newest files that were not taken in whole."""
    if release.gap("operations.ingest_ledger", "status"):
        return {"codes": [], "files": []}
    rows = release.tables["operations.ingest_ledger"].to_dict("records")
    records: Counter[str] = Counter()
    files: Counter[str] = Counter()
    for row in rows:
        own = codes_of(row)
        records.update(own)
        whole = text_of(row.get("reject_code"))
        files.update({*own, *({whole} if whole and row["status"] != "duplicate" else ())})
    codes = [
        {"code": code, "text": code_text(code), "do": what_to_do(code)}
        | {"rows": fmt.count(records[code]) if records[code] else fmt.DASH, "files": fmt.count(files[code])}
        for code in sorted(files, key=lambda c: (-records[c], -files[c], c))
    ]
    odd = [r for r in rows if r["status"] != "loaded" or (fmt.exact(r.get("rows_rejected")) or 0)]
    # By everything that is shown: the order of rows in the table must not reach the page.
    odd.sort(
        key=lambda r: [text_of(r.get("dt"))[:10], *(text_of(r.get(name)) for name in _SHOWN)], reverse=True
    )
    return {
        "codes": codes,
        "files": [odd_file(r) for r in odd[:LISTED_FILES]],
        "more": max(len(odd) - LISTED_FILES, 0),
    }


def what_to_do(code: str) -> Text | None:
    found = load_codes().get(code)
    return Text(found.do_zh, found.do_en) if found else None


def odd_file(row: Mapping) -> dict:
    """A file of which not every record was loaded, for the list of the newest."""
    named = codes_of(row) or ({text_of(row.get("reject_code")): 0} if text_of(row.get("reject_code")) else {})
    status = text_of(row["status"])
    return {
        "day": text_of(row.get("dt"))[:10] or fmt.DASH,
        "file": text_of(row.get("file")) or f"{text_of(row.get('source'))}/{text_of(row.get('feed'))}",
        "status": known("file_status", status) or Text(status, status),
        "refused": status == "rejected",
        "rejected": fmt.count(row.get("rows_rejected")),
        "read": fmt.count(row.get("rows_read")),
        "codes": [{"code": code, "rows": fmt.count(n) if n else None} for code, n in sorted(named.items())],
    }


def chain(release: Release) -> dict:
    """Where the rows of the sales feeds ended, by source: one bar each, and the numbers behind it."""
    name = "operations.row_chain"
    gap = release.gap(name, "source", "feed", "stage", "state", "reason", "rows_n")
    if gap:
        return {"gap": gap}
    frame = release.tables[name]
    frame = frame[(frame["stage"] == "model") & frame["feed"].isin(display_order("chain_feed"))]
    places = display_order("chain_feed")
    rows = [
        chain_row(str(source), str(feed), part.to_dict("records"))
        for (source, feed), part in frame.groupby(["source", "feed"], sort=True)
    ]
    rows.sort(key=lambda row: (places[row["feed"]], row["source"]))
    return {"rows": rows} if rows else {"gap": say("gap.empty", table=name)}


def chain_row(source: str, feed: str, states: Sequence[Mapping]) -> dict:
    """Parts: counted for a customer, in the facts for another reason, replaced or out of force."""
    written = sum(int(s["rows_n"]) for s in states if s["state"] == "written")
    counted = sum(int(s["rows_n"]) for s in states if is_counted(s))
    facts = sum(int(s["rows_n"]) for s in states if s["state"] == "in_fact")
    parts = (counted, facts - counted, written - facts)
    return {
        "source": source,
        "feed": feed,
        "label": known("chain_feed", feed) or Text(feed, feed),
        "written": fmt.count(written),
        "counts": [fmt.count(n) for n in parts],
        "bars": split(parts),
        "why": Text(
            " · ".join(f"{state_text(s).zh} {fmt.count(s['rows_n'])}" for s in ends(states)),
            " · ".join(f"{state_text(s).en} {fmt.count(s['rows_n'])}" for s in ends(states)),
        ),
    }


def is_counted(state: Mapping) -> bool:
    return state["state"] == "in_fact" and text_of(state["reason"]).removeprefix("order_") == "valid"


def ends(states: Sequence[Mapping]) -> list[Mapping]:
    """The states beside the counted ones, the largest first."""
    others = [s for s in states if s["state"] != "written" and not is_counted(s)]
    return sorted(others, key=lambda s: (-int(s["rows_n"]), s["state"], text_of(s["reason"])))


def state_text(state: Mapping) -> Text:
    reason = text_of(state["reason"]).removeprefix("order_")
    return known("row_end", reason) or Text(reason, reason)


def published(release: Release) -> list[dict]:
    return [
        {
            "table": name,
            "rows": fmt.count(entry.get("rows")),
            "bytes": fmt.count(entry.get("bytes")),
            "sha256": text_of(entry.get("sha256"))[:12] or fmt.DASH,
            "status": say("trust.not_enabled" if entry.get("status") == "not_enabled" else "trust.published"),
        }
        for name, entry in sorted((release.manifest.get("tables") or {}).items())
    ]
