"""RFM by openretailscience: Ibis on DuckDB, one group by and three `ntile(5)`, all history, orders counted.

    PEER_PYTHON benchmarks/openretailscience_peer.py FILE OUT AS_OF

Runs in an environment of its own (`pip install openretailscience`), so nothing of ours is imported. Like our own
command it reads the file, scores and writes Parquet; nothing goes through pandas, which would cost it more.
"""

import sys

import ibis
from openretailscience.segmentation.rfm import RFMSegmentation


def main(file: str, out: str, as_of: str) -> None:
    con = ibis.duckdb.connect()
    orders = con.read_csv(file) if file.endswith(".csv") else con.read_parquet(file)
    orders = orders.rename(
        customer_id="customer", transaction_id="order_no", transaction_date="ordered_on", unit_spend="amount"
    )
    scored = RFMSegmentation(orders, as_of, r_segments=5, f_segments=5, m_segments=5)
    scored.table.to_parquet(out)


if __name__ == "__main__":
    main(*sys.argv[1:])
