"""What each destination is told of a person: the columns of a row, and which of them it knows the person by."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pipeline.publish.audiences.normalise import FIELDS, BadValue, apply
from pipeline.publish.audiences.writers import Row

Identifier = tuple[tuple[str, ...], Row]
_IDS = (("email",), ("phone",))


@dataclass(frozen=True)
class Profile:
    """How a person is told to one destination.

    Args:
        columns: cells of a row, in order: fields of `normalise.FIELDS`, or customer_key.
        known_by: groups of columns, each of which alone finds the person there. The rest are attributes.
        operations: what the destination calls full, adds and removes.
        remote_id: what it calls the id without which nothing can be sent, or ''.
        note: what its files cannot say.
    """

    columns: tuple[str, ...]
    known_by: tuple[tuple[str, ...], ...]
    operations: Mapping[str, str]
    remote_id: str = ""
    note: str = ""


def _operations(full: str, adds: str, removes: str) -> Mapping[str, str]:
    return {"full": full, "adds": adds, "removes": removes}


_LIST = _operations("replace the list", "add to the list", "remove from the list")
_WECOM_TAG = "externalcontact/mark_tag, one line a request"
_TABLE = ("customer_key", "email", "phone")

PROFILES: Mapping[str, Profile] = {
    "google_ads": Profile(("email", "phone"), _IDS, _LIST),
    "google_data_manager": Profile(
        ("email", "phone"),
        _IDS,
        _operations(
            "audienceMembers:removeAll, then audienceMembers:ingest",
            "audienceMembers:ingest",
            "audienceMembers:remove",
        ),
        remote_id="id of the user list",
    ),
    "meta": Profile(
        ("email", "phone"),
        _IDS,
        _operations("POST /usersreplace", "POST /users", "DELETE /users"),
        note="the audience must state customer_file_source; the DELETE verb is not verified",
    ),
    "tiktok": Profile(("email", "phone"), _IDS, _LIST),
    "linkedin": Profile(("email",), (("email",),), _LIST, note="the header of the file is not verified"),
    "klaviyo": Profile(("email", "phone"), _IDS, _LIST),
    "mailchimp": Profile(
        ("email",),
        (("email",),),
        _operations(
            "POST /lists/{id}",
            "POST /lists/{id}",
            "POST /lists/{id}/segments/{tag}; _unsubscribed: POST /lists/{id}",
        ),
    ),
    "hubspot": Profile(("email", "phone"), (("email",),), _LIST),
    "braze": Profile(
        ("customer_key", "email", "phone"),
        (("customer_key",),),
        _operations("import users", "import users", "import users"),
    ),
    "wecom": Profile(
        ("userid", "external_userid"),
        (("userid", "external_userid"),),
        _operations(_WECOM_TAG, _WECOM_TAG, _WECOM_TAG),
        remote_id="id of the tag (create_tag.json makes it: externalcontact/add_corp_tag)",
        note="a contact has at most 3,000 tags, a company 10,000",
    ),
    "wechat_official_account": Profile(
        ("openid",),
        (("openid",),),
        _operations(
            "tags/members/batchtagging, one line a request",
            "tags/members/batchtagging, one line a request",
            "tags/members/batchuntagging, one line a request",
        ),
        remote_id="number of the tag (create_tag.json makes it: tags/create)",
        note="an account has at most 100 tags, a user 20",
    ),
    "tencent_ads": Profile(
        ("phone",),
        (("phone",),),
        _operations("APPEND to a new audience", "APPEND", "REDUCE"),
        note="user_id_type HASH_MOBILE_PHONE",
    ),
    "qianchuan": Profile(
        ("phone_sha256",),
        (("phone_sha256",),),
        _LIST,
        note="data_type 14 (phone, SHA-256); that it hashes 11 digits is not verified",
    ),
    "csv": Profile(_TABLE, (("customer_key",),), _LIST),
    "excel_csv": Profile(_TABLE, (("customer_key",),), _LIST),
    "parquet": Profile(_TABLE, (("customer_key",),), _LIST),
}


def render(destination: str, contact: Mapping[str, str | None]) -> Row | None:
    """The row of a person, or None where nothing is left that the destination could know her by.

    Args:
        contact: clear values by field: customer_key, email, phone (E.164), userid, external_userid, openid.
    """
    profile, cells = PROFILES[destination], []
    for column in profile.columns:
        if column == "customer_key":
            cells.append(contact["customer_key"] or "")
            continue
        field = FIELDS[destination][column]
        clear = contact.get(field.source or column)
        try:
            made = apply(field, clear) if clear else None
        except BadValue:
            made = None
        sent = "" if made is None else made.normalised if destination == "mailchimp" else made.sent
        cells.append(sent)
    row = tuple(cells)
    useful = any(row[profile.columns.index(c)] for c in profile.columns if c != "customer_key")
    return row if useful and any(identifiers(profile, row)) else None


def identifiers(profile: Profile, row: Row) -> Iterator[Identifier]:
    """What the destination knows the row by: (columns, cells) of each group that is complete."""
    for group in profile.known_by:
        cells = tuple(row[profile.columns.index(column)] for column in group)
        if all(cells):
            yield group, cells


def attributes(profile: Profile, row: Row) -> Row:
    """The cells that the destination only keeps."""
    known = {column for group in profile.known_by for column in group}
    return tuple(cell for column, cell in zip(profile.columns, row, strict=True) if column not in known)


def only(profile: Profile, row: Row, kept: set[Identifier]) -> Row | None:
    """The row with nothing but the identifiers in `kept`, or None where there is none."""
    columns = {c for group, cells in identifiers(profile, row) if (group, cells) in kept for c in group}
    if not columns:
        return None
    return tuple(cell if column in columns else "" for column, cell in zip(profile.columns, row, strict=True))
