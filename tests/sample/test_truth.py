"""The truth file and the delivered files tell the same story, each read without the other."""

import re
from collections import Counter, defaultdict
from decimal import Decimal

from delivered import convert

PAID_STATES = ("paid", "shipped", "completed")
# Every defect that a sample of this size is expected to hold.
EXPECTED_REASONS = {
    "exact_duplicate",
    "wrong_type",
    "negative_quantity",
    "missing_id",
    "short_row",
    "orphan_line",
    "unknown_status",
    "impossible_date",
    "future_timestamp",
    "unknown_event",
    "masked_phone",
    "placeholder_birthday",
}


def accepted(deliveries, feed, source=None):
    for d in deliveries:
        if d.feed == feed and source in (None, d.source):
            for row in d.accepted():
                yield d.source, row


def planted(truth, *expected):
    rows = truth("bad_rows").to_pylist()
    return {(r["path"], r["record_no"]): r["reason"] for r in rows if r["expected"] in expected}


def test_exactly_the_planted_rows_break_their_contract(deliveries, truth):
    found = {
        (d.path, number)
        for d in deliveries
        for number, verdict in enumerate(d.verdicts, 1)
        if verdict not in (None, "duplicate")
    }
    assert found == set(planted(truth, "reject"))


def test_exactly_the_planted_duplicates_are_repeated_rows(deliveries, truth):
    found = {
        (d.path, number)
        for d in deliveries
        for number, verdict in enumerate(d.verdicts, 1)
        if verdict == "duplicate"
    }
    assert found == set(planted(truth, "duplicate"))


def test_a_rejected_row_is_rejected_for_the_planted_reason(deliveries, truth):
    kinds = {
        "wrong_type": "type:",
        "impossible_date": "type:",
        "negative_quantity": "negative_quantity",
        "missing_id": "missing:",
        "short_row": "field_count",
        "long_row": "field_count",
        "unknown_status": "values:status",
        "unknown_event": "values:event_type",
        "unknown_purpose": "values:purpose",
        "future_timestamp": "time:",
        "before_2000": "time:",
        "negative_spend": "range:spend",
        "unknown_score": "range:score",
    }
    verdicts = {d.path: d.verdicts for d in deliveries}
    for (path, number), reason in planted(truth, "reject").items():
        assert verdicts[path][number - 1].startswith(kinds[reason]), (path, number, reason)


def test_odd_rows_that_load_are_the_planted_ones(deliveries, truth):
    orders = {row["order_id"] for _, row in accepted(deliveries, "orders")}
    found = {}
    for d in deliveries:
        for number, (row, verdict) in enumerate(zip(d.rows, d.verdicts, strict=True), 1):
            if verdict is not None:
                continue
            if d.feed == "order_lines" and row["order_id"] not in orders:
                found[d.path, number] = "orphan_line"
            elif d.feed == "customers" and "****" in (row.get("phone") or ""):
                found[d.path, number] = "masked_phone"
            elif d.feed == "customers" and row.get("birth_date") == "1900-01-01":
                found[d.path, number] = "placeholder_birthday"
            elif d.feed == "survey_responses" and row["question_id"] == "CSAT" and int(row["score"]) > 5:
                found[d.path, number] = "score_off_scale"
    assert found == planted(truth, "load")


def test_most_kinds_of_dirt_occur_even_in_a_small_sample(truth):
    missing = EXPECTED_REASONS - set(truth("bad_rows")["reason"].to_pylist())
    assert not missing


def test_dirt_stays_below_the_gates_on_every_day(deliveries, truth):
    """Q-07 blocks above 1 % rejected rows of a source, Q-05 above 0.1 % orphans: also in a backfill."""
    rejected = Counter(path for path, _ in planted(truth, "reject"))
    orphans = Counter(p for (p, _), reason in planted(truth, "load").items() if reason == "orphan_line")
    rows, bad, lines, lost = Counter(), Counter(), Counter(), Counter()
    by_day = defaultdict(list)
    for d in deliveries:
        by_day[d.day].append(d)
    for day in sorted(by_day):
        for d in by_day[day]:
            rows[d.source] += len(d.rows)
            bad[d.source] += rejected[d.path]
            if d.feed == "order_lines":
                lines[d.source] += len(d.rows)
                lost[d.source] += orphans[d.path]
        for source in rows:
            assert bad[source] <= 0.006 * rows[source], (day, source)
            assert lost[source] <= 0.0005 * lines[source], (day, source)


def test_file_counts_are_the_counts_of_the_files(sample, deliveries, totals):
    counts = defaultdict(Counter)
    repeated = Counter()
    seen = set()
    for d in deliveries:
        content = (d.source, d.feed, (sample / d.path).read_bytes())
        repeated[f"{d.source}/{d.feed}"] += content in seen
        seen.add(content)
        verdicts = Counter(
            "duplicates" if v == "duplicate" else "rejected" if v else "loaded" for v in d.verdicts
        )
        counts[f"{d.source}/{d.feed}"] += Counter({"files": 1, "records": len(d.rows)}) + verdicts
    for scope, expected in totals["files"].items():
        got = {k: counts[scope][k] for k in ("files", "records", "rejected", "duplicates", "loaded")}
        assert got == {k: expected[k] for k in got}, scope
        assert repeated[scope] == expected["files_repeated"], scope
    assert set(counts) == set(totals["files"])


def test_the_books_agree_with_the_files_order_by_order(deliveries, truth):
    final = {}
    for _, row in accepted(deliveries, "orders"):
        row = row | {"updated_at": convert("ts", row["updated_at"])}
        if row["order_id"] not in final or row["updated_at"] > final[row["order_id"]]["updated_at"]:
            final[row["order_id"]] = row
    gross = Counter()
    for _, row in accepted(deliveries, "order_lines"):
        gross[row["order_id"]] += Decimal(str(row["qty"])) * Decimal(str(row["unit_price_paid"]))
    monitor = {o for o in final if o.startswith("AM")}
    books = {r["order_id"]: r for r in truth("orders").to_pylist()}
    told = {r["order_id"] for r in truth("guest_contacts").to_pylist() if r["joins_id"]}
    assert set(final) == set(books) | monitor
    for order_id, book in books.items():
        row = final[order_id]
        assert row["status"] == book["final_status"], order_id
        assert row["source_customer_id"] == book["source_customer_id"], order_id
        assert gross[order_id] == book["gross"], order_id
        assert Decimal(str(row["order_discount"])) == book["order_discount"], order_id
        paid = row["paid_at"] and convert("ts", row["paid_at"]).date()
        assert paid == book["paid_on"], order_id
        if book["is_valid"]:
            assert row["status"] in PAID_STATES and paid
            assert row["source_customer_id"] or order_id in told, order_id


def test_totals_are_the_sums_of_the_books(truth, totals):
    books = [r for r in truth("orders").to_pylist() if r["is_valid"]]
    for source, total in totals["sales"].items():
        mine = [r for r in books if r["source"] == source]
        assert total["valid_orders"] == len(mine)
        assert Decimal(total["valid_gross"]) == sum(r["gross"] for r in mine)
        assert Decimal(total["valid_order_discount"]) == sum(r["order_discount"] for r in mine)
        net = Decimal(total["valid_gross"]) - Decimal(total["valid_order_discount"])
        assert Decimal(total["valid_sales_without_tax"]) < net
    returns = [r for r in truth("returns").to_pylist() if r["order_is_valid"]]
    expected = sum(Decimal(t["refunds_of_valid_orders"]) for t in totals["sales"].values())
    assert sum(r["refund"] for r in returns) == expected


def test_a_refund_never_exceeds_what_was_paid_and_comes_after_it(truth):
    books = {r["order_id"]: r for r in truth("orders").to_pylist()}
    back = Counter()
    for r in truth("returns").to_pylist():
        back[r["order_id"]] += r["refund"]
        assert r["booked_on"] >= books[r["order_id"]]["paid_on"]
    for order_id, refund in back.items():
        assert refund <= books[order_id]["gross"] - books[order_id]["order_discount"], order_id


def test_some_returns_name_their_order_and_some_name_nothing(deliveries, truth):
    named = {
        r["return_id"]: (r["order_id"] is not None, r["line_no"] is not None)
        for _, r in accepted(deliveries, "returns")
    }
    expected = {"order_and_line": (True, True), "order": (True, False), "nothing": (False, False)}
    for r in truth("returns").to_pylist():
        assert named[r["return_id"]] == expected[r["names"]]
    assert len(set(named.values())) == 3


def test_every_customer_id_in_the_files_belongs_to_a_known_person(deliveries, truth):
    known = {(r["source"], r["source_customer_id"]) for r in truth("persons").to_pylist()}
    for feed in ("customers", "orders", "returns", "consents", "web_sessions", "tickets", "survey_responses"):
        for source, row in accepted(deliveries, feed):
            if row["source_customer_id"] is not None:
                assert (source, row["source_customer_id"]) in known, (feed, row["source_customer_id"])


def test_accounts_of_one_person_share_a_phone_in_different_spellings(deliveries, truth):
    person = {(r["source"], r["source_customer_id"]): r["person_id"] for r in truth("persons").to_pylist()}
    spellings, digits = defaultdict(set), defaultdict(set)
    for source, row in accepted(deliveries, "customers"):
        if row.get("phone") and "*" not in row["phone"]:
            who = person[source, row["source_customer_id"]]
            spellings[who].add(row["phone"])
            digits[who].add(re.sub(r"\D", "", row["phone"])[-11:])
    assert all(len(d) == 1 for d in digits.values())
    assert sum(len(s) > 1 for s in spellings.values()) > 50
    owners = Counter(next(iter(d)) for d in digits.values())
    assert any(n > 1 for n in owners.values()), "households share phones: the matcher must not merge them"


def test_a_guest_contact_tells_whose_an_order_is_only_where_the_files_say_so(deliveries, truth):
    """C-22 worked out from the delivered rows alone: consent, one owner of all contacts, no other name."""
    person = {(r["source"], r["source_customer_id"]): r["person_id"] for r in truth("persons").to_pylist()}
    guests = {r["order_id"] for _, r in accepted(deliveries, "orders") if r["source_customer_id"] is None}
    held, names = defaultdict(set), defaultdict(set)
    newest = {}
    for source, row in accepted(deliveries, "customers"):
        newest[source, row["source_customer_id"]] = row
    for account, row in newest.items():
        digits = re.sub(r"\D", "", row.get("phone") or "") if "*" not in (row.get("phone") or "*") else ""
        for contact in (digits[-11:], (row.get("email") or "").strip().lower()):
            held[contact].add(person[account])
        names[person[account]].add(row["name"])
    latest = {}
    for _, row in accepted(deliveries, "guest_contacts", "store_pos"):
        if row["order_id"] not in latest or row["updated_at"] > latest[row["order_id"]]["updated_at"]:
            latest[row["order_id"]] = row
    found, placeholders = {}, {"13800000000", "test@test.com"}
    for order_id, row in latest.items():
        phone = re.sub(r"\D", "", row["phone"])[-11:] if "*" not in row["phone"] else ""
        contacts = {phone, (row["email"] or "").strip().lower()} - {""} - placeholders
        owners = [held[c] for c in contacts if held[c]]
        both = set.intersection(*owners) if owners else set()
        only = next(iter(both)) if len(both) == 1 and row["is_consented"] == "true" else None
        found[order_id] = only if only and row["name"] in (None, *names[only]) else None
    books = truth("guest_contacts").to_pylist()
    assert found == {r["order_id"]: r["joins_id"] for r in books}
    assert set(found) <= guests
    kinds = {r["kind"] for r in books}
    assert kinds == {"own", "refused", "silent", "withdrawn", "masked", "placeholder", "borrowed"}
    joined = [r for r in books if r["joins_id"]]
    assert len(joined) > 20 and {r["kind"] for r in joined} <= {"own", "borrowed"}
    assert all(r["joins_id"] == r["buyer_id"] for r in joined if r["kind"] == "own")


def test_consent_states_follow_from_the_delivered_events(deliveries, truth):
    latest = {}
    for source, row in accepted(deliveries, "consents"):
        key = (source, row["source_customer_id"], row["purpose"], row["channel"])
        at = convert("ts", row["at"])
        if key not in latest or at >= latest[key][0]:
            latest[key] = (at, row["action"])
    expected = {tuple(list(r.values())[:4]): r["action"] for r in truth("consent_states").to_pylist()}
    assert {k: v[1] for k, v in latest.items()} == expected


def test_nps_totals_are_the_answers_that_load(deliveries, totals):
    found = defaultdict(Counter)
    for _, row in accepted(deliveries, "survey_responses"):
        if row["question_id"] == "NPS":
            score = int(row["score"])
            kind = "promoters" if score >= 9 else "detractors" if score <= 6 else "passives"
            found[row["survey_id"].removeprefix("NPS-")][kind] += 1
    for wave, counts in totals["nps"].items():
        assert {k: found[wave][k] for k in counts} == counts


def test_the_study_says_in_its_files_what_its_books_say(deliveries, truth):
    """Every answer once, of the person who gave it, on the scale of its quarter."""
    person = {
        r["source_customer_id"]: r["person_id"]
        for r in truth("persons").to_pylist()
        if r["source"] == "research"
    }
    scale = {
        (row["survey_id"], row["question_id"]): (row["scale_min"], row["scale_max"])
        for _, row in accepted(deliveries, "surveys", "research")
    }
    found = []
    for _, row in accepted(deliveries, "survey_responses", "research"):
        low, high = scale[row["survey_id"], row["question_id"]]
        score = row["score"] and int(row["score"])
        assert (score is None) == (low is None)
        assert score is None or int(low) <= score <= int(high)
        answered = convert("ts", row["answered_at"]).date()
        found.append(
            (
                row["response_id"],
                row["question_id"],
                person[row["source_customer_id"]],
                answered,
                score,
                row["option"],
            )
        )
    books = [tuple(r.values()) for r in truth("study").to_pylist()]
    assert sorted(found, key=str) == sorted(books, key=str)
    assert len(scale) == len({key[0] for key in scale}) * 2 >= 4
    assert {row[5] for row in found if row[1].startswith("INTENT")} == {None, "doubt", "price", "no_need"}
    assert any("|" in (row[5] or "") for row in found), "somebody has two motives"


def test_business_customers_are_delivered_as_their_books_have_them(deliveries, truth):
    latest = {}
    for d in deliveries:
        if d.feed == "accounts":
            latest |= {row["source_account_id"]: row for row in d.accepted()}
    books = {r["source_account_id"]: r for r in truth("accounts").to_pylist()}
    assert set(latest) == set(books)
    roles = defaultdict(set)
    last = {}
    for d in deliveries:
        if d.feed == "account_contacts":
            last |= {row["contact_id"]: row for row in d.accepted()}
    for row in last.values():
        if row["valid_to"] is None:
            roles[row["source_account_id"]].add(row["role"])
    for account, book in books.items():
        assert latest[account]["owner_employee_id"] == book["owner"]
        assert "|".join(sorted(roles[account] - {"other"})) == book["live_roles"]
    assert any(book["subsidiaries_n"] > 0 for book in books.values())
    assert any(row["valid_to"] for row in last.values()), "somebody left"
