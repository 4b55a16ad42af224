"""Who is in, and the first reason why not."""

import dataclasses
import os
import re
from pathlib import Path

import pandas as pd
import pytest

from pipeline.ingest.vault import Vault
from pipeline.ingest.vault.rotation import rotate
from pipeline.privacy.consent import Refusals
from pipeline.publish.audiences import selection
from pipeline.publish.audiences.outbox import reasons_told
from pipeline.publish.audiences.policy import Audience
from pipeline.publish.audiences.rules import parse
from pipeline.publish.audiences.source import heeded
from pipeline.settings import Settings

KNOWN = {"rfm": {"loyal", "new"}, "abc": {"A"}}
LIMITS = {"pressure_7d_max": 2, "pressure_30d_max": 6}
SALT = b"s" * 32


def audience(name: str, rule: str, priority: int, channel: str = "sms", holdout: float = 0.0) -> Audience:
    return Audience(name, name, name, parse(rule, KNOWN), rule, "marketing", channel, priority, holdout, ())


def person(key: str, **other: object) -> dict[str, object]:
    base = {
        "customer_key": key,
        "excluded": None,
        "is_minor": False,
        "is_internal": False,
        "contact_status": "fresh",
        "in_release": True,
        "released_sms": True,
        "messages_7d": 0,
        "messages_30d": 0,
        "rfm": "loyal",
        "abc": None,
    }
    return base | other


def choose(
    audiences: list[Audience], people: list[dict], consents: list[tuple] | None = None, salt: bytes = SALT
):  # type: ignore[no-untyped-def, type-arg]
    words = (
        consents if consents is not None else [(p["customer_key"], "marketing", "all", True) for p in people]
    )
    frame = pd.DataFrame(
        [(*word, None)[:5] for word in words],
        columns=["customer_key", "purpose", "channel", "is_granted", "refused_by"],
    )
    return selection.choose(audiences, pd.DataFrame(people), frame, salt, LIMITS)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({}, None),
        ({"excluded": "erased"}, "erased"),
        ({"excluded": "objected_profiling"}, "objected_profiling"),
        ({"is_minor": True}, "minor"),
        ({"is_internal": True}, "internal"),
        ({"contact_status": "stale"}, "stale_contact"),
        ({"contact_status": "invalid"}, "stale_contact"),
        ({"contact_status": "none"}, "no_identifier"),
        ({"in_release": False, "rfm": None}, "not_in_release"),
        ({"released_sms": False}, "not_in_release"),
        ({"messages_7d": 2}, "pressure_cap"),
        ({"messages_7d": 1, "messages_30d": 6}, "pressure_cap"),
        ({"messages_7d": 1, "messages_30d": 5}, None),
        ({"rfm": "new"}, "left_class"),
        ({"rfm": None}, "left_class"),
    ],
)
def test_the_first_reason_that_keeps_somebody_out(change: dict[str, object], reason: str | None) -> None:
    (one,) = choose([audience("a", "rfm = loyal", 1)], [person("p", **change)])
    assert one.reasons.get("p") == reason
    assert one.active == (("p",) if reason is None else ())


@pytest.mark.parametrize(
    ("excluded", "word", "reason"),
    [
        ("withdrew_profiling", None, "consent_withdrawn"),
        ("withdrew_profiling", "unsubscribe", "unsubscribed"),
        ("objected_profiling", "complaint", "complained"),
        ("restricted", None, "consent_withdrawn"),
        ("erased", None, "erased"),
        ("under_14", "unsubscribe", "under_14"),
    ],
)
def test_who_refuses_all_is_told_as_one_who_refused_the_channel(
    excluded: str, word: str | None, reason: str
) -> None:
    """Tools unsubscribe whoever refused the channel; that no profile is made of her says nothing of that."""
    one = person("p", excluded=excluded)
    (told,) = choose([audience("a", "all", 1)], [one], [("p", "marketing", "sms", False, word)])
    assert told.reasons["p"] == reason
    assert (reason in selection.REFUSED) == (excluded in selection.UNPROFILED)
    (only,) = choose([audience("a", "all", 1)], [one], [("p", "marketing", "all", True)])
    assert only.reasons["p"] == excluded


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ([], "no_consent"),
        ([("marketing", "all", True)], None),
        ([("marketing", "sms", True)], None),
        ([("marketing", "email", True)], "no_consent"),
        ([("profiling", "all", True)], "no_consent"),
        ([("marketing", "all", False)], "consent_withdrawn"),
        ([("marketing", "all", True), ("marketing", "sms", False)], "consent_withdrawn"),
        ([("marketing", "all", False), ("marketing", "sms", True)], None),
        ([("marketing", "sms", False, "withdrawal")], "consent_withdrawn"),
        ([("marketing", "all", True), ("marketing", "sms", False, "unsubscribe")], "unsubscribed"),
        ([("marketing", "all", True), ("marketing", "sms", False, "complaint")], "complained"),
        ([("marketing", "all", True), ("marketing", "email", False, "complaint")], None),
    ],
)
def test_consent_to_the_purpose_on_the_channel(words: list[tuple], reason: str | None) -> None:  # type: ignore[type-arg]
    (one,) = choose([audience("a", "all", 1)], [person("p")], [("p", *word) for word in words])
    assert one.reasons.get("p") == reason
    frame = pd.DataFrame(
        [("p", *w[:3]) for w in words], columns=["customer_key", "purpose", "channel", "is_granted"]
    )
    said = selection.consent_of(frame, "marketing", "sms").get("p")
    assert said is {None: True, "no_consent": None}.get(reason, False)
    assert (said is False) == (reason in selection.REFUSED)


def test_every_reason_is_told_in_both_languages() -> None:
    """Each that the docs list, as an export's manifest says it."""
    table = (Path(__file__).parents[3] / "docs" / "audiences.md").read_text(encoding="utf-8")
    rows = table.split("| reason | |")[1].split("\n\n")[0].splitlines()
    listed = {
        code for row in rows for code in re.findall(r"`([a-z_0-9<>]+)`", row.split("|")[1] if row else "")
    }
    assert listed > selection.STATED
    told = reasons_told(dict.fromkeys((code.replace("<audience>", "winback") for code in listed), 1))
    assert told["unsubscribed"] == {"zh": "在消息中退订", "en": "Unsubscribed by a message"}
    assert told["in_winback"]["en"] == "In an audience of higher priority"
    assert all(code not in text.values() for code, text in told.items())


def test_an_audience_of_adults_leaves_out_who_states_no_age() -> None:
    people = [person("adult", is_age_known=True), person("silent", is_age_known=False)]
    alcohol, milk = audience("alcohol", "all", 1), audience("milk", "all", 2, "email")
    one, two = choose([dataclasses.replace(alcohol, adults_only=True), milk], people)
    assert one.active == ("adult",) and one.reasons == {"silent": "age_unknown"}
    assert two.active == ("adult", "silent")


def test_neither_age_of_the_contact_nor_pressure_matter_where_they_say_nothing() -> None:
    stale, pressed = person("s", contact_status="none"), person("t", messages_7d=9)
    wechat, ads = choose(
        [audience("w", "all", 1, "wechat"), audience("a", "all", 2, "ads")], [stale, pressed]
    )
    assert wechat.reasons == {"t": "pressure_cap"}
    assert ads.reasons == {"s": "no_identifier"}


def test_one_audience_per_person_and_channel_and_the_losers_are_known() -> None:
    people = [person("both", abc="A"), person("loyal"), person("a", rfm=None, abc="A")]
    second, mail, first = (
        audience("second", "rfm = loyal", 20),
        audience("mail", "all", 30, "email"),
        audience("first", "abc = A", 10),
    )
    one, two, three = choose([second, mail, first], people)
    assert (one.audience.name, one.active) == ("first", ("a", "both"))
    assert two.active == ("loyal",) and dict(two.lost) == {"both": "first"}
    assert two.reasons["both"] == "in_first" and two.matched == 2
    assert three.active == ("a", "both", "loyal")


def test_who_is_held_out_is_not_handed_to_the_next_audience() -> None:
    people = [person(f"p{i}") for i in range(400)]
    one, two = choose([audience("one", "all", 1, holdout=0.1), audience("two", "all", 2)], people)
    assert not two.active and len(two.lost) == 400
    assert 20 <= len(one.holdout) <= 60 and len(one.active) + len(one.holdout) == 400


def test_the_hold_out_is_the_same_each_time_for_each_audience_and_grows_with_its_share() -> None:
    people = [person(f"p{i}") for i in range(500)]
    small = choose([audience("a", "all", 1, holdout=0.1)], people)[0].holdout
    again = choose([audience("b", "rfm = loyal", 7, "email", holdout=0.1)], people[::-1])[0].holdout
    large = choose([audience("a", "all", 1, holdout=0.3)], people)[0].holdout
    assert small == again and set(small) < set(large)
    assert small != choose([audience("a", "all", 1, holdout=0.1)], people, salt=b"t" * 32)[0].holdout


def test_the_share_held_out_is_the_share_asked_for() -> None:
    n = 100_000 if os.environ.get("STRATA_SOAK") else 20_000
    held = sum(selection.held_out(SALT, f"{i:032x}", 0.1) for i in range(n))
    # Four standard deviations of a binomial.
    assert abs(held - 0.1 * n) < 4 * (n * 0.09) ** 0.5


def test_the_hold_out_survives_a_new_token_key(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    with Vault(settings) as vault:
        vault.tokenise("phone", ["13800138000"], "CN")
        salt = vault.holdout_salt
    rotate(settings, bytes.fromhex("6b" * 32))
    monkeypatch.setenv("STRATA_TOKEN_KEY", "6b" * 32)
    assert Vault(settings).holdout_salt == salt


def test_a_refusal_since_the_build_is_heeded() -> None:
    people = pd.DataFrame([person(key) for key in ("all", "sms", "left", "profile", "stays")])
    consents = pd.DataFrame(
        [(k, "marketing", c, True, None) for k in people["customer_key"] for c in ("all", "sms", "email")]
        + [(k, "third_party", "ads", True, None) for k in ("all", "stays")],
        columns=["customer_key", "purpose", "channel", "is_granted", "refused_by"],
    )
    refused = Refusals(
        frozenset({"profile"}),
        frozenset({"all"}),
        {"sms": frozenset({"sms", "left"})},
        {"third_party": frozenset({"all"})},
        {"sms": {"left": "complaint"}},
    )
    people, consents = heeded(people, consents, refused)
    audiences = [audience("s", "all", 1), audience("e", "all", 2, "email")]
    sms, mail = selection.choose(audiences, people, consents, SALT, LIMITS)
    assert sms.reasons == {
        "all": "consent_withdrawn",
        "sms": "consent_withdrawn",
        "left": "complained",
        "profile": "withdrew_profiling",
    }
    assert mail.reasons == {"all": "consent_withdrawn", "profile": "withdrew_profiling"}
    assert {"consent_withdrawn", "complained", "unsubscribed", "withdrew_profiling"} <= selection.STATED
    assert selection.consent_of(consents, "third_party", "ads") == {"all": False, "stays": True}
