"""Why one customer is in her classes: figures, cut points, scores, reasons, the action and the step that chose it, moves."""

import re
from collections.abc import Iterable, Mapping
from datetime import date
from pathlib import Path
from typing import Any

import duckdb

from pipeline import duck
from pipeline.duck import literal
from pipeline.errors import StrataError
from pipeline.publish import shelf
from pipeline.score.sql import macro
from pipeline.segments.reasons import released
from pipeline.settings import Settings
from pipeline.transform.context import POLICY_DIR

_TOKEN = re.compile(r"[0-9a-f]{32}")
_MEASURES = {"recency": "r_score", "frequency": "f_score", "monetary": "m_score"}
_MOVES = 10
# Released tables of one row per customer whose figures are told, in this order.
_INPUTS = (
    "customer_rfm",
    "customer_abc",
    "customer_value",
    "customer_lifecycle",
    "customer_loyalty",
    "customer_clv",
    "customer_affinity",
)
_NOT_INPUTS = ("customer_key", "as_of_date", "policy_version")


def explain(
    settings: Settings, customer: str, as_of: date | None = None, source: str | None = None
) -> dict[str, Any]:
    """Everything that decided the classes of one customer.

    Args:
        customer: her token, or an id of a source system.
        as_of: D of the release to look into; the current release where None.
        source: the source system whose id `customer` is, where several have it.

    Returns release, as_of_date, policy_version, customer_key, ids, inputs {table: {column: value}}, cut_points, classes,
    custom, conflicts, action, moves. Raises StrataError: nothing published, nobody of that name, two of them.
    """
    manifest = _manifest(settings, as_of)
    tables = settings.releases / manifest["release"] / "tables"
    con = duck.connect([tables, POLICY_DIR])
    try:
        key, ids = _who(con, tables, customer, source, manifest["release"])
        wide = _row(con, tables, "segments/customer_360", key)
        if wide is None:
            raise StrataError(
                f"{customer} is known, but no profile may be made of this person (audiences.segment_coverage lists "
                f"the reasons), or there was none yet in release {manifest['release']}"
            )
        inputs = {
            name: {k: v for k, v in row.items() if k not in _NOT_INPUTS}
            for name in _INPUTS
            if (row := _row(con, tables, f"segments/{name}", key)) is not None
        }
        history = _history(con, tables, key)
        return {
            "release": manifest["release"],
            "as_of_date": wide["as_of_date"],
            "policy_version": wide["policy_version"],
            "customer_key": key,
            "ids": ids,
            "inputs": inputs,
            "cut_points": _cut_points(con, tables, inputs.get("customer_rfm", {})),
            "classes": _classes(con, tables, key, wide, history),
            "conflicts": _conflicts(con, wide["conflict_flags"]),
            "action": _action(con, wide),
            "contact": {
                name: wide[name]
                for name in wide
                if name.startswith("consent_")
                or name in ("refused_channels", "preferred_channel", "messages_7d", "messages_30d")
                or name
                in ("is_capped", "suppress_until", "last_contact_date", "care_due_date", "care_overdue_days")
            },
            "moves": [
                {
                    "scheme": row["scheme"],
                    "from": row["from_class"],
                    "to": row["class"],
                    "on": row["valid_from"],
                    "cause": row["cause"],
                    "shown_from": row["published_from"],
                }
                for row in history
                if row["from_class"] is not None
            ][:_MOVES],
        }
    finally:
        con.close()


def _manifest(settings: Settings, as_of: date | None) -> Mapping[str, Any]:
    current = shelf.current(settings)
    if current is None:
        raise StrataError(f"no release has been published in {settings.home} yet: run `strata run`")
    if as_of is None or current["as_of_date"] == as_of.isoformat():
        return current
    found = [name for name in shelf.list_releases(settings) if name[:10] == as_of.isoformat()]
    if not found:
        kept = sorted({name[:10] for name in shelf.list_releases(settings)})
        raise StrataError(f"no release of {as_of} is kept; there are releases of {', '.join(kept)}")
    return shelf.load_manifest(settings, found[-1])


def _file(tables: Path, table: str) -> str | None:
    path = tables / f"{table}.parquet"
    return f"read_parquet({literal(str(path))}, hive_partitioning = false)" if path.is_file() else None


def _rows(con: duckdb.DuckDBPyConnection, sql: str, values: Iterable[Any] = ()) -> list[dict[str, Any]]:
    cursor = con.execute(sql, list(values))
    names = [column[0] for column in cursor.description or ()]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def _row(con: duckdb.DuckDBPyConnection, tables: Path, table: str, key: str) -> dict[str, Any] | None:
    file = _file(tables, table)
    rows = _rows(con, f"select * from {file} where customer_key = $1", [key]) if file else []
    return rows[0] if rows else None


def _who(
    con: duckdb.DuckDBPyConnection, tables: Path, customer: str, source: str | None, release: str
) -> tuple[str, list[dict[str, Any]]]:
    """Her token and the source ids that are hers today."""
    links = _file(tables, "core/dim_identity_links")
    if links is None:
        raise StrataError(f"release {release} has no core.dim_identity_links: name the customer by her token")
    named = _rows(
        con,
        f"select distinct source, customer_key from {links} where source_customer_id = $1 and valid_to is null "
        "and (cast($2 as varchar) is null or source = $2) order by source",
        [customer, source],
    )
    keys = {row["customer_key"] for row in named}
    if len(keys) > 1:
        raise StrataError(
            f"{customer} is an id of {', '.join(row['source'] for row in named)}, and not of the same person: "
            "name one with --source"
        )
    if not keys and _TOKEN.fullmatch(customer) and source is None:
        ended = _rows(
            con,
            f"select max(merged_into) as into from {links} where customer_key = $1 and merged_into is not null",
            [customer],
        )
        keys = {ended[0]["into"] or customer}
    if not keys:
        raise StrataError(
            f"{'source ' + source if source else 'no source'} {'has no' if source else 'has a'} customer {customer} "
            f"in release {release}; give a token of 32 digits or an id as a source system writes it"
        )
    key = keys.pop()
    ids = _rows(
        con,
        f"select source, source_customer_id, rule from {links} where customer_key = $1 and valid_to is null "
        "order by source, source_customer_id",
        [key],
    )
    if not ids:
        raise StrataError(f"nobody has the token {customer} in release {release}")
    return key, ids


def _cut_points(con: duckdb.DuckDBPyConnection, tables: Path, rfm: Mapping[str, Any]) -> list[dict[str, Any]]:
    file = _file(tables, "segments/rfm_breakpoints")
    found = _rows(con, f"select * from {file}") if file else []
    values = {
        "recency": -rfm["recency_days"] if rfm.get("recency_days") is not None else None,
        "frequency": rfm.get("frequency_days"),
        "monetary": rfm.get("monetary"),
    }
    return [
        {
            "measure": row["measure"],
            "value": values[row["measure"]],
            "score": rfm.get(score),
            "cut_points": [row[f"cut_{k}"] for k in range(1, 5)],
            "drawn_on": row["effective_from"],
            "scoring_mode": row["scoring_mode"],
            "buyers": row["buyers_n"],
        }
        for measure, score in _MEASURES.items()
        for row in found
        if row["measure"] == measure
    ]


def _classes(
    con: duckdb.DuckDBPyConnection,
    tables: Path,
    key: str,
    wide: Mapping[str, Any],
    history: list[dict[str, Any]],
) -> list[dict[str, Any]]:
    """Class, labels, reason and since when, by scheme; what is computed beside what is shown while a move has to hold."""
    labels = {
        (row["scheme"], row["class"]): row
        for row in _rows(con, f"select * from {_file(tables, 'audiences/segment_summary')}")
    }
    opened = {row["scheme"]: row for row in history if row["valid_to"] is None}
    reasons = _reasons(con, tables, key, wide["as_of_date"], opened)
    found = []
    shown = {name.removesuffix("_class"): wide[name] for name in wide if name.endswith("_class")}
    shown.pop("action", None)
    for scheme in [*shown, *(s for s in sorted(opened) if s not in shown)]:
        row = opened.get(scheme, {})
        held = row and row["published_from"] is None
        name = shown.get(scheme) or (row["previous_class"] if held else row["class"])
        label = labels.get((scheme, name), {})
        reason = reasons.get(scheme, {})
        found.append(
            {
                "scheme": scheme,
                "class": name,
                "label_zh": label.get("class_label_zh"),
                "label_en": label.get("class_label_en"),
                "since": (row["previous_since"] if held else row["published_from"]) if row else None,
                "computed": row["class"] if held else None,
                "reason_zh": reason.get("reason_zh"),
                "reason_en": reason.get("reason_en"),
                "reason_codes": reason.get("reason_codes"),
                "is_inferred": reason.get("is_inferred"),
            }
        )
    return found


def _reasons(
    con: duckdb.DuckDBPyConnection,
    tables: Path,
    key: str,
    as_of: date,
    opened: Mapping[str, Mapping[str, Any]],
) -> dict[str, dict[str, Any]]:
    """Reasons by scheme: as the release tells them of people who may be addressed, and of everybody else made anew from the
    figures that it keeps. A release that was written before it kept them all has none."""
    file = _file(tables, "audiences/segment_membership")
    rows = _rows(con, f"select * from {file} where customer_key = $1", [key]) if file else []
    if rows:
        return {row["scheme"]: row for row in rows}
    templates = literal(str(POLICY_DIR / "class_reasons.csv"))
    text = ", ".join(f"{macro('reason_text')(language)} as reason_{language}" for language in ("zh", "en"))
    told = (
        f"select reasons.scheme, {text}, {macro('reason_codes')()} as reason_codes, reasons.is_inferred from reasons "
        f"left join read_csv({templates}, header = true, all_varchar = true) as templates "
        "on split_part(reasons.scheme, ':', 1) = templates.scheme and reasons.reason_code = templates.reason_code"
    )
    try:
        found = _rows(
            con,
            f"with reasons as (select * from (\n{released(tables, as_of)}\n) where customer_key = $1) {told}",
            [key],
        )
    except (duckdb.CatalogException, duckdb.BinderException, duckdb.IOException):
        return {}
    rules = _file(tables, "segments/custom_segment")
    own = [{"scheme": scheme, "class": row["class"]} for scheme, row in opened.items() if ":" in scheme]
    for row in own if rules else ():
        found += _rows(
            con,
            "with reasons as (select $1 as scheme, $2 as reason_code, any_value(rule) as value_1, null as value_2, "
            f"null as value_3, null as value_4, null as value_5, false as is_inferred from {rules} where segment = $3) "
            + told,
            [row["scheme"], row["class"], row["scheme"].split(":", 1)[1]],
        )
    return {row["scheme"]: row for row in found}


def _history(con: duckdb.DuckDBPyConnection, tables: Path, key: str) -> list[dict[str, Any]]:
    """Rows of the class history, the newest first."""
    file = _file(tables, "segments/class_history")
    if file is None:
        return []
    return _rows(con, f"select * from {file} where customer_key = $1 order by valid_from desc, scheme", [key])


def _seed(con: duckdb.DuckDBPyConnection, name: str) -> list[dict[str, Any]]:
    path = literal(str(POLICY_DIR / f"{name}.csv"))
    return _rows(con, f"select * from read_csv({path}, header = true, all_varchar = true)")


def _conflicts(con: duckdb.DuckDBPyConnection, flags: str | None) -> list[dict[str, Any]]:
    known = {row["conflict"]: row for row in _seed(con, "class_conflicts")}
    return [
        {
            "conflict": flag,
            "label_zh": known.get(flag, {}).get("label_zh"),
            "label_en": known.get(flag, {}).get("label_en"),
        }
        for flag in (flags or "").split("|")
        if flag
    ]


def _action(con: duckdb.DuckDBPyConnection, wide: Mapping[str, Any]) -> dict[str, Any]:
    steps = {row["step"]: row for row in _seed(con, "action_steps")}
    step = steps.get(wide["action_step"], {})
    return {
        "step": wide["action_step"],
        "step_zh": step.get("label_zh"),
        "step_en": step.get("label_en"),
        "order": [row["step"] for row in sorted(steps.values(), key=lambda row: int(row["priority_from"]))],
        "scheme": wide["action_scheme"],
        "class": wide["action_class"],
        "code": wide["action_code"],
        "action_zh": wide["action_zh"],
        "action_en": wide["action_en"],
        "channel_hint": wide["channel_hint"],
        "service_level": wide["service_level"],
    }


def told(found: Mapping[str, Any]) -> str:
    """The answer as text."""
    lines = [
        f"customer {found['customer_key']} · release {found['release']} · as of {found['as_of_date']} · "
        f"policy {found['policy_version']}",
        "  known as "
        + ", ".join(f"{i['source']}:{i['source_customer_id']} ({i['rule']})" for i in found["ids"]),
        "scores",
    ]
    for cut in found["cut_points"]:
        sign = -1 if cut["measure"] == "recency" else 1
        value = None if cut["value"] is None else sign * cut["value"]
        cuts = " | ".join(_figure(sign * c) for c in cut["cut_points"])
        score = f"score {cut['score']}" if cut["score"] is not None else "no score"
        lines.append(
            f"  {cut['measure']} {_figure(value)}: {score} · cut points {cuts} ({cut['scoring_mode']}, drawn on "
            f"{cut['drawn_on']} from {cut['buyers']} buyers)"
        )
    lines.append("figures")
    for table, values in found["inputs"].items():
        stated = ", ".join(f"{name} {_figure(value)}" for name, value in values.items() if value is not None)
        lines.append(f"  {table.removeprefix('customer_')}: {stated}")
    lines.append("classes")
    for item in found["classes"]:
        since = f" since {item['since']}" if item["since"] else ""
        waits = f" (computed: {item['computed']}, shown once it holds)" if item["computed"] else ""
        lines.append(
            f"  {item['scheme']} = {item['class']} {item['label_zh'] or ''} {item['label_en'] or ''}{since}{waits}"
        )
        if item["reason_zh"]:
            lines.append(f"    {item['reason_zh']} · {item['reason_en']}")
        else:
            lines.append(
                "    reason not kept: the release was written before it had the figures of everybody's reasons"
            )
    for item in found["conflicts"]:
        lines.append(f"contradiction {item['conflict']}: {item['label_zh']} {item['label_en']}")
    action = found["action"]
    order = " → ".join(f"[{step}]" if step == action["step"] else step for step in action["order"])
    lines += [
        f"action {action['code']}: {action['action_zh']} · {action['action_en']}",
        f"  decided by {action['scheme']} = {action['class']} at the step {action['step_zh']} {action['step_en']}: {order}",
        f"  service level {action['service_level']}, channels that suit: {action['channel_hint'] or 'any'}",
    ]
    contact = found["contact"]
    allowed = [
        name.removeprefix("consent_") for name, on in contact.items() if name.startswith("consent_") and on
    ]
    refused = (contact.get("refused_channels") or "").replace(":", " by ").replace("|", ", ")
    capped = f", nothing until {contact['suppress_until']}" if contact["is_capped"] else ""
    lines.append(
        f"contact by {', '.join(allowed) or 'no channel'}{f' (refused: {refused})' if refused else ''} · {contact['messages_7d']} messages in 7 days, "
        f"{contact['messages_30d']} in 30{capped} · care due {contact['care_due_date'] or 'never'}"
    )
    lines.append("last moves" if found["moves"] else "last moves: none")
    lines += [
        f"  {move['on']} {move['scheme']}: {move['from']} → {move['to']} ({move['cause']})"
        for move in found["moves"]
    ]
    return "\n".join(lines)


def _figure(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool) or not isinstance(value, int | float) and not hasattr(value, "as_tuple"):
        return str(value)
    return f"{value:,.2f}".rstrip("0").rstrip(".")
