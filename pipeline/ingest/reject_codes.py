"""The closed list of reject codes with what they mean and what to do, read from reject_codes.yml beside this file."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict

from pipeline.errors import StrataError

_PATH = Path(__file__).with_suffix(".yml")
DOCS = Path(__file__).parents[2] / "docs" / "reject-codes.md"


class RejectCode(BaseModel):
    """One code. `of` says whether a file or a single row is refused; `severity` what that does to a run."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    of: Literal["file", "row", "both"]
    severity: Literal["block", "warn", "count", "info"]
    en: str
    zh: str
    do_en: str
    do_zh: str


@cache
def load_codes() -> Mapping[str, RejectCode]:
    """Every code in the order of the list: whole files first, then single rows."""
    return {
        code: RejectCode.model_validate(spec)
        for code, spec in yaml.load(_PATH.read_text(encoding="utf-8"), yaml.CSafeLoader).items()
    }


def describe(code: str) -> tuple[str, str, str]:
    """(meaning in Chinese, meaning in English, what to do in English). Raises StrataError for an unknown code."""
    found = load_codes().get(code)
    if found is None:
        raise StrataError(f"{code} is no reject code; the closed list is {_PATH.name}")
    return found.zh, found.en, found.do_en


def markdown(of: Literal["file", "row"]) -> str:
    """The table of docs/reject-codes.md for whole files or for single rows."""
    lines = ["| code | severity | meaning | 含义 | what to do | 处理 |", "|---|---|---|---|---|---|"]
    for code, c in load_codes().items():
        if c.of in (of, "both"):
            severity = "block" if of == "file" and c.severity == "count" else c.severity
            lines.append(f"| `{code}` | {severity} | {c.en} | {c.zh} | {c.do_en} | {c.do_zh} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(f"{markdown('file')}\n\n{markdown('row')}")
