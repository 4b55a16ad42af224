"""One value as one destination wants it: spelled by its rules, then hashed where it asks for a hash.

The rules differ by vendor, so the same address has another hash at Google, Meta and TikTok; a hash that all share
would match nobody. A value that is a hash already is refused: hashed again, or passed on as if it were clear, it would
quietly match nobody either.
"""

import hashlib
import re
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import phonenumbers

from pipeline.errors import StrataError

_HASH = re.compile(r"[0-9a-fA-F]{32}|[0-9a-fA-F]{40}|[0-9a-fA-F]{64}|[0-9a-fA-F]{128}")
_EMAIL = re.compile(r"[^@\s\x00-\x1f\x7f]+@[^@\s.\x00-\x1f\x7f]+(\.[^@\s.\x00-\x1f\x7f]+)+")
_EMAIL_MAX = 254
_CN_MOBILE = re.compile(r"1[3-9]\d{9}")
_PHONE_SIGNS = re.compile(r"[\s()\-–.·/]")
_IDFA = re.compile(r"[0-9A-F]{8}(-[0-9A-F]{4}){3}-[0-9A-F]{12}")
_NO_IDFA = "00000000-0000-0000-0000-000000000000"
_IMEI = re.compile(r"[0-9a-f]{14,15}")
_MAC = re.compile(r"[0-9A-F]{2}([:-]?)[0-9A-F]{2}(\1[0-9A-F]{2}){4}")
_HANDLE = re.compile(r"[a-z0-9_]{1,15}")
_WECHAT_ID = re.compile(r"[A-Za-z0-9_@.\-]{1,64}")
_GMAIL = ("gmail.com", "googlemail.com")
# What a spreadsheet takes for the beginning of a formula.
FORMULA = ("=", "+", "-", "@", "\t", "\r")


class BadValue(StrataError):
    """A value that its field cannot be. The message never holds the value, which is a person's."""


@dataclass(frozen=True)
class Field:
    """How one destination takes one identifier. `algo` is None where it goes in clear; `source` is the clear field."""

    normalise: Callable[[str, str], str]
    algo: str | None = None
    source: str = ""


@dataclass(frozen=True)
class Normalised:
    """`hash` is None where the destination takes the value in clear."""

    normalised: str
    hash: str | None

    @property
    def sent(self) -> str:
        return self.hash or self.normalised


def apply(field: Field, value: str, region: str = "CN") -> Normalised:
    """The value as it is sent. Raises BadValue."""
    text = unicodedata.normalize("NFKC", value).strip()
    if not text:
        raise BadValue("the value is empty")
    if is_hash(text):
        raise BadValue(
            f"the value is {len(text)} hex digits, so it is a hash already: give the clear value, a hash is never hashed again"
        )
    normal = field.normalise(text, region)
    return Normalised(normal, hashlib.new(field.algo, normal.encode()).hexdigest() if field.algo else None)


def is_hash(text: str) -> bool:
    """Whether a text has the form of an MD5, SHA-1, SHA-256 or SHA-512 digest."""
    return bool(_HASH.fullmatch(text))


def email(text: str, region: str = "") -> str:
    """Trimmed and in lower case; dots and +tags stay."""
    text = text.strip().lower()
    if not _EMAIL.fullmatch(text) or len(text) > _EMAIL_MAX:
        raise BadValue("the value is no e-mail address such as name@example.com")
    return text


def email_google(text: str, region: str = "") -> str:
    """Without any white space; at Gmail the dots and the +suffix go, because Gmail delivers without them."""
    local, _, domain = email(re.sub(r"\s", "", text)).partition("@")
    if domain in _GMAIL:
        local = local.partition("+")[0].replace(".", "")
        if not local:
            raise BadValue("nothing is left of the e-mail address but its suffix")
    return f"{local}@{domain}"


def email_without_tag(text: str, region: str = "") -> str:
    """The +tag goes, in any domain; the dots stay."""
    local, _, domain = email(text).partition("@")
    local = local.partition("+")[0]
    if not local:
        raise BadValue("nothing is left of the e-mail address but its tag")
    return f"{local}@{domain}"


def email_as_text(text: str, region: str = "") -> str:
    """For tools that take it in clear and that people open: no address that a spreadsheet would run."""
    address = email(text)
    if address.startswith(FORMULA):
        raise BadValue(
            f"the e-mail address begins with one of {' '.join('=+-@')}: a spreadsheet would run it"
        )
    return address


def phone_e164(text: str, region: str = "CN") -> str:
    """+8613800138000: with +, country code and no sign between."""
    region = region.upper()
    if region not in phonenumbers.SUPPORTED_REGIONS:
        raise BadValue(f"region {region!r} is no country code such as CN or US")
    digits = _PHONE_SIGNS.sub("", text)
    if region == "CN" and _CN_MOBILE.fullmatch(digits):
        return "+86" + digits
    # Letters would be read as the keys of a telephone (1-800-FLOWERS), and an extension be dropped in silence.
    if not re.fullmatch(r"\+?\d{6,17}", digits):
        raise BadValue("the value is no phone number: digits, with + and country code or with its region")
    try:
        parsed = phonenumbers.parse(digits, region)
    except phonenumbers.NumberParseException:
        raise BadValue(f"the value is no phone number of {region}, nor one with + and country code") from None
    possible = (
        phonenumbers.is_possible_number_with_reason(parsed) == phonenumbers.ValidationResult.IS_POSSIBLE
    )
    # Of Chinese numbers the form is known; elsewhere a range that is too new for the library must not be lost.
    if not possible or (parsed.country_code == 86 and not phonenumbers.is_valid_number(parsed)):
        raise BadValue(f"the value is no phone number of {region}: none has these digits")
    return phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164)


def phone_digits(text: str, region: str = "CN") -> str:
    """8613800138000: with country code, without + and leading zeros."""
    return phone_e164(text, region).removeprefix("+")


def phone_cn_mobile(text: str, region: str = "CN") -> str:
    """13800138000: the eleven digits of a mobile number of mainland China."""
    number = phone_e164(text, region)
    if not number.startswith("+86") or not _CN_MOBILE.fullmatch(number[3:]):
        raise BadValue("the value is no mobile number of mainland China, and no other is taken")
    return number[3:]


def idfa(text: str, region: str = "") -> str:
    """Upper case, with its hyphens."""
    text = text.upper()
    if not _IDFA.fullmatch(text) or text == _NO_IDFA:
        raise BadValue("the value is no IDFA such as FF1999CD-7177-4937-A474-74937A102630")
    return text


def imei(text: str, region: str = "") -> str:
    """Lower case: 15 digits, or the 14 hexadecimal ones of a MEID."""
    text = text.lower()
    if not _IMEI.fullmatch(text) or (len(text) == 15 and not text.isdigit()):
        raise BadValue("the value is no IMEI (15 digits) nor MEID (14 hexadecimal digits)")
    return text


def mac(text: str, region: str = "") -> str:
    """Upper case, without separators."""
    text = text.upper()
    if not _MAC.fullmatch(text):
        raise BadValue("the value is no MAC address such as 02:00:00:00:00:00")
    return re.sub(r"[:-]", "", text)


def handle(text: str, region: str = "") -> str:
    """Lower case, without the @."""
    text = text.removeprefix("@").lower()
    if not _HANDLE.fullmatch(text):
        raise BadValue("the value is no handle: 1 to 15 letters, digits or underscores")
    return text


def wechat_id(text: str, region: str = "") -> str:
    """A userid, external_userid or openid, as it is: these tell capital letters apart."""
    if not _WECHAT_ID.fullmatch(text) or text.startswith(FORMULA):
        raise BadValue("the value is no WeChat id: 1 to 64 letters, digits or _ - @ .")
    return text


def key(text: str, region: str = "") -> str:
    """A customer_key: the token that Strata minted. It is 32 hex digits and leaves as what it is."""
    return text


_PLAIN = {"email": Field(email_as_text), "phone": Field(phone_e164)}
_TABLE = {"email": Field(email), "phone": Field(phone_e164)}
_GOOGLE = {"email": Field(email_google, "sha256"), "phone": Field(phone_e164, "sha256")}
_CHINA_ADS = {
    "phone": Field(phone_cn_mobile, "md5"),
    "phone_sha256": Field(phone_cn_mobile, "sha256", source="phone"),
}

FIELDS: Mapping[str, Mapping[str, Field]] = {
    "google_ads": _GOOGLE,
    "google_data_manager": _GOOGLE,
    "meta": {"email": Field(email, "sha256"), "phone": Field(phone_digits, "sha256")},
    "tiktok": {"email": Field(email_without_tag, "sha256"), "phone": Field(phone_digits, "sha256")},
    "snap": {"email": Field(email, "sha256"), "phone": Field(phone_digits, "sha256")},
    "x": {"email": Field(email, "sha256"), "handle": Field(handle, "sha256")},
    "linkedin": {"email": Field(email, "sha256")},
    "klaviyo": _PLAIN,
    "mailchimp": {"email": Field(email_as_text, "md5")},
    "hubspot": _PLAIN,
    "braze": _PLAIN,
    "wecom": {"userid": Field(wechat_id), "external_userid": Field(wechat_id)},
    "wechat_official_account": {"openid": Field(wechat_id)},
    "tencent_ads": {
        **_CHINA_ADS,
        "idfa": Field(idfa, "md5"),
        "imei": Field(imei, "md5"),
        "mac": Field(mac, "md5"),
    },
    "qianchuan": _CHINA_ADS,
    "csv": _TABLE,
    "excel_csv": _TABLE,
    "parquet": _TABLE,
}
"""Destination → field → how it is taken. `phone` of the Chinese platforms is MD5, as HASH_MOBILE_PHONE and type 17 are."""


def normalise(destination: str, field: str, value: str, region: str = "CN") -> Normalised:
    """One value for one destination. Raises BadValue, also where there is no such destination or field."""
    if destination not in FIELDS:
        raise BadValue(f"there is no destination {destination}; there are: {', '.join(FIELDS)}")
    if field not in FIELDS[destination]:
        raise BadValue(f"{destination} takes no {field}; it takes: {', '.join(FIELDS[destination])}")
    try:
        return apply(FIELDS[destination][field], value, region)
    except BadValue as error:
        raise BadValue(f"{destination} {field}: {error}") from None
