"""Reading back what was written gives the rows, within every limit; and each vendor's own form."""

import csv
import hashlib
import io
import json
import zipfile
from collections.abc import Iterator

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st

from pipeline.errors import StrataError
from pipeline.publish.audiences.normalise import FIELDS
from pipeline.publish.audiences.profiles import PROFILES, render
from pipeline.publish.audiences.writers import Batch, File, create_tag, escape, unescape, write

# Texts that break CSV, JSON and spreadsheets.
_WILD = st.text(st.characters(blacklist_categories=("Cs",), blacklist_characters="\x00"), max_size=12)
_NASTY = st.sampled_from(
    ["=1+1", "+86", "-x", "@x", "'", "''=1", "\t=1", 'a"b,c', "两\r\n行", "\ufeffx", "", " "]
)


def cells(destination: str, column: str) -> st.SearchStrategy[str]:
    """What a cell of a column can be."""
    if column == "customer_key":
        return st.integers(0, 10**6).map(lambda i: f"{i:032x}")
    algo = None if destination == "mailchimp" else FIELDS[destination][column].algo
    if algo:
        return st.integers(0, 10**6).map(lambda i: hashlib.new(algo, str(i).encode()).hexdigest())
    if destination in ("csv", "excel_csv", "parquet"):
        return st.one_of(_WILD, _NASTY)
    if column == "phone":
        return st.integers(10**10, 10**11 - 1).map(lambda i: f"+86{i}")
    if column == "email":
        return st.integers(0, 10**6).map(lambda i: f"n{i}@例子.cn")
    return st.integers(0, 10**6).map(lambda i: f"wm_{i}")


def rows_of(destination: str) -> st.SearchStrategy[list[tuple[str, ...]]]:
    return st.lists(st.tuples(*[cells(destination, c) for c in PROFILES[destination].columns]), max_size=25)


def batch(destination: str, rows, kind="full", **limits) -> Batch:  # type: ignore[no-untyped-def]
    reasons = (
        tuple(["consent_withdrawn", "left_class"][i % 2] for i in range(len(rows)))
        if kind == "removes"
        else ()
    )
    defaults = {"remote_id": "134", "channel": "email", "request_rows": None}
    return Batch(
        destination,
        "aud",
        "流失挽回",
        kind=kind,
        columns=PROFILES[destination].columns,
        rows=tuple(rows),
        reasons=reasons,
        **(defaults | limits),
    )


def read_csv(content: bytes, encoding: str = "utf-8") -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(content.decode(encoding), newline="")))


def read_back(destination: str, files: list[File]) -> Iterator[tuple[str, ...]]:
    """The rows of the files, read by other code than wrote them."""
    for file in files:
        if destination in ("tencent_ads", "qianchuan"):
            with zipfile.ZipFile(io.BytesIO(file.content)) as archive:
                (name,) = archive.namelist()
                yield from ((line,) for line in archive.read(name).decode().splitlines())
        elif destination == "parquet":
            for row in (
                pq.read_table(io.BytesIO(file.content)).select(["customer_key", "email", "phone"]).to_pylist()
            ):
                yield tuple(row.values())
        elif destination == "google_data_manager":
            for member in json.loads(file.content)["audienceMembers"]:
                found: dict[str, str] = {}
                for identifier in member["userData"]["userIdentifiers"]:
                    found |= identifier
                yield found.get("emailAddress", ""), found.get("phoneNumber", "")
        elif destination == "mailchimp":
            data = json.loads(file.content)
            if "_unsubscribed" not in file.name:
                yield from ((m["email_address"],) for m in data.get("members", []))
                yield from ((m,) for m in data.get("members_to_remove", []))
        elif destination in ("wecom", "wechat_official_account"):
            for line in file.content.decode().splitlines():
                body = json.loads(line)
                if destination == "wecom":
                    yield body["userid"], body["external_userid"]
                else:
                    yield from ((openid,) for openid in body["openid_list"])
        elif destination in ("csv", "excel_csv"):
            for row in read_csv(file.content, "utf-8-sig" if destination == "excel_csv" else "utf-8"):
                yield tuple(unescape(row[c]) for c in ("customer_key", "email", "phone"))
        elif file.name.endswith(".json"):
            assert destination == "meta"
            meta.extend(map(tuple, json.loads(file.content)["payload"]["data"]))
        else:
            names = HEADERS[destination]
            yield from (tuple(row[n] for n in names) for row in read_csv(file.content))


meta: list[tuple[str, ...]] = []
HEADERS = {
    "google_ads": ("Email", "Phone"),
    "meta": ("email", "phone"),
    "tiktok": ("Email_SHA256", "Phone_SHA256"),
    "linkedin": ("email",),
    "klaviyo": ("Email", "Phone Number"),
    "hubspot": ("Email", "Phone Number"),
    "braze": ("external_id", "email", "phone"),
}


@pytest.mark.parametrize("destination", PROFILES)
@effort(max_examples=12, deadline=None)
@given(data=st.data())
def test_reading_back_gives_the_rows_within_the_limits(destination: str, data) -> None:  # type: ignore[no-untyped-def]
    rows = data.draw(rows_of(destination))
    kind = data.draw(st.sampled_from(["full", "adds", "removes"]))
    in_requests = destination in ("google_data_manager", "meta", "mailchimp", "wechat_official_account")
    limits: dict = {"request_rows": data.draw(st.sampled_from([None, 1, 7]) if in_requests else st.none())}
    if destination == "wecom":
        limits["request_rows"] = 1
    splits = not in_requests and destination != "wecom"
    limits["file_rows"] = data.draw(st.sampled_from([None, 1, 4])) if splits else None
    zipped = destination in ("tencent_ads", "qianchuan")
    by_bytes = splits and destination != "parquet"
    limits["file_bytes"] = data.draw(st.sampled_from([None, 6000 if zipped else 900])) if by_bytes else None
    meta.clear()
    files = list(write(batch(destination, rows, kind, **limits)))
    assert list(read_back(destination, files)) == rows
    if destination == "meta":
        assert meta == rows
    own = [
        f
        for f in files
        if "_unsubscribed" not in f.name and not (destination == "meta" and f.name.endswith(".json"))
    ]
    assert sum(f.rows for f in own) == len(rows)
    assert len({f.name for f in files}) == len(files)
    for file in files:
        if limits["file_rows"]:
            assert file.rows <= limits["file_rows"]
        if limits["file_bytes"]:
            assert len(file.content) <= limits["file_bytes"]
        if not zipped and destination != "parquet":
            assert file.content.startswith(b"\xef\xbb\xbf") is (destination == "excel_csv")
    assert files == list(write(batch(destination, rows, kind, **limits)))


@given(st.one_of(_WILD, _NASTY))
def test_no_escaped_text_is_a_formula_and_it_can_be_read_back(text: str) -> None:
    assert not escape(text).startswith(("=", "+", "-", "@", "\t", "\r"))
    assert unescape(escape(text)) == text


H1, H2 = "a" * 64, "b" * 64


@pytest.mark.parametrize(
    ("destination", "row", "header"),
    [
        ("google_ads", (H1, H2), b"Email,Phone,First Name,Last Name,Country,Zip\r\n"),
        ("meta", (H1, H2), b"email,phone,madid,fn,ln,zip,ct,st,country\r\n"),
        ("tiktok", (H1, H2), b"Email_SHA256,Phone_SHA256\r\n"),
        ("klaviyo", ("a@b.cn", ""), b"Email,Phone Number,Email Marketing Consent,SMS Marketing Consent\r\n"),
        ("hubspot", ("a@b.cn", ""), b"Email,Phone Number\r\n"),
        ("braze", ("k", "a@b.cn", ""), b"external_id,email,phone,email_subscribe,audience_aud\r\n"),
        ("excel_csv", ("k", "a@b.cn", ""), b"\xef\xbb\xbfcustomer_key,email,phone\r\n"),
    ],
)
def test_headers_are_the_vendors_own(destination: str, row: tuple[str, ...], header: bytes) -> None:
    assert next(write(batch(destination, [row]))).content.startswith(header)


def test_google_is_told_of_both_consents_and_removes_claim_none() -> None:
    made = next(write(batch("google_data_manager", [(H1, "")], account="123")))
    body = json.loads(made.content)
    assert body["consent"] == {"adUserData": "CONSENT_GRANTED", "adPersonalization": "CONSENT_GRANTED"}
    assert body["encoding"] == "HEX" and body["destinations"] == [
        {"productDestinationId": "134", "operatingAccount": {"accountType": "GOOGLE_ADS", "accountId": "123"}}
    ]
    assert "consent" not in json.loads(
        next(write(batch("google_data_manager", [(H1, "")], "removes"))).content
    )


def test_the_requests_of_one_upload_to_meta_are_one_session() -> None:
    rows = [(f"{i:064x}", "") for i in range(25)]
    bodies = [
        json.loads(f.content) for f in write(batch("meta", rows, request_rows=10)) if f.name.endswith(".json")
    ]
    assert [b["session"]["batch_seq"] for b in bodies] == [1, 2, 3]
    assert [b["session"]["last_batch_flag"] for b in bodies] == [False, False, True]
    assert len({b["session"]["session_id"] for b in bodies}) == 1
    assert bodies[0]["payload"]["schema"] == ["EMAIL", "PHONE"]


def test_a_withdrawal_unsubscribes_and_leaving_a_class_does_not() -> None:
    rows = [("w@x.cn",), ("l@x.cn",)]
    untag, unsubscribe = write(batch("mailchimp", rows, "removes"))
    assert json.loads(untag.content) == {"members_to_remove": ["w@x.cn", "l@x.cn"]}
    assert json.loads(unsubscribe.content)["members"] == [
        {"email_address": "w@x.cn", "status": "unsubscribed"}
    ]
    klaviyo = read_csv(next(write(batch("klaviyo", [("w@x.cn", ""), ("l@x.cn", "")], "removes"))).content)
    assert [r["Email Marketing Consent"] for r in klaviyo] == ["Unsubscribed", ""]
    braze = read_csv(next(write(batch("braze", [("k", "", ""), ("m", "", "")], "removes"))).content)
    assert [(r["email_subscribe"], r["audience_aud"]) for r in braze] == [
        ("unsubscribed", "false"),
        ("", "false"),
    ]


def test_tags() -> None:
    add = next(write(batch("wecom", [("staff", "wm1")], request_rows=1, remote_id="etAA")))
    assert json.loads(add.content) == {"userid": "staff", "external_userid": "wm1", "add_tag": ["etAA"]}
    gone = next(write(batch("wecom", [("staff", "wm1")], "removes", request_rows=1, remote_id="etAA")))
    assert json.loads(gone.content)["remove_tag"] == ["etAA"]
    lines = next(write(batch("wechat_official_account", [(f"o{i}",) for i in range(120)], request_rows=50)))
    assert [len(json.loads(b)["openid_list"]) for b in lines.content.splitlines()] == [50, 50, 20]
    assert json.loads(lines.content.splitlines()[0])["tagid"] == 134
    assert json.loads(create_tag("wechat_official_account", "流失挽回").content) == {
        "tag": {"name": "流失挽回"}
    }


@pytest.mark.parametrize(
    ("destination", "row"),
    [
        ("meta", ("a@example.com", "")),
        ("meta", ("a" * 32, "")),
        ("tencent_ads", ("a" * 64,)),
        ("klaviyo", (H1, "")),
        ("csv", ("k", H1, "")),
        ("mailchimp", ("a" * 32,)),
        ("wechat_official_account", (H1,)),
    ],
)
def test_clear_text_for_a_hash_and_a_hash_for_clear_text_never_leave(
    destination: str, row: tuple[str, ...]
) -> None:
    with pytest.raises(StrataError, match="must hold"):
        list(write(batch(destination, [row])))


def test_a_row_that_fits_into_no_file_is_told() -> None:
    with pytest.raises(StrataError, match="one row has"):
        list(write(batch("csv", [("k", "x" * 50, "")], file_bytes=60)))


def test_a_contact_becomes_the_row_of_each_destination() -> None:
    contact = {
        "customer_key": "k" * 32,
        "email": "A.b+c@gmail.com",
        "phone": "+8613800138000",
        "openid": "oX",
    }
    assert render("hubspot", contact) == ("a.b+c@gmail.com", "+8613800138000")
    assert render("tencent_ads", contact) == (hashlib.md5(b"13800138000").hexdigest(),)
    assert render("google_ads", contact)[0] == hashlib.sha256(b"ab@gmail.com").hexdigest()  # type: ignore[index]
    assert render("wechat_official_account", contact) == ("oX",)
    assert render("wecom", contact) is None
    assert render("tencent_ads", contact | {"phone": "+14155550100"}) is None
    # A hash in place of an address is no address: the person is known by the rest, or by nothing.
    assert render("meta", contact | {"email": H1}) == ("", hashlib.sha256(b"8613800138000").hexdigest())
    assert render("mailchimp", contact | {"email": H1}) is None
