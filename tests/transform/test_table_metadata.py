"""What the build tells Dagster of its tables: numbers, which its UI draws over the runs."""

import duckdb

from pipeline.settings import Settings
from pipeline.transform.dbt import _table_metadata


def test_rows_and_the_shares_of_its_own_classes_stand_at_a_table(settings: Settings) -> None:
    settings.warehouse.parent.mkdir(parents=True)
    with duckdb.connect(str(settings.warehouse)) as con:
        for sql in (
            "create schema audiences",
            "create schema segments",
            "create table audiences.segment_summary as from (values ('rfm', 'new', 0.25), ('rfm', 'few', null), "
            "('abc', 'A', 0.5), ('custom:mine', 'member', 0.125)) t (scheme, class, share)",
            "create table segments.customer_rfm as select i as customer_key from range(4) t (i)",
            "create view segments.no_table as select 1 as one",
        ):
            con.execute(sql)
    keys = [("audiences", "segment_summary"), ("segments", "customer_rfm"), ("segments", "no_table")]
    found = _table_metadata(settings, keys)
    shares = {key: {k: v for k, v in told.items() if k.startswith("share ")} for key, told in found.items()}
    assert shares == {
        keys[0]: {"share rfm: new": 0.25, "share abc: A": 0.5, "share custom:mine: member": 0.125},
        keys[1]: {"share rfm: new": 0.25},
        keys[2]: {},
    }, "a share that is hidden is told nowhere, and a class mart tells of its own scheme alone"
    assert (found[keys[0]]["dagster/row_count"], found[keys[1]]["dagster/row_count"]) == (4, 4)
    assert "dagster/row_count" not in found[keys[2]] and "dagster/column_schema" in found[keys[2]]
