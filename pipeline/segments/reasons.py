"""Why everybody is in her classes, told from a release alone.

A release keeps the sentences of people who may be addressed (`audiences.segment_membership`). The figures of all others are
in its class marts, so the views that give the build its reasons are asked of the files of the release.
"""

from datetime import date
from pathlib import Path

from pipeline.duck import literal
from pipeline.score import sql

_FAMILY = "int_class_reasons_"


def released(tables: Path, as_of: date) -> str:
    """SELECT of `customer_key, scheme, class, is_inferred, reason_code, value_1 … value_5`, custom segments apart.

    Args:
        tables: folder of the release's tables; a release of another layout makes the query fail in DuckDB.
        as_of: its D, whose thresholds the sentences name.
    """

    def ref(name: str) -> str:
        if name.startswith(_FAMILY):
            return f"(\n{sql.model(f'intermediate/{name}.sql', ref)}\n)"
        if name == "int_run_policy":
            return (
                f"(select * from {file('class_bounds')} where as_of_date = date {literal(as_of.isoformat())})"
            )
        if name == "int_customers_unrated":
            return (
                "(select customer_key, behaviour_unrated_orders as orders_n, behaviour_unrated_currency as currency "
                f"from {file('customer_360')} where behaviour_unrated_orders > 0)"
            )
        return file(name)

    def file(name: str) -> str:
        path = tables / "segments" / f"{name}.parquet"
        return f"read_parquet({literal(str(path))}, hive_partitioning = false)"

    return sql.model(f"intermediate/{_FAMILY}standard.sql", ref)
