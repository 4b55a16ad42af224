"""A person withdraws: at the desk, out of the current release at once and nothing else of it changes; by a message."""

import csv
import json
from datetime import date, timedelta
from pathlib import Path

import duckdb
import pyarrow.parquet as pq

from tests.job.conftest import Line, failed
from tests.job.test_audiences import policy


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


def test_who_unsubscribes_or_complains_is_addressed_by_that_channel_no_more(
    company_copy: Line, tmp_path: Path
) -> None:
    """The tool that sends says so in its messages and no consent of the CRM does; other channels stay."""
    channels = {"unsubscribed_at": "sms", "complained_at": "email"}
    seeds = policy(
        tmp_path / "seeds", *(f"by_{c}|all|{c}|csv|{n}|0" for n, c in enumerate(channels.values(), 1))
    )
    sent = _exported(company_copy, seeds, "full")
    assert company_copy.strata("audiences", "ack", "csv")[0] == 0
    both = ", ".join(f"'{key}'" for key in sent["sms"].keys() & sent["email"].keys())
    # Each is addressed by both, so that the one that stays shows that no more than one was withdrawn.
    people = company_copy.query(
        "select any_value(links.source_customer_id), links.customer_key from core.dim_identity_links as links "
        "where links.source = 'crm' and links.valid_to is null "
        f"and customer_key in ({both}) group by links.customer_key order by 2 limit 2"
    )
    removes = {
        channel: {key: {"sms": "unsubscribed", "email": "complained"}[channel]}
        for channel, (_, key) in zip(channels.values(), people, strict=True)
    }
    file = max((company_copy.landing / "outreach" / "messages").glob("*"), key=lambda p: p.name)
    text = file.read_text(encoding="utf-8")
    header, *_, last = csv.reader(text.splitlines())
    row = dict(zip(header, last, strict=True))
    with file.open("a", encoding="utf-8", newline="") as out:
        for at, (card, _) in zip(channels, people, strict=True):
            said = {"message_id": f"left-{at}", "source_customer_id": card, "channel": channels[at]}
            states = {name: "" for name in header if name.endswith("_at") or name == "bounce_type"}
            # Sent so long ago that it adds nothing to the pressure.
            sent_at = f"{date.fromisoformat(file.stem) - timedelta(days=40)} 09:00:00"
            times = {"sent_at": sent_at, "updated_at": row["updated_at"], at: row["updated_at"]}
            line = row | states | said | times
            csv.writer(out, lineterminator="\n").writerow([line[name] for name in header])
    # A run that a gate stops has taken the messages in: no build has read them, and who is exported must.
    broken = max((company_copy.landing / "app" / "orders").glob("*"), key=lambda p: p.name)
    whole = broken.read_bytes()
    broken.write_bytes(b"")
    assert company_copy.run()[0] == 2
    assert _exported(company_copy, seeds, "removes") == removes
    broken.write_bytes(whole)
    code, answer, errors = company_copy.run()
    assert code == 0, (failed(answer), errors[-2000:])
    # Nobody acknowledged these removes, so they are told again; now from the build.
    assert _exported(company_copy, seeds, "removes") == removes
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
        word = {"sms": "unsubscribe", "email": "complaint"}[channel]
        assert states == [(False, word)]
        told = company_copy.strata("explain", key)[1]
        assert told["contact"]["refused_channels"].split("|").count(f"{channel}:{word}") == 1
        shown = "".join(p.read_text() for p in (company_copy.release / "customers").glob("*.js"))
        assert f'"r":"{told["contact"]["refused_channels"]}"' in _line_of(shown, key)
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


def _exported(line: Line, seeds: Path, kind: str) -> dict[str, dict[str, str]]:
    """customer_key → reason by channel, of one kind of the files that an export writes."""
    code, done, errors = line.strata("audiences", "export", "--seeds", str(seeds), "--approved-by", "Li")
    assert code == 0, errors
    found: dict[str, dict[str, str]] = {}
    # The seeds' own audiences, which the run has exported, end here.
    for one in (d for d in done["deliveries"] if d["status"] == "written"):
        place = Path(done["folder"]) / one["destination"] / one["audience"]
        found[one["channel"]] = {
            row["customer_key"]: row.get("reason", "")
            for file in one["files"]
            if file["kind"] == kind
            for row in csv.DictReader((place / file["name"]).read_text(encoding="utf-8").splitlines())
        }
    return found


def _line_of(shards: str, key: str) -> str:
    (line,) = (line for line in shards.splitlines() if line.startswith(f'"{key}"'))
    return line
