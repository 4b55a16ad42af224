"""The small language in which a seed says who is in an audience, and its way into SQL.

    rule  := both ("or" both)*
    both  := one ("and" one)*
    one   := "not" one | "(" rule ")" | "all" | scheme test
    test  := ("=" | "!=") class | ["not"] "in" "(" class ("," class)* ")"

`rfm in (at_risk, cant_lose) and not value = low`. Schemes and classes are those of `segment_labels.csv`. A person
without a class in a scheme is in none of its classes. Class names never become SQL text: they are parameters.

Where a caller names facts too (custom segments do, audiences do not), `one` is also a test of a fact:

    one   := … | number ("=" | "!=" | "<" | "<=" | ">" | ">=") figure | number "between" figure "and" figure
             | text ("=" | "!=") value | text ["not"] "in" "(" value ("," value)* ")"
    value := word | "'" any text "'"
"""

import re
from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass
from decimal import Decimal
from typing import NoReturn

from pipeline.duck import quote
from pipeline.errors import StrataError

_TOKEN = re.compile(r"\s*(?:(?P<word>[^\W\d][\w:]*)|(?P<sign>!=|[=(),]))")
_FACT_TOKEN = re.compile(
    r"\s*(?:(?P<word>[^\W\d][\w:]*)|(?P<figure>-?\d{1,13}(?:\.\d{1,4})?(?![\w.]))|(?P<text>'[^'\n]{1,100}')"
    r"|(?P<sign>!=|<=|>=|[=(),<>]))"
)
_KEYWORDS = ("and", "or", "not", "in", "all", "between")
_COMPARISONS = ("=", "!=", "<", "<=", ">", ">=")
_DEPTH_MAX = 20

Scheme = Mapping[str, Set[str]]


class BadRule(StrataError):
    """A rule that is none. The message names the place in it."""


@dataclass(frozen=True)
class Everyone:
    def sql(self) -> tuple[str, list[str]]:
        return "true", []

    def holds(self, classes: Mapping[str, str]) -> bool:
        return True


@dataclass(frozen=True)
class IsIn:
    """The person's class in `scheme` is one of `classes`."""

    scheme: str
    classes: tuple[str, ...]

    def sql(self) -> tuple[str, list[str]]:
        marks = ", ".join("?" for _ in self.classes)
        return f"coalesce({quote(self.scheme)} in ({marks}), false)", list(self.classes)

    def holds(self, classes: Mapping[str, str]) -> bool:
        return classes.get(self.scheme) in self.classes


@dataclass(frozen=True)
class Not:
    rule: "Rule"

    def sql(self) -> tuple[str, list[str]]:
        text, values = self.rule.sql()
        return f"not {text}", values

    def holds(self, classes: Mapping[str, str]) -> bool:
        return not self.rule.holds(classes)


@dataclass(frozen=True)
class Join:
    """`word` is and, or."""

    word: str
    parts: tuple["Rule", ...]

    def sql(self) -> tuple[str, list[str]]:
        texts, values = zip(*(part.sql() for part in self.parts), strict=True)
        return "(" + f" {self.word} ".join(texts) + ")", [v for some in values for v in some]

    def holds(self, classes: Mapping[str, str]) -> bool:
        held = (part.holds(classes) for part in self.parts)
        return all(held) if self.word == "and" else any(held)


@dataclass(frozen=True)
class InRange:
    """The number `fact` lies between `low` and `high`; None is no limit, an open end does not belong to the range."""

    fact: str
    low: Decimal | None
    high: Decimal | None
    is_low_open: bool = False
    is_high_open: bool = False


@dataclass(frozen=True)
class IsText:
    """The text `fact` is one of `values`."""

    fact: str
    values: tuple[str, ...]


Rule = Everyone | IsIn | Not | Join | InRange | IsText


def parse(text: str, known: Scheme, facts: Mapping[str, str] | None = None) -> Rule:
    """The rule that a text spells. Raises BadRule, which says what was expected where.

    Args:
        known: the classes of each scheme.
        facts: `number` or `text` for each fact that may be asked for. Without them the rule has classes only, and with
            them it has no `sql()` and no `holds()`: pipeline/segments/custom.py gives its meaning.
    """
    return _Parser(text, known, facts or {}).whole()


class _Parser:
    def __init__(self, text: str, known: Scheme, facts: Mapping[str, str]) -> None:
        self._known, self._facts, self._tokens, self._at, self._depth = known, facts, [], 0, 0
        pattern = _FACT_TOKEN if facts else _TOKEN
        position = 0
        while position < len(text.rstrip()):
            found = pattern.match(text, position)
            if not found:
                start = position + len(text[position:]) - len(text[position:].lstrip())
                raise BadRule(f"character {start + 1}: {text[start]!r} has no meaning here")
            kind = str(found.lastgroup)
            self._tokens.append((found[kind], found.start(kind) + 1))
            position = found.end()
        self._end = len(text) + 1

    def whole(self) -> Rule:
        rule = self._any()
        if self._at < len(self._tokens):
            self._fail("and, or, or the end")
        return rule

    def _any(self) -> Rule:
        return self._joined("or", self._both)

    def _both(self) -> Rule:
        return self._joined("and", self._one)

    def _joined(self, word: str, part: Callable[[], Rule]) -> Rule:
        parts = [part()]
        while self._take(word):
            parts.append(part())
        return parts[0] if len(parts) == 1 else Join(word, tuple(parts))

    def _one(self) -> Rule:
        self._depth += 1
        if self._depth > _DEPTH_MAX:
            raise BadRule(f"character {self._place()}: more than {_DEPTH_MAX} levels of brackets and `not`")
        try:
            if self._take("not"):
                return Not(self._one())
            if self._take("("):
                rule = self._any()
                self._need(")")
                return rule
            if self._take("all"):
                return Everyone()
            return self._test()
        finally:
            self._depth -= 1

    def _test(self) -> Rule:
        place, scheme = self._place(), self._word("a scheme, `not`, `all` or `(`")
        if self._facts.get(scheme) == "number":
            return self._number(scheme)
        if scheme in self._facts:
            return self._text(scheme)
        if scheme not in self._known:
            told = f"; facts: {', '.join(sorted(self._facts))}" if self._facts else ""
            raise BadRule(
                f"character {place}: there is no scheme {'or fact ' if told else ''}{scheme}; "
                f"there are: {', '.join(sorted(self._known))}{told}"
            )
        if self._take("="):
            return IsIn(scheme, (self._class(scheme),))
        if self._take("!="):
            return Not(IsIn(scheme, (self._class(scheme),)))
        negated = self._take("not")
        self._need("in", "=, !=, `in` or `not in`")
        self._need("(")
        classes = [self._class(scheme)]
        while self._take(","):
            classes.append(self._class(scheme))
        self._need(")", "`,` or `)`")
        found = IsIn(scheme, tuple(classes))
        return Not(found) if negated else found

    def _number(self, fact: str) -> Rule:
        if self._take("between"):
            low = self._figure()
            self._need("and")
            return InRange(fact, low, self._figure())
        for sign in _COMPARISONS:
            if self._take(sign):
                figure = self._figure()
                if sign in ("=", "!="):
                    same = InRange(fact, figure, figure)
                    return same if sign == "=" else Not(same)
                is_open = len(sign) == 1
                if sign[0] == "<":
                    return InRange(fact, None, figure, is_high_open=is_open)
                return InRange(fact, figure, None, is_low_open=is_open)
        self._fail(f"{', '.join(_COMPARISONS)} or `between` ({fact} is a number)")

    def _figure(self) -> Decimal:
        if self._at < len(self._tokens) and self._tokens[self._at][0].lstrip("-")[:1].isdigit():
            self._at += 1
            return Decimal(self._tokens[self._at - 1][0])
        self._fail("a figure such as 30 or -2.5")

    def _text(self, fact: str) -> Rule:
        if self._take("="):
            return IsText(fact, (self._value(),))
        if self._take("!="):
            return Not(IsText(fact, (self._value(),)))
        negated = self._take("not")
        self._need("in", f"=, !=, `in` or `not in` ({fact} is a text)")
        self._need("(")
        values = [self._value()]
        while self._take(","):
            values.append(self._value())
        self._need(")", "`,` or `)`")
        found = IsText(fact, tuple(values))
        return Not(found) if negated else found

    def _value(self) -> str:
        if self._at < len(self._tokens) and self._tokens[self._at][0][0] == "'":
            self._at += 1
            return self._tokens[self._at - 1][0][1:-1]
        return self._word("a word or a text in single quotes")

    def _class(self, scheme: str) -> str:
        place, name = self._place(), self._word(f"a class of {scheme}")
        if name not in self._known[scheme]:
            have = ", ".join(sorted(self._known[scheme]))
            raise BadRule(f"character {place}: {scheme} has no class {name}; it has: {have}")
        return name

    def _word(self, what: str) -> str:
        if self._at >= len(self._tokens):
            self._fail(what)
        word = self._tokens[self._at][0]
        if word in _KEYWORDS or not (word[0].isalpha() or word[0] == "_"):
            self._fail(what)
        self._at += 1
        return word

    def _take(self, text: str) -> bool:
        if self._at < len(self._tokens) and self._tokens[self._at][0] == text:
            self._at += 1
            return True
        return False

    def _need(self, text: str, what: str = "") -> None:
        if not self._take(text):
            self._fail(what or f"`{text}`")

    def _place(self) -> int:
        return self._tokens[self._at][1] if self._at < len(self._tokens) else self._end

    def _fail(self, what: str) -> NoReturn:
        found = f"`{self._tokens[self._at][0]}`" if self._at < len(self._tokens) else "the end"
        raise BadRule(f"character {self._place()}: expected {what}, found {found}")
