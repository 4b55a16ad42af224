"""Bilingual words: labels.yml in, `Text(zh, en)` out."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import NamedTuple

import yaml


class Text(NamedTuple):
    """One statement in both languages, unescaped (the template escapes)."""

    zh: str
    en: str

    @property
    def plain(self) -> str:
        """For places that hold one string only: SVG titles, attributes."""
        return self.zh if self.zh == self.en else f"{self.zh} / {self.en}"


def join(*texts: Text | None) -> Text:
    """Sentences one after the other, each language by itself: a reader follows one, not both by turns."""
    present = [text for text in texts if text]
    return Text("".join(text.zh for text in present), " ".join(text.en for text in present))


@cache
def _book() -> dict:
    return yaml.load((Path(__file__).parent / "labels.yml").read_text(encoding="utf-8"), yaml.CSafeLoader)


def say(key: str, /, **values: object) -> Text:
    """`say("gap.empty", table=t)`. KeyError on an unknown key: a missing label is a bug, not data."""
    group, name = key.split(".", 1)
    zh, en = _book()[group][name]
    return Text(zh.format(**values), en.format(**values)) if values else Text(zh, en)


def known(group: str, name: str) -> Text | None:
    """The label when there is one: for codes that come with the data."""
    pair = _book()[group].get(name)
    return Text(*pair) if pair else None


def group(name: str) -> dict[str, Text]:
    """Every label of a group."""
    return {code: Text(*pair) for code, pair in _book()[name].items()}


def display_order(group: str) -> dict[str, int]:
    return {code: place for place, code in enumerate(_book()["order"].get(group, []))}


def currency(code: str) -> tuple[str, int]:
    """(symbol, minor digits); an unlisted code stands for itself with two digits."""
    symbol, digits = _book()["currency"].get(code, (f"{code}\u00a0", 2))
    return symbol, digits
