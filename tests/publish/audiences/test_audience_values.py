"""Each destination's own spelling and hash of one value, against the vendors' own samples."""

import csv
from pathlib import Path

import pytest

from pipeline.publish.audiences.normalise import FIELDS, BadValue, normalise

# What the vendors print in their own guides; the golden file has more where it is present.
PUBLISHED = [
    (
        "meta",
        "email",
        "test1@example.com",
        "9b431636bd164765d63c573c346708846af4f68fe3701a77a3bdd7e7e5166254",
    ),
    (
        "tiktok",
        "email",
        "janedoe@gmail.com",
        "d6117306485ed0e50afab3ac871e98f81699151f30281527d63ff5f233656c69",
    ),
    ("tiktok", "phone", "+374-93-828222", "65b7e6dcf6f4310f8d7cbfbd78289a753062fb054d6664fb9aaac5df66a422d4"),
    (
        "snap",
        "email",
        "Person@Example.com",
        "542d240129883c019e106e3b1b2d3f3cb3537c43c425364de8e951d5a3083345",
    ),
    ("x", "handle", "@AdsAPI", "49e0be2aeccfb51a8dee4c945c8a70a9ac500cf6f5cb08112575f74db9b1470d"),
    ("tencent_ads", "idfa", "ff1999cd-7177-4937-a474-74937a102630", "2c010ed96aef2fc34983e1e7e9176b7e"),
    ("tencent_ads", "imei", "A000002C9060F7", "f2d5a650733ca8c27d502b1c08da14e5"),
    ("tencent_ads", "mac", "02:00:00:00:00:00", "e3f5536a141811db40efd6400f1d0a4e"),
]
_DESTINATION = {"google_dm": "google_data_manager", "tencent": "tencent_ads"}
_FIELD = {"mobile": "phone", "mobile_sha256": "phone_sha256", "subscriber_hash": "email"}
_SAME = {"(unchanged)": str, "(upper)": str.upper, "(lower)": str.lower}


@pytest.mark.parametrize(("destination", "field", "value", "expected"), PUBLISHED)
def test_a_vendors_published_hash_is_ours(destination: str, field: str, value: str, expected: str) -> None:
    assert normalise(destination, field, value).hash == expected


def test_every_golden_vector_matches(golden: Path) -> None:
    with (golden / "vendor_hashes.csv").open(encoding="utf-8") as file:
        vectors = list(csv.DictReader(file))
    assert len(vectors) == 24
    for vector in vectors:
        destination = _DESTINATION.get(vector["vendor"], vector["vendor"])
        field = _FIELD.get(vector["field"], vector["field"])
        # "13800138000 [CN]" names the region; "a / b" are two spellings of one value.
        given, _, region = vector["input"].removesuffix("]").partition(" [")
        for value in given.split(" / "):
            made = normalise(destination, field, value, region or "CN")
            assert made.hash == vector["expected"], vector
            stated = vector["normalised"]
            assert made.normalised == (_SAME[stated](value) if stated in _SAME else stated), vector


def test_one_address_has_another_hash_at_each_vendor() -> None:
    hashes = {
        normalise(d, "email", "cloudy.sf+shop@gmail.com").hash for d in ("google_ads", "meta", "tiktok")
    }
    assert len(hashes) == 3


@pytest.mark.parametrize("destination", FIELDS)
@pytest.mark.parametrize("digits", [32, 40, 64, 128])
def test_a_hash_is_neither_hashed_again_nor_passed_on(destination: str, digits: int) -> None:
    for field in FIELDS[destination]:
        with pytest.raises(BadValue, match="is a hash already"):
            normalise(destination, field, ("aB01" * 32)[:digits])


@pytest.mark.parametrize(
    ("destination", "field", "value", "says"),
    [
        ("meta", "email", "", "empty"),
        ("meta", "email", "nobody", "no e-mail address"),
        ("meta", "email", "a b@example.com", "no e-mail address"),
        ("meta", "email", "a@@example.com", "no e-mail address"),
        ("meta", "email", "a@example..com", "no e-mail address"),
        ("meta", "email", "a" * 250 + "@x.de", "no e-mail address"),
        ("meta", "email", "a\x00b@example.com", "no e-mail address"),
        ("google_ads", "email", "+shop@gmail.com", "nothing is left"),
        ("tiktok", "email", "+shop@example.com", "nothing is left"),
        ("klaviyo", "email", "=cmd@example.com", "spreadsheet would run"),
        ("meta", "phone", "138****8000", "no phone number"),
        ("meta", "phone", "12345", "no phone number"),
        ("meta", "phone", "1-800-FLOWERS", "no phone number"),
        ("meta", "phone", "+86 138 0013 8000 ext 5", "no phone number"),
        ("meta", "phone", "13800138", "none has these digits"),
        ("tencent_ads", "phone", "+14155550100", "mainland China"),
        ("tencent_ads", "phone", "010 6552 9988", "mainland China"),
        ("tencent_ads", "idfa", "00000000-0000-0000-0000-000000000000", "no IDFA"),
        ("tencent_ads", "imei", "1234", "no IMEI"),
        ("tencent_ads", "mac", "08:00:20:0A:8C", "no MAC"),
        ("tencent_ads", "mac", "02:00-00:00:00:00", "no MAC"),
        ("x", "handle", "a b", "no handle"),
        ("meta", "handle", "x", "takes no handle"),
        ("myspace", "email", "a@example.com", "no destination myspace"),
    ],
)
def test_a_bad_value_is_told_without_the_value(destination: str, field: str, value: str, says: str) -> None:
    with pytest.raises(BadValue, match=says) as caught:
        normalise(destination, field, value)
    assert len(value) < 5 or value not in str(caught.value)


@pytest.mark.parametrize(
    "spelling",
    [
        "138 0013 8000",
        "+86 138-0013-8000",
        "0086 13800138000",
        "８６１３８００１３８０００",
        "(138) 0013 8000",
    ],
)
def test_one_number_in_its_spellings_is_one_number(spelling: str) -> None:
    assert normalise("meta", "phone", spelling).normalised == "8613800138000"
    assert normalise("google_ads", "phone", spelling).normalised == "+8613800138000"
    assert normalise("tencent_ads", "phone", spelling).normalised == "13800138000"


def test_an_unknown_region_is_named() -> None:
    with pytest.raises(BadValue, match="'XX' is no country code"):
        normalise("meta", "phone", "13800138000", "XX")


def test_where_clear_text_is_taken_there_is_no_hash() -> None:
    assert normalise("klaviyo", "phone", "13800138000").hash is None
