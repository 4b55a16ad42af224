"""A person withdraws: at the desk, out of the current release at once and nothing else of it changes; by a message."""

import csv
import json
from pathlib import Path

import duckdb
import pyarrow.parquet as pq

from tests.job.conftest import Line, failed


def test_an_urgent_withdrawal_is_published_without_a_build(company_copy: Line) -> None:
    ((source, customer, key),) = company_copy.query(
        "select source, source_customer_id, customer_key from core.dim_identity_links where customer_key in "
        "(select customer_key from audiences.segment_membership) order by all limit 1"
    )
    before, folder = company_copy.manifest(), company_copy.release
    code, answer, _ = company_copy.strata(
        "consent", "withdraw", "--source", source, "--customer", customer, "--urgent", "--by", "Wang"
    )
    after = company_copy.manifest()
    assert code == 0 and answer["republished"]["release"] == after["release"] == f"{before['as_of_date']}-r2"
    gone = 0
    for schema in ("segments", "audiences"):
        for path in (company_copy.release / "tables" / schema).glob("*.parquet"):
            old = pq.read_table(folder / path.relative_to(company_copy.release))
            if "customer_key" in old.schema.names:
                kept = [row for row in old.to_pylist() if row["customer_key"] != key]
                gone += old.num_rows - len(kept)
                assert pq.read_table(path).to_pylist() == kept, path.name
            else:
                assert pq.read_table(path).equals(old), path.name
    held, left = (
        "".join(p.read_text() for p in sorted((f / "customers").glob("*.js")))
        for f in (folder, company_copy.release)
    )
    assert key in held and key not in left, "the page of the new release cannot show the person"
    assert left.count('"c":[[') == held.count('"c":[[') - 1 == after["customers"]["customers"]
    assert gone >= 8, "a row in every class table and in every scheme"
    assert (
        after["withheld"]["persons"] == 1
        and after["withheld"]["rows"] == answer["republished"]["rows"] == gone
    )
    checks = {c["check"]: c["passed"] for c in after["checks"] if c.get("gate") == "Q-17"}
    assert checks["withdrawal_latency"] and company_copy.strata("releases", "verify")[0] == 0
    # Once more, and there is nothing to publish.
    code, answer, _ = company_copy.strata(
        "consent", "withdraw", "--source", source, "--customer", customer, "--urgent", "--by", "Wang"
    )
    assert code == 0 and answer["republished"]["rows"] == 0
    assert company_copy.manifest()["release"] == after["release"]


def test_who_unsubscribes_or_complains_is_addressed_by_that_channel_no_more(company_copy: Line) -> None:
    """The tool that sends says so in its messages and no consent of the CRM does; other channels stay."""
    channels = {"unsubscribed_at": "sms", "complained_at": "email"}
    # Each has both flags, so that the one that stays shows that no more than one was withdrawn.
    people = company_copy.query(
        "select any_value(links.source_customer_id), links.customer_key from core.dim_identity_links as links "
        "semi join audiences.segment_membership as members on links.customer_key = members.customer_key "
        "and members.consent_sms and members.consent_email "
        "where links.source = 'crm' and links.valid_to is null group by links.customer_key order by 2 limit 2"
    )
    file = max((company_copy.landing / "outreach" / "messages").glob("*"), key=lambda p: p.name)
    text = file.read_text(encoding="utf-8")
    header, *_, last = csv.reader(text.splitlines())
    row = dict(zip(header, last, strict=True))
    with file.open("a", encoding="utf-8", newline="") as out:
        for at, (card, _) in zip(channels, people, strict=True):
            said = {"message_id": f"left-{at}", "source_customer_id": card, "channel": channels[at]}
            states = {name: "" for name in header if name.endswith("_at") or name == "bounce_type"}
            times = {"sent_at": row["updated_at"], "updated_at": row["updated_at"], at: row["updated_at"]}
            line = row | states | said | times
            # A tool that knows of complaints has the column; the sample's has none.
            csv.writer(out, lineterminator="\n").writerow([line[name] for name in header])
    if "complained_at" not in header:
        _add_column(file, "complained_at", {"left-complained_at": row["updated_at"]})
    code, answer, errors = company_copy.run()
    assert code == 0, (failed(answer), errors[-2000:])
    for (at, channel), (card, key) in zip(channels.items(), people, strict=True):
        flags = company_copy.query(
            "select distinct consent_sms, consent_email from audiences.segment_membership "
            f"where customer_key = '{key}'"
        )
        assert flags == [(channel != "sms", channel != "email")]
        with duckdb.connect(company_copy.home / "warehouse" / "warehouse.duckdb", read_only=True) as con:
            states = con.execute(
                "select is_granted, refused_by from core.fct_consent_states where customer_key = $1 "
                "and purpose = 'marketing' and channel = $2",
                [key, channel],
            ).fetchall()
        assert states == [(False, {"sms": "unsubscribe", "email": "complaint"}[channel])]
        told = company_copy.strata(
            "export-subject",
            "--source",
            "crm",
            "--customer",
            card,
            "--by",
            "Li",
            "--purpose",
            "access request",
        )[1]
        held = json.dumps(told) + "".join(
            p.read_text() for p in (company_copy.home / "vault" / "outbox").rglob("subject.json")
        )
        assert f"left-{at}" in held, "an access request shows the word"


def _add_column(file: Path, name: str, values: dict[str, str]) -> None:
    """A column more in a CSV file, filled for the messages in `values`."""
    header, *rows = csv.reader(file.read_text(encoding="utf-8").splitlines())
    at = header.index("message_id")
    with file.open("w", encoding="utf-8", newline="") as out:
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow([*header, name])
        writer.writerows([*row, values.get(row[at], "")] for row in rows)
