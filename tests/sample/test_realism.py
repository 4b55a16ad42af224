"""Claims about the company that the analyses rely on."""

from collections import Counter, defaultdict
from datetime import date, timedelta
from itertools import pairwise
from statistics import pstdev


def valid(truth):
    return [r for r in truth("orders").to_pylist() if r["is_valid"]]


def mean(values):
    values = list(values)
    return sum(values) / len(values)


def test_a_fifth_of_the_buyers_brings_half_to_nine_tenths_of_revenue(truth):
    revenue = Counter()
    for r in valid(truth):
        revenue[r["person_id"]] += r["gross"]
    ranked = sorted(revenue.values(), reverse=True)
    share = sum(ranked[: len(ranked) // 5]) / sum(ranked)
    assert 0.5 < share < 0.9


def test_stores_are_fuller_at_weekends(truth):
    per_day = Counter(r["ordered_on"] for r in truth("orders").to_pylist() if r["source"] == "store_pos")
    weekend = mean(n for d, n in per_day.items() if d.weekday() >= 5)
    assert weekend > 1.15 * mean(n for d, n in per_day.items() if d.weekday() < 4)


def test_sales_rise_before_spring_festival_fall_in_it_and_peak_at_618(truth):
    per_day = Counter(r["ordered_on"] for r in truth("orders").to_pylist())
    spring = date(2026, 2, 17)
    before = mean(per_day[spring - timedelta(days=k)] for k in range(1, 11))
    during = mean(per_day[spring + timedelta(days=k)] for k in range(4))
    usual = mean(per_day[date(2026, 3, 2) + timedelta(days=k)] for k in range(28))
    assert before > 1.15 * usual > 1.15 * during
    may = mean(per_day[date(2026, 5, 4) + timedelta(days=k)] for k in range(21))
    assert mean(per_day[date(2026, 6, 15 + k)] for k in range(7)) > 1.1 * may


def test_regular_customers_have_a_rhythm_of_their_own(truth):
    """Spread of gaps / mean gap: about 1 if purchases fell at random, smaller within one customer."""
    days = defaultdict(set)
    for r in valid(truth):
        days[r["person_id"]].add(r["ordered_on"])
    own = []
    everybody = []
    for seen in days.values():
        ordered = sorted(seen)
        if len(ordered) >= 8:
            gaps = [(b - a).days for a, b in pairwise(ordered)]
            own.append(pstdev(gaps) / mean(gaps))
            everybody += gaps
    assert mean(own) < 0.75
    assert mean(own) < 0.8 * pstdev(everybody) / mean(everybody)


def test_who_churned_never_buys_again_and_bad_events_drive_people_away(truth):
    churned = {r["person_id"]: r for r in truth("churned").to_pylist()}
    assert len(churned) > 10
    for r in truth("orders").to_pylist():
        if r["person_id"] in churned:
            assert r["ordered_on"] < churned[r["person_id"]]["churned_on"]
    orders = [r for r in truth("orders").to_pylist() if r["person_id"]]
    hurt = sum(r["bad_event"] is not None for r in orders) / len(orders)
    left_hurt = mean(r["after_bad_event"] for r in churned.values())
    assert left_hurt > 2.5 * hurt


def test_detractors_had_more_bad_events_than_promoters(truth):
    answers = [r for r in truth("answers").to_pylist() if r["survey"] == "NPS"]
    detractors = mean(r["bad_events_n"] for r in answers if r["score"] <= 6)
    promoters = mean(r["bad_events_n"] for r in answers if r["score"] >= 9)
    assert detractors > 4 * promoters


def test_csat_is_lower_after_a_bad_order(truth):
    answers = [r for r in truth("answers").to_pylist() if r["survey"] == "CSAT"]
    bad = mean(r["score"] for r in answers if r["bad_events_n"])
    assert bad < mean(r["score"] for r in answers if not r["bad_events_n"]) - 1


def test_not_everybody_answers(truth):
    """Most people with a card never answer the quarterly question."""
    people = {r["person_id"] for r in truth("persons").to_pylist() if r["source"] == "crm"}
    answered = {r["person_id"] for r in truth("answers").to_pylist() if r["survey"] == "NPS"}
    assert 0.1 < len(answered & people) / len(people) < 0.7


def test_complaints_come_from_orders_that_went_wrong(deliveries, truth):
    books = {r["order_id"]: r for r in truth("orders").to_pylist()}
    tickets = {r["ticket_id"]: r for d in deliveries if d.feed == "tickets" for r in d.accepted()}
    complaints = [t for t in tickets.values() if t["type"] == "complaint"]
    assert complaints and all(books[t["order_id"]]["bad_event"] for t in complaints)
    hurt = sum(1 for r in books.values() if r["bad_event"])
    assert 0.2 < len(complaints) / hurt < 0.6


def test_families_fill_larger_baskets(deliveries, truth):
    person = {r["source_customer_id"]: r["person_id"] for r in truth("persons").to_pylist()}
    family = {
        person[r["source_customer_id"]]: r["has_children"] in (True, "true")
        for d in deliveries
        if d.feed == "customers" and d.source != "marketplace"
        for r in d.accepted()
    }
    lines = defaultdict(list)
    for r in valid(truth):
        if r["source"] == "store_pos" and r["person_id"] in family:
            lines[family[r["person_id"]]].append(r["lines_n"])
    assert mean(lines[True]) > 1.2 * mean(lines[False])


def test_sessions_hold_bots_strangers_and_the_visits_that_ordered(deliveries, truth):
    sessions = [r for d in deliveries if d.feed == "web_sessions" for r in d.accepted()]
    bots = mean(r["is_bot"] for r in sessions)
    named = mean(r["source_customer_id"] is not None for r in sessions)
    assert 0.01 < bots < 0.15 and 0.4 < named < 0.95
    orders = sum(r["source"] == "app" for r in truth("orders").to_pylist())
    assert 0.1 < orders / len(sessions) < 0.6


def test_test_accounts_employees_minors_and_guests_exist(truth, totals):
    counts = totals["persons"]
    assert counts["test"] >= 3 and counts["employees"] >= 1 and counts["minors"] >= 1
    till = [r for r in truth("orders").to_pylist() if r["source"] == "store_pos" and r["kind"] == "sale"]
    assert 0.2 < mean(r["source_customer_id"] is None for r in till) < 0.6
    kinds = {r["kind"] for r in truth("orders").to_pylist()}
    assert kinds == {"sale", "stock_movement", "adjustment"}


def test_most_app_members_grant_profiling_and_marketing(truth):
    states = [r for r in truth("consent_states").to_pylist() if r["source"] == "app"]
    members = {r["source_customer_id"] for r in states}
    for purpose in ("profiling", "marketing"):
        granted = {
            r["source_customer_id"] for r in states if r["purpose"] == purpose and r["action"] == "grant"
        }
        assert len(granted) > 0.6 * len(members)
    assert any(r["action"] == "withdraw" for r in states)


def test_nobody_is_written_to_without_a_live_consent_to_that_channel(deliveries):
    """Read from the files alone: the last word of each card before each message was yes."""
    said = defaultdict(list)
    for d in deliveries:
        if (d.source, d.feed) == ("crm", "consents"):
            for row in d.accepted():
                if row["purpose"] == "marketing":
                    said[row["source_customer_id"]].append((row["at"], row["channel"], row["action"]))
    sent = {
        row["message_id"]: row
        for d in deliveries
        if (d.source, d.feed) == ("outreach", "messages")
        for row in d.accepted()
    }
    for row in sent.values():
        words = [
            (at, action)
            for at, channel, action in said[row["source_customer_id"]]
            if channel in (row["channel"], "all") and at < row["sent_at"]
        ]
        assert words and max(words)[1] == "grant", row
    assert {row["channel"] for row in sent.values()} == {"email", "sms"}
    reached = [row for row in sent.values() if row["delivered_at"]]
    assert 0.97 < len(reached) / len(sent) < 1
    opened = mean(bool(r["opened_at"]) for r in reached if r["channel"] == "email")
    assert 0.2 < opened < 0.6 and not any(r["opened_at"] for r in reached if r["channel"] == "sms")
    assert any(r["unsubscribed_at"] for r in reached) and any(r["clicked_at"] for r in reached)
    complained = [r for r in sent.values() if r["complained_at"]]
    assert 0 < len(complained) < 0.01 * len(reached) and {r["channel"] for r in complained} == {"email"}
    for at in complained:
        later = [
            r
            for r in sent.values()
            if (r["source_customer_id"], r["channel"]) == (at["source_customer_id"], "email")
            and r["sent_at"] > at["complained_at"]
        ]
        assert not later, "nobody is written to who has called a mail spam"


def test_those_who_are_minded_are_spoken_to_again_and_again_by_one_employee(deliveries):
    by = defaultdict(set)
    turns = Counter()
    for d in deliveries:
        if (d.source, d.feed) == ("outreach", "contact_log"):
            for row in d.accepted():
                by[row["source_customer_id"]].add(row["employee_id"])
                turns[row["source_customer_id"]] += 1
                assert date.fromisoformat(row["at"][:10]).weekday() < 6 or d.day == date(2026, 6, 30)
    assert all(len(employees) == 1 for employees in by.values())
    assert len(by) > 50 and max(turns.values()) >= 3
