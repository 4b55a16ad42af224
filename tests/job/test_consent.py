"""A person withdraws at the desk: out of the current release at once, and nothing else of it changes."""

import pyarrow.parquet as pq

from tests.job.conftest import Line


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
