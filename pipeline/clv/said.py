"""What a back-test says, in both languages: the sentences are rows of the seed backtest_reasons."""

from collections.abc import Iterable

from pipeline.quality.policy import backtest_sentences


class Said(str):
    """An English sentence that knows its Chinese."""

    zh: str

    def __new__(cls, en: str, zh: str) -> "Said":
        made = super().__new__(cls, en)
        made.zh = zh
        return made

    def __getnewargs__(self) -> tuple[str, str]:  # type: ignore[override]
        return str(self), self.zh


def say(code: str, **values: object) -> Said:
    """The sentence of a code with its figures; a figure that is a sentence itself goes in by its own language."""
    zh, en = backtest_sentences()[code]
    return Said(en.format(**values), zh.format(**{name: in_chinese(value) for name, value in values.items()}))


def listed(parts: Iterable[str], between: tuple[str, str] = ("; ", "；")) -> Said:
    """Sentences one after the other."""
    told = list(parts)
    return Said(between[0].join(told), between[1].join(in_chinese(part) for part in told))


def in_chinese(value: object) -> str:
    """What has no Chinese, such as a name or a number, stays as it is."""
    return value.zh if isinstance(value, Said) else str(value)
