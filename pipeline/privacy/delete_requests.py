"""Delete requests (R43) in the deliveries in force. A request whose person is erased has left raw with them."""

from dataclasses import dataclass
from datetime import date

import pyarrow as pa

from pipeline import duck
from pipeline.duck import literal
from pipeline.ingest import ledger
from pipeline.settings import Settings


@dataclass(frozen=True)
class DeleteRequest:
    """One request to be erased; `due_on` is None where the source sets no date."""

    request_id: str
    source: str
    source_customer_id: str
    received_on: date
    due_on: date | None


def open_delete_requests(settings: Settings, as_of: date) -> list[DeleteRequest]:
    """Requests of kind delete that are in force for `as_of`, by id; the newest state of each counts."""
    entries = [e for e in ledger.in_force(ledger.read(settings), as_of) if e.status == "loaded"]
    files = sorted(str(p) for p in settings.raw.glob("[!_]*/dsr/*/*/*.parquet"))
    if not files:
        return []
    listed = ", ".join(literal(f) for f in files)
    with duck.connect([settings.raw]) as con:
        con.register(
            "in_force",
            pa.table(
                {
                    "_delivery": pa.array([e.delivery for e in entries], pa.string()),
                    "source": pa.array([e.source for e in entries], pa.string()),
                }
            ),
        )
        rows = con.execute(
            f"""
            select request_id, source, source_customer_id, cast(received_at as date), cast(due_at as date)
            from read_parquet([{listed}], union_by_name = true, hive_partitioning = false)
            join in_force using (_delivery)
            qualify row_number() over (
                partition by source, request_id order by updated_at desc nulls last, _delivery desc, _row desc
            ) = 1 and kind = 'delete'
            order by all
            """
        ).fetchall()
    return [DeleteRequest(*row) for row in rows]
