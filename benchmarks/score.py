"""`strata score` beside peers that score the same order lines, each a process of its own, runs interleaved.

    python -m benchmarks.score --rows 10000000 [--runs 3] [--form parquet|csv] [--peers …] [--peer-python …/bin/python] [--json FILE]

| system | what runs |
|---|---|
| ours | `strata score FILE … --preset rf25 --out OUT`: bad rows counted, cut points frozen, exact money, ids as given |
| pandas | the same scores in pandas 3, vectorised: read, group, quantiles, grid, write; floats for money |
| duckdb | the same in one hand-written DuckDB query on doubles, without any check |
| ntile | what RFM packages on DuckDB do, by hand: one group by, three `ntile(5)`; equal values part |
| openretailscience | `openretailscience_peer.py`: the package itself, in the environment of `--peer-python`; skipped loudly where that has none |

The as-of date is the first of a month, so that cut points are those of that day for every system. `ours` must equal `pandas` and
`duckdb` in every score and segment, or the exit code is 1. `ntile` and `openretailscience` are timed and not compared,
because their scores are others by design: how many customers get another score than somebody with the same value is
printed. `score_over_openretailscience` is the ratio of CPU seconds, which stands when others load the machine.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
from pathlib import Path

import duckdb

from benchmarks.measure import Sample, measure
from benchmarks.peers import SCORER as PACKAGE
from benchmarks.peers import missing

AS_OF = "2026-01-01"
# Three lines an order, ten lines a customer on average; a heavy tail, returns, and ids as shops write them.
LINES = """
select
    'C-' || lpad((floor(pow(hash(i // 3) % 1000003 / 1000003.0, 1.6) * {customers}))::bigint::varchar, 9, '0') as customer,
    'O-' || lpad((i // 3)::varchar, 10, '0') as order_no,
    date '2026-01-01' - (1 + hash(i // 3 + 7) % 700)::int as ordered_on,
    (case when hash(i // 3 + 3) % 25 = 0 then -1 else 1 end
        * ((hash(i + 1) % 40000)::bigint + 100))::decimal(18, 2) / 100 as amount
from range({rows}) as t (i)
"""
GRID = ["HHRRC", "HHRRC", "SSNLL", "PQQLL", "WQQGG"]
NAMES = {
    "H": "hibernating", "R": "at_risk", "C": "cant_lose", "S": "about_to_sleep", "N": "need_attention",
    "L": "loyal", "P": "promising", "Q": "potential_loyalist", "W": "new", "G": "champions",
}  # fmt: skip


def prepare(folder: Path, rows: int, form: str) -> Path:
    """The order file."""
    path = folder / f"orders.{form}"
    lines = LINES.format(rows=rows, customers=rows // 10)
    written = "format csv, header" if form == "csv" else "format parquet"
    amount = "amount::decimal(18, 2) as amount"
    duckdb.sql(f"copy (select * replace ({amount}) from ({lines})) to '{path}' ({written})")
    return path


def from_landing(landing: Path, path: Path) -> int:
    """The sold lines of a generated landing (data.py) as an order file at `path`; its lines. Lines of nobody, of
    orders that were not paid and of no sale are left out: an order file has none."""
    folder = str(landing / "bench").replace("'", "''")
    target = str(path).replace("'", "''")
    duckdb.sql(
        f"""copy (
        with orders as (
            select order_id, any_value(source_customer_id) as customer,
                any_value((ordered_at at time zone 'Asia/Shanghai')::date) as ordered_on
            from '{folder}/orders/*.parquet' where status in ('paid', 'shipped', 'completed') group by order_id
        )
        select customer, order_id as order_no, ordered_on, (qty * unit_price_paid)::decimal(18, 2) as amount
        from '{folder}/order_lines/*.parquet' join orders using (order_id)
        where customer is not null and qty > 0 and unit_price_paid >= 0
        ) to '{target}' (format parquet)"""
    )
    return duckdb.sql(f"select count(*) from '{target}'").fetchone()[0]


def run_pandas(file: Path, out: Path) -> None:
    """Scores as a good pandas user writes them."""
    import numpy as np
    import pandas as pd

    columns = ["customer", "ordered_on", "amount"]
    if file.suffix == ".csv":
        orders = pd.read_csv(file, usecols=columns, dtype={"customer": "str"}, parse_dates=["ordered_on"])
    else:
        orders = pd.read_parquet(file, columns=columns)
        orders["ordered_on"] = pd.to_datetime(orders["ordered_on"])
        orders["amount"] = orders["amount"].astype("float64")
    end = pd.Timestamp(AS_OF)
    start = end - pd.Timedelta(days=365)
    bought = orders[orders["amount"] >= 0].drop_duplicates(["customer", "ordered_on"])
    facts = pd.DataFrame(index=pd.Index(orders["customer"].unique(), name="customer_id"))
    facts["recency_days"] = (end - bought.groupby("customer")["ordered_on"].max()).dt.days
    inside = bought[bought["ordered_on"] >= start]
    facts["frequency"] = inside.groupby("customer").size()
    moved = orders[orders["ordered_on"] >= start]
    facts["monetary"] = moved.groupby("customer")["amount"].sum().round(4)
    facts[["frequency", "monetary"]] = facts[["frequency", "monetary"]].fillna(0)
    buyers = facts[facts["frequency"] > 0]

    def score(values: pd.Series) -> np.ndarray:
        x = values.to_numpy(dtype=float)
        return 1 + np.searchsorted(np.quantile(x, [0.2, 0.4, 0.6, 0.8]).round(8), x, side="left")

    r, f = score(-buyers["recency_days"]), score(buyers["frequency"])
    m = np.where(buyers["monetary"] <= 0, 1, score(buyers["monetary"]))
    grid = np.array([[NAMES[c] for c in line] for line in GRID], dtype=object)
    scores = pd.DataFrame(
        {"r_score": r, "f_score": f, "m_score": m, "segment": grid[r - 1, f - 1]}, buyers.index
    )
    result = facts.join(scores)
    result["segment"] = result["segment"].where(
        result["segment"].notna(), np.where(result["recency_days"].isna(), "prospects", "lapsed")
    )
    result.sort_index().reset_index().to_parquet(out)


def _source(file: Path) -> str:
    return f"read_{'csv' if file.suffix == '.csv' else 'parquet'}('{file}')"


FACTS = """
    select customer as customer_id, date '{d}' - max(ordered_on) filter (amount >= 0) as recency_days,
        count(distinct case when amount >= 0 and ordered_on >= date '{d}' - 365 then ordered_on end) as frequency,
        coalesce(round(sum(amount::double) filter (ordered_on >= date '{d}' - 365), 4), 0) as monetary
    from {source} group by customer
"""


def run_duckdb(file: Path, out: Path) -> None:
    """One query, on doubles."""
    grid = " ".join(
        f"when r_score = {r} and f_score = {f} then '{NAMES[c]}'"
        for r, line in enumerate(GRID, 1)
        for f, c in enumerate(line, 1)
    )

    def score(value: str, cuts: str) -> str:
        return "1 + " + " + ".join(f"({value} > round({cuts}[{k}], 8))::int" for k in range(1, 5))

    shares = "[0.2, 0.4, 0.6, 0.8]"
    duckdb.sql(
        f"""copy (
        with facts as ({FACTS.format(d=AS_OF, source=_source(file))}),
        cuts as (
            select quantile_cont(-recency_days::double, {shares}) as r, quantile_cont(frequency::double, {shares}) as f,
                quantile_cont(monetary, {shares}) as m from facts where frequency > 0
        ),
        scores as (
            select facts.*, case when frequency > 0 then {score("-recency_days", "r")} end as r_score,
                case when frequency > 0 then {score("frequency", "f")} end as f_score,
                case when frequency > 0 then case when monetary <= 0 then 1 else {score("monetary", "m")} end end as m_score
            from facts, cuts
        )
        select *, case {grid} when recency_days is null then 'prospects' else 'lapsed' end as segment
        from scores order by customer_id) to '{out}' (format parquet)"""
    )


def run_ntile(file: Path, out: Path) -> None:
    """Equal values part where the fifth ends: what `ntile` does."""
    duckdb.sql(
        f"""copy (
        with facts as (from ({FACTS.format(d=AS_OF, source=_source(file))}) where frequency > 0)
        select *, ntile(5) over (order by recency_days desc) as r_score, ntile(5) over (order by frequency) as f_score,
            ntile(5) over (order by monetary) as m_score
        from facts) to '{out}' (format parquet)"""
    )


PEERS = {"pandas": run_pandas, "duckdb": run_duckdb, "ntile": run_ntile}
# Those that give the scores of rf25.
SAME = ("pandas", "duckdb")
_SCRIPT = Path(__file__).with_name("openretailscience_peer.py")


def command(system: str, file: Path, out: Path, peer_python: str = sys.executable) -> list[str]:
    if system == PACKAGE:
        return [peer_python, str(_SCRIPT), str(file), str(out), AS_OF]
    if system != "ours":
        return [sys.executable, "-m", "benchmarks.score", "--one", system, str(file), str(out)]
    named = ["--customer", "customer", "--date", "ordered_on", "--amount", "amount", "--as-of", AS_OF]
    return [sys.executable, "-m", "pipeline.cli", "score", str(file), *named, "--out", str(out), "--json"]


def differences(ours: Path, theirs: Path) -> int:
    """Customers whose row differs in a score, the segment or, to the cent, the money."""
    columns = "customer_id, recency_days::int, frequency::int, round(monetary, 2)::decimal(18, 2), r_score::int, f_score::int, m_score::int, segment"
    row = duckdb.sql(
        f"select count(*) from (select {columns} from '{ours}' except all select {columns} from '{theirs}')"
    ).fetchone()
    return int(row[0]) if row else 0


def unequal(ours: Path, theirs: Path) -> list[str]:
    """What shows that one of both read other rows: their scores differ by design, their customers must not."""
    (only,) = duckdb.sql(
        f"""select count(*) from (from '{ours}' select customer_id) o
        full join (from '{theirs}' select customer_id) t using (customer_id)
        where o.customer_id is null or t.customer_id is null"""
    ).fetchone()
    return [f"customers in the result of one only: {only}"] if only else []


def parted(out: Path, value: str = "frequency", score: str = "f_score") -> int:
    """Customers who share a value with somebody of another score."""
    row = duckdb.sql(
        f"select coalesce(sum(n), 0) from (select count(*) as n from '{out}' where {score} is not null "
        f"group by {value} having min({score}) <> max({score}))"
    ).fetchone()
    return int(row[0]) if row else 0


MEASURES = {"recency_days": "r_score", "frequency": "f_score", "monetary": "m_score"}


def compare(
    folder: Path, rows: int, runs: int, form: str, peers: list[str], peer_python: str
) -> dict[str, object]:
    """Run every system `runs` times, interleaved; print medians and the ratios of ours to each."""
    file = prepare(folder, rows, form)
    systems, skipped = ["ours", *peers], None
    if PACKAGE in peers and (skipped := missing(PACKAGE, peer_python)):
        print(f"SKIPPED: {skipped}", file=sys.stderr)
        systems.remove(PACKAGE)
    samples: dict[str, list[Sample]] = {system: [] for system in systems}
    outs = {system: folder / f"{system}.parquet" for system in systems}
    for number in range(runs):
        # A fixed order would always give the same system the file cache that the one before it has filled.
        shift = number % len(systems)
        for system in systems[shift:] + systems[:shift]:
            asked = command(system, file, outs[system], peer_python)
            samples[system].append(measure(asked, folder / system))
    differing = {peer: differences(outs["ours"], outs[peer]) for peer in SAME if peer in systems}
    found = {
        system: {
            "wall_s": statistics.median(s.wall_s for s in taken),
            "cpu_s": statistics.median(s.cpu_s for s in taken),
            "peak_mb": max(s.peak_mb for s in taken),
        }
        for system, taken in samples.items()
    }
    print(
        f"{rows:,} order lines ({form}, {file.stat().st_size / 1e6:.0f} MB), {runs} runs, {os.cpu_count()} cores"
    )
    print(f"{'system':<18}{'wall s':>9}{'CPU s':>9}{'peak MB':>9}   ours ÷ it: wall, CPU, memory")
    for system, got in found.items():
        ratios = "  ".join(f"{found['ours'][key] / got[key]:.2f}" for key in got)
        print(f"{system:<18}{got['wall_s']:>9.2f}{got['cpu_s']:>9.2f}{got['peak_mb']:>9.0f}   {ratios}")
    print(f"customers that differ from ours: {differing}")
    split = {
        system: {value: parted(outs[system], value, score) for value, score in MEASURES.items()}
        for system in systems
        if system not in SAME
    }
    for system, parts in split.items():
        told = ", ".join(f"{value} {n:,}" for value, n in parts.items())
        print(f"customers whose equal has another score, {system}: {told}")
    ratio = found["ours"]["cpu_s"] / found[PACKAGE]["cpu_s"] if PACKAGE in found else None
    print(f"score_over_openretailscience: {'not measured' if ratio is None else f'{ratio:.2f}'}")
    return {
        "rows": rows,
        "form": form,
        "runs": runs,
        "systems": found,
        "differing": differing,
        "parted": split,
        "score_over_openretailscience": ratio,
        "skipped": skipped,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--form", choices=["parquet", "csv"], default="parquet")
    parser.add_argument("--peers", nargs="*", choices=[*PEERS, PACKAGE], default=[*PEERS, PACKAGE])
    parser.add_argument("--peer-python", default=sys.executable, help=f"interpreter that has {PACKAGE}")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--one", nargs=3, metavar=("SYSTEM", "FILE", "OUT"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        PEERS[given.one[0]](Path(given.one[1]), Path(given.one[2]))
        return
    with tempfile.TemporaryDirectory() as folder:
        result = compare(Path(folder), given.rows, given.runs, given.form, given.peers, given.peer_python)
    if given.json:
        given.json.parent.mkdir(parents=True, exist_ok=True)
        given.json.write_text(json.dumps(result, indent=1))
    if any(result["differing"].values()) or any(result["parted"]["ours"].values()):
        sys.exit(1)


if __name__ == "__main__":
    main()
