"""Is there enough data, and which forecast of customer value is used."""

from __future__ import annotations

from pipeline.publish.report import numbers as fmt
from pipeline.publish.report.labels import Text, known, say
from pipeline.publish.report.release import Release, text_of


def enough(release: Release) -> dict:
    """Needs beside what there is, those that are not met first; the choices of the last back-test with their reason."""
    name, verdicts = "segments.data_sufficiency", "operations.eval_model_backtest"
    gap = release.gap(name, "need", "observed", "required", "is_met", "label_zh", "consequence_zh")
    rows = [] if gap else release.tables[name].to_dict("records")
    rows.sort(key=lambda row: (bool(row["is_met"]), text_of(row["purpose"]), text_of(row["need"])))
    verdict_gap = release.gap(verdicts, "subject", "measure", "method", "is_chosen", "reason")
    chosen = [] if verdict_gap else release.tables[verdicts].to_dict("records")
    return {
        "gap": gap,
        "rows": [
            {
                "label": Text(text_of(row["label_zh"]), text_of(row["label_en"])),
                "observed": fmt.count(row["observed"]),
                "required": fmt.count(row["required"]),
                "is_met": bool(row["is_met"]),
                "consequence": Text(text_of(row["consequence_zh"]), text_of(row["consequence_en"])),
            }
            for row in rows
        ],
        "short": sum(not row["is_met"] for row in rows),
        "verdict_gap": verdict_gap,
        "verdicts": sorted(
            (
                {
                    "subject": word("backtest_subject", text_of(row["subject"])),
                    "method": word("backtest_method", text_of(row["method"])),
                    "reason": Text(
                        text_of(row.get("reason_zh")) or text_of(row["reason"]), text_of(row["reason"])
                    ),
                }
                for row in chosen
                if row["is_chosen"] is True or str(row["is_chosen"]) == "True"
            ),
            key=lambda row: (row["subject"].en, row["method"].en, row["reason"].en),
        ),
        "none": say("enough.no_verdict"),
    }


def word(group: str, code: str) -> Text:
    return known(group, code) or Text(code, code)
