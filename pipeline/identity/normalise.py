"""One spelling for what identifies a person; None where a text identifies nobody.

Every token of raw is made of these spellings, and the second stage of matching compares them, so equal here means
equal everywhere. Invisible characters, full-width forms, digits of other scripts and look-alike letters are resolved
first. A masked value (138****0000) and a placeholder of `identity_placeholders.csv` give None: they never link.
"""

import csv
import re
import unicodedata
from datetime import date
from functools import cache, lru_cache

import phonenumbers

from pipeline.settings import DBT_PROJECT_DIR

_PLACEHOLDERS = DBT_PROJECT_DIR / "seeds" / "policy" / "identity_placeholders.csv"
_CN_MOBILE = re.compile(r"1[3-9]\d{9}")
_MASK = re.compile(r"[*•●∗×#?█■]|(?<=\d)[xX]+(?=\d)|[xX]{2,}|\.{3,}|…")
_EMAIL = re.compile(r"[^@\s,;<>()*•●#\"']+@[^@\s,;<>()*•●#\"'.]+(?:\.[^@\s,;<>()*•●#\"'.]+)+")
_ADDRESSED = re.compile(r"[^<>]*<([^<>]+)>")
_HAN = "\u3400-\u9fff"
_SALUTATION = re.compile(rf"[{_HAN}]{{1,2}}(?:先生|女士|小姐|太太|夫人|师傅|老师|经理)")
_WORD = re.compile(r"[^\W\d_]+")
# Letters of Cyrillic and Greek that are drawn like a Latin one (Unicode TR 39 calls them confusable).
_LOOK_ALIKE = str.maketrans(
    "аеорсухіјѕԁһӏԛԝАВЕКМНОРСТУХІЈЅΑΒΕΖΗΙΚΜΝΟΡΤΥΧοαν",
    "aeopcyxijsdhlqwABEKMHOPCTYXIJSABEZHIKMNOPTYXoav",
)
_YEARS_MAX = 120


def plain(text: str) -> str:
    """NFKC, digits of every script as ASCII, no invisible characters, single spaces, trimmed."""
    if text.isascii():
        return " ".join(text.split())
    out = []
    for one in unicodedata.normalize("NFKC", text):
        if unicodedata.category(one) in ("Cf", "Cc") and not one.isspace() or "\ufe00" <= one <= "\ufe0f":
            continue
        digit = unicodedata.decimal(one, None)
        out.append(one if digit is None else str(digit))
    return " ".join("".join(out).split())


def _script(letter: str) -> str:
    return unicodedata.name(letter, "").partition(" ")[0]


def _without_look_alikes(text: str) -> str:
    """Words that mix Latin with Cyrillic or Greek letters, all Latin: nobody writes like that but to deceive."""
    if text.isascii():
        return text

    def latin(match: re.Match[str]) -> str:
        word = match.group()
        scripts = {_script(letter) for letter in word}
        return word.translate(_LOOK_ALIKE) if "LATIN" in scripts and len(scripts) > 1 else word

    return _WORD.sub(latin, text)


def phone(text: str, country: str) -> str | None:
    """E.164, such as +8613812345678. `country` (ISO 3166) is where a number without prefix is dialled."""
    found = _e164(plain(text), country)
    return found if found and not _is_placeholder("phone", found) else None


def _e164(value: str, country: str) -> str | None:
    if _MASK.search(value):
        return None
    digits = re.sub(r"[\s()\-.·–—/]", "", value)
    if country == "CN" and _CN_MOBILE.fullmatch(digits):
        return "+86" + digits
    if len(digits) < 6:
        return None
    try:
        parsed = phonenumbers.parse(digits, country)
    except phonenumbers.NumberParseException:
        return None
    if not phonenumbers.is_possible_number(parsed):
        return None
    return phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164)


def email(text: str) -> str | None:
    """Lower case, trimmed, without the name that may stand before it; the local part stays as it is delivered."""
    found = _mailbox(plain(text))
    return found if found and not _is_placeholder("email", found) else None


def _mailbox(value: str) -> str | None:
    if named := _ADDRESSED.fullmatch(value):
        value = named.group(1).strip()
    value = _without_look_alikes(value).lower().removeprefix("mailto:")
    return value if _EMAIL.fullmatch(value) else None


def is_malformed(kind: str, text: str, country: str) -> bool:
    """Whether a phone or e-mail has a form that nobody can read (Q-04).

    A placeholder is well formed, and who masked a value (138****0000) made no mistake: neither is the export's fault.
    """
    value = plain(text)
    if _MASK.search(value) and (kind == "phone" or re.search("[*•●]", value)):
        return False
    return (_e164(value, country) if kind == "phone" else _mailbox(value)) is None


def name(text: str) -> str | None:
    """A person's name. A word all in capitals or all in small letters gets one capital; others stay as written.

    None for a salutation (王先生) and for a masked name (王**): both would contradict the person's full name.
    """
    value = _without_look_alikes(plain(text))
    value = re.sub(rf"(?<=[{_HAN}]) (?=[{_HAN}])", "", re.sub(r"[・•‧∙]", "·", value))
    if not value or "*" in value or _SALUTATION.fullmatch(value):
        return None
    letters = [c for c in value if c.isalpha()]
    if not letters or _is_placeholder("name", value):
        return None
    return _WORD.sub(
        lambda m: m.group().capitalize() if m.group().isupper() or m.group().islower() else m.group(), value
    )


def address(text: str) -> str | None:
    """An address as one line."""
    value = plain(text)
    return None if not value or "***" in value or _is_placeholder("address", value) else value


def birth_date(value: date | str | None, known_on: date | None = None) -> date | None:
    """A date on which a living person can be born; with `known_on`, at most 120 years before it and not after it."""
    if isinstance(value, str):
        try:
            value = date.fromisoformat(plain(value))
        except ValueError:
            return None
    if value is None or _is_placeholder("birth_date", value.isoformat()):
        return None
    if known_on and not known_on.year - _YEARS_MAX <= value.year <= known_on.year:
        return None
    return value


@lru_cache(maxsize=200_000)
def normalise(kind: str, value: str, country: str) -> str | None:
    """The spelling of a value of one kind (`pii` of the contracts) that its token is made of."""
    match kind:
        case "phone":
            return phone(value, country)
        case "email":
            return email(value)
        case "name":
            return name(value)
        case "address":
            return address(value)
    return plain(value) or None


@cache
def _listed() -> dict[str, tuple[frozenset[str], tuple[re.Pattern[str], ...]]]:
    """Kind → (values, patterns) of the policy, in lower case; % in a value stands for any text."""
    values: dict[str, set[str]] = {}
    patterns: dict[str, list[re.Pattern[str]]] = {}
    with _PLACEHOLDERS.open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            value = row["value"].lower()
            if "%" in value:
                pattern = re.escape(value).replace("%", ".*")
                patterns.setdefault(row["kind"], []).append(re.compile(pattern))
            else:
                values.setdefault(row["kind"], set()).add(value)
    kinds = set(values) | set(patterns)
    return {k: (frozenset(values.get(k, ())), tuple(patterns.get(k, ()))) for k in kinds}


def placeholders() -> dict[str, frozenset[str]]:
    """Kind → the values that the policy lists one by one, in lower case."""
    return {kind: values for kind, (values, _) in _listed().items()}


def _is_placeholder(kind: str, value: str) -> bool:
    values, patterns = _listed().get(kind, (frozenset(), ()))
    lowered = value.lower()
    return lowered in values or any(pattern.fullmatch(lowered) for pattern in patterns)
