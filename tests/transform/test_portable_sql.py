"""The models run on two engines: what only one of them knows stands in macros/dialect and nowhere else."""

import re
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2] / "dbt_project"
ONE_ENGINE_ONLY = {
    "a cast with ::": r"::",
    "qualify": r"\bqualify\b",
    "integer division with //": r"(?<!:)//",
    "select * exclude": r"\bexclude\s*\(",
    "arg_max": r"\barg_(max|min)\b",
    "quantile_cont": r"\bquantile_cont\b",
    "string_agg": r"\bstring_agg\b",
    "strftime": r"\bstrftime\b",
    "generate_series": r"\bgenerate_series\b",
    "asof join": r"\basof\b",
    "the clock": r"\bcurrent_(date|timestamp)\b|\bnow\s*\(",
    "ntile": r"\bntile\b",
    "float money": r"\b(float|real)\b",
}


def _sql(path: Path) -> str:
    """The text without comments, Jinja comments and quoted strings."""
    text = path.read_text(encoding="utf-8")
    text = re.sub(r"\{#.*?#\}", "", text, flags=re.S)
    text = re.sub(r"--[^\n]*", "", text)
    return re.sub(r"'[^']*'", "''", text)


def _offences(text: str) -> list[str]:
    return [name for name, pattern in ONE_ENGINE_ONLY.items() if re.search(pattern, text, re.I)]


@pytest.mark.parametrize(
    "path",
    [
        p.relative_to(PROJECT)
        for folder in ("models", "tests", "macros")
        for p in sorted((PROJECT / folder).rglob("*.sql"))
        if "dialect" not in p.parts
    ],
    ids=str,
)
def test_only_portable_sql(path: Path) -> None:
    assert _offences(_sql(PROJECT / path)) == []


@pytest.mark.parametrize(
    "planted",
    [
        "select x::date",
        "select 1 qualify 1",
        "select ntile(5) over ()",
        "select current_date",
        "cast(x as float)",
    ],
)
def test_the_search_finds_what_it_forbids(planted: str) -> None:
    assert _offences(planted)
