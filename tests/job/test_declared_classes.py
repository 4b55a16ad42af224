"""Classes by what people say, on the sample company: against its books, each read without our SQL."""

import csv
import hashlib
from collections import Counter
from collections.abc import Iterator
from datetime import date, timedelta

import pyarrow.parquet as pq

from tests.job.conftest import Line


def _truth(line: Line, name: str) -> list[dict]:
    return pq.read_table(line.landing / "_truth" / f"{name}.parquet").to_pylist()


def _keys(line: Line) -> dict[tuple[str, str], str]:
    """(source, source customer id) → customer_key."""
    rows = line.query(
        "select source, source_customer_id, customer_key from core.dim_identity_links where valid_to is null"
    )
    return {(source, customer): key for source, customer, key in rows}


def _study(line: Line) -> Iterator[tuple[str, dict]]:
    """Answers of the study's books with the customer_key of the card that the agency wrote to."""
    keys = _keys(line)
    card = {
        r["person_id"]: r["source_customer_id"] for r in _truth(line, "persons") if r["source"] == "research"
    }
    for row in _truth(line, "study"):
        yield keys["research", card[row["person_id"]]], row


def _last_said(said: list[tuple[str, date, str]], customer: str) -> tuple[date, set[str]] | None:
    """The last day on which a customer said something, and what; two answers of that day are both right."""
    own = [(day, answer) for key, day, answer in said if key == customer]
    last = max((day for day, _ in own), default=None)
    return (last, {answer for day, answer in own if day == last}) if last else None


def test_willingness_is_what_the_study_was_told_last(company: Line) -> None:
    """Every customer whose last answer is younger than 180 days has its class, and nobody else is of the survey."""
    said = []
    classes = ("refusal", "hesitant", "active")
    for key, r in _study(company):
        if r["question_id"] == "INTENT5":
            said.append((key, r["answered_on"], classes[(r["score"] >= 3) + (r["score"] >= 4)]))
        elif r["question_id"] == "INTENT11":
            said.append((key, r["answered_on"], classes[(r["score"] >= 4) + (r["score"] >= 7)]))
    as_of = date.fromisoformat(company.manifest()["as_of_date"])
    seen = Counter()
    for key, willingness, source, observed in company.query(
        "select customer_key, willingness, class_source, observed_at from segments.customer_willingness"
    ):
        told = _last_said(said, key)
        if told and told[0] >= as_of - timedelta(days=180):
            assert (source, observed) == ("survey", told[0]) and willingness in told[1]
        else:
            assert source != "survey" and willingness != "refusal"
        seen[source, willingness] += 1
    assert {w for s, w in seen if s == "survey"} == {"active", "hesitant", "refusal"}
    assert {w for s, w in seen if s == "behaviour"} == {"active", "hesitant"}


def test_motives_are_those_of_both_surveys_the_last_one_first(company: Line) -> None:
    """The agency's study is in the books; what card holders told the shop itself stands in its own files."""
    said = [
        (key, r["answered_on"], "mixed" if "|" in r["option"] else r["option"])
        for key, r in _study(company)
        if r["question_id"] == "MOTIVES"
    ]
    keys = _keys(company)
    for path in sorted((company.landing / "crm" / "survey_responses").glob("*.csv")):
        with path.open(encoding="utf-8", newline="") as file:
            said += [
                (keys["crm", r["source_customer_id"]], date.fromisoformat(r["answered_at"][:10]), r["option"])
                for r in csv.DictReader(file)
                if r["question_id"] == "MOTIVE"
            ]
    found = Counter()
    for key, motive, observed in company.query(
        "select customer_key, motive, observed_at from segments.customer_motive"
    ):
        told = _last_said(said, key)
        assert observed == (told and told[0])
        assert motive in (told[1] if told else {"unknown"})
        found[motive] += 1
    assert set(found) == {"need", "interest", "social", "mixed", "other", "unknown"}


def test_profiles_of_business_customers_are_those_of_the_books(company: Line) -> None:
    found = {
        row[0]: row[1:]
        for row in company.query(
            "select account_key, industry, is_group, has_purchasing, has_technical, has_management, pain_points, owner "
            "from marts.b2b_profile"
        )
    }
    books = _truth(company, "accounts")
    assert len(found) == len(books) >= 10
    for book in books:
        key = hashlib.md5(f"b2b_crm|{book['source_account_id']}".encode()).hexdigest()
        industry, is_group, *roles, pains, owner = found[key]
        assert (industry, owner) == (book["industry"], book["owner"])
        assert is_group == (book["parent_account_id"] is not None or book["subsidiaries_n"] >= 2)
        held = {r for r, held in zip(("purchasing", "technical", "management"), roles, strict=True) if held}
        assert held == set(filter(None, book["live_roles"].split("|")))
        # What the policy has no word for is no pain point.
        assert set(filter(None, (pains or "").split("|"))) == set(book["pain_points"].split("|")) - {
            "other",
            "",
        }


def test_no_published_column_and_no_reason_tells_of_children(company: Line) -> None:
    columns = {
        (table, column["name"] if isinstance(column, dict) else column)
        for table, entry in company.manifest()["tables"].items()
        for column in entry["columns"]
    }
    assert ("segments.customer_household_type", "household_type") in columns
    assert not [c for c in columns if "child" in c[1]]
    told = company.query(
        "select distinct reason_en || reason_zh from audiences.segment_membership "
        "where scheme in ('household', 'custom:young_families')"
    )
    assert len(told) > 2 and not [
        text for (text,) in told if "child" in text.lower() or "孩" in text or "童" in text
    ]
