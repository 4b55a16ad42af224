"""How well the product finds who is who, measured against truth, beside its peers.

    python -m benchmarks.identity                                    # public data sets and the sample company
    python -m benchmarks.identity --dataset febrl4 --peers splink --json
    python -m benchmarks.identity --records customers.csv --truth truth.csv
    python -m benchmarks.identity --scale 1000000                    # seconds, not truth: generated people of four sources

What runs is the product: its normalisers, its deterministic matching with the over-merge guard, its second stage, the
policy of today. `stage` is `deterministic`, or `full` with the second stage. Public data sets are looked for in the folder
STRATA_REAL_DATA; what is absent is skipped, and said. With `_with_ssn` the data set keeps `soc_sec_id`, which the
deterministic stage then trusts as it does a union id.

Truth is a file with `source`, `source_customer_id` and `person_id`, such as `_truth/persons.parquet` of the sample.
Pairwise: of all pairs of records in one cluster, and of all pairs of one person. Cluster: of the clusters of two or more
records, those that are a person's records, all of them and nobody else's. Where nothing is claimed, precision is 1.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from benchmarks.identity_data import PUBLIC, Dataset, from_files, people
from benchmarks.identity_peers import PEERS
from pipeline import duck
from pipeline.errors import StrataError
from pipeline.identity import compared, delivered, likely, matching, normalise, probabilistic, rules
from pipeline.ingest import ledger
from pipeline.ingest.contracts import source_of
from pipeline.ingest.vault import Vault
from pipeline.settings import Settings, load

SAMPLE = "sample_company"
SAMPLE_CUSTOMERS, SAMPLE_DAYS, SAMPLE_SEED = 1_500, 200, 7
PERSONAL = ("name", "phone", "email", "address")


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def settings_in(folder: Path) -> Settings:
    """A home of its own below `folder`, whatever the environment says."""
    saved = {k: os.environ.get(k) for k in ("STRATA_HOME", "STRATA_LANDING")}
    os.environ["STRATA_HOME"], os.environ["STRATA_LANDING"] = str(folder / "home"), str(folder / "landing")
    try:
        return load()
    finally:
        for name, value in saved.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def normalised(delivered: pd.DataFrame) -> pd.DataFrame:
    """Records as delivered → as the product has them after ingest, but with clear values in place of tokens."""
    clear = delivered.copy()
    countries = {s: source_of(s).country for s in clear["source"].unique()}
    country = [countries[s] for s in clear["source"]]
    for column in PERSONAL:
        if column in clear:
            spelled = lru_cache(maxsize=200_000)(
                lambda value, of, kind=column: normalise.normalise(kind, value, of)
            )
            clear[column] = [
                spelled(v, c) if isinstance(v, str) else None
                for v, c in zip(clear[column], country, strict=True)
            ]
    if "birth_date" in clear:
        dates = lru_cache(maxsize=200_000)(lambda value: normalise.birth_date(value))
        clear["birth_date"] = pd.Series(
            [dates(v) if isinstance(v, str) else None for v in clear["birth_date"]], dtype=object
        )
    if "unionid" in clear:
        clear["identifier"] = clear["unionid"]
    return clear


def matchable(clear: pd.DataFrame) -> pd.DataFrame:
    """What the deterministic stage compares for equality; clear values do as well as tokens."""
    columns = {"phone": "phone_token", "email": "email_token", "name": "name_token"}
    records = clear.rename(columns={k: v for k, v in columns.items() if k in clear})
    if "first_seen" not in records:
        records["first_seen"] = date(2000, 1, 1)
    return records


@contextmanager
def _timed(seconds: dict[str, float], part: str) -> Iterator[None]:
    """Note the wall and the CPU seconds of a part: on a busy machine only the second says anything."""
    wall, cpu = time.perf_counter(), time.process_time()
    yield
    seconds[part] = round(time.perf_counter() - wall, 2)
    seconds[f"{part}_cpu"] = round(time.process_time() - cpu, 2)


def ours(
    records: pd.DataFrame, clear: pd.DataFrame | None, settings: Settings, day: date
) -> tuple[np.ndarray, dict[str, float]]:
    """(cluster of each record, seconds by part); the full stages where `clear` is given."""
    seconds, pairs = {}, None
    if clear is not None:
        with _timed(seconds, "second_stage"):
            pairs = probabilistic.candidate_pairs(clear, settings, probabilistic.Policy.on(day))
    with _timed(seconds, "cluster"):
        found = matching.cluster(records, rules.load_rules(day), pairs).cluster
    return found, seconds


def _two(n: np.ndarray | pd.Series) -> int:
    """Pairs that groups of the given sizes hold."""
    sizes = np.asarray(n, dtype=np.int64)
    return int((sizes * (sizes - 1) // 2).sum())


def _rates(right: int, found: int, wanted: int) -> dict[str, float]:
    precision = right / found if found else 1.0
    recall = right / wanted if wanted else 1.0
    f1 = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
    return {"precision": round(precision, 6), "recall": round(recall, 6), "f1": round(f1, 6)}


def measured(cluster: np.ndarray, person: np.ndarray) -> dict[str, dict[str, float]]:
    """Pairwise and cluster rates of a clustering against the truth."""
    frame = pd.DataFrame({"cluster": pd.factorize(cluster)[0], "person": pd.factorize(person)[0]})
    both = frame.groupby(["cluster", "person"]).size().rename("n").reset_index()
    found, wanted = frame.groupby("cluster").size(), frame.groupby("person").size()
    both["whole"] = (both["n"] == both["cluster"].map(found)) & (both["n"] == both["person"].map(wanted))
    exact = int((both["whole"] & (both["n"] > 1)).sum())
    of_two, people_of_two = int((found > 1).sum()), int((wanted > 1).sum())
    counts = {
        "clusters": len(found),
        "persons": len(wanted),
        "largest": int(found.max()) if len(found) else 0,
    }
    return {
        "pairwise": _rates(_two(both["n"]), _two(found), _two(wanted))
        | {"pairs": _two(found), "true_pairs": _two(wanted)},
        "cluster": _rates(exact, of_two, people_of_two) | counts,
    }


def sample_company(
    folder: Path, customers: int, days: int, seed: int
) -> tuple[Settings, pd.DataFrame, pd.DataFrame, np.ndarray]:
    """(home, records with tokens as matching reads them, their clear columns, person of each) of the sample company.

    Its customer files go through the product's own ingest and vault.
    """
    from pipeline.ingest.load import sweep
    from pipeline.sample import generate

    settings = settings_in(folder)
    say(f"sample company: {customers} customers, {days} days")
    generate(settings.landing, customers, days, seed)
    day = date(2026, 7, 1)
    sweep(settings, day, run_id="benchmark", released=None, feeds={"customers"})
    records = delivered_records(settings, day)
    truth = pd.read_parquet(settings.landing / "_truth" / "persons.parquet")
    records = records.merge(truth, on=["source", "source_customer_id"], how="inner", validate="1:1")
    given = pa.Table.from_pandas(records.assign(position=records.index), preserve_index=False)
    with Vault(settings, "matching") as vault:
        clear = probabilistic.in_clear(vault, given.select(["position", *compared.TOLD])).sort_by("position")
    return settings, records, clear.to_pandas().drop(columns="position"), records["person_id"].to_numpy()


def delivered_records(settings: Settings, day: date) -> pd.DataFrame:
    """The newest state of each record of the feed `customers`, with tokens: as the daily job has it."""
    spans = likely.of_customers(ledger.read(settings), day)
    with duck.connect([settings.raw]) as con:
        compared.told(con, delivered.Raw(settings).whole("customers"), spans)
        return con.execute(
            """
            select source, id as source_customer_id, min(dt) over own as first_seen, * exclude (source, id, dt, starts, moment, content)
            from told window own as (partition by source, id)
            qualify row_number() over (partition by source, id order by moment desc) = 1 order by 1, 2
            """
        ).df()


def results_of(data: Dataset, settings: Settings, peers: list[str], day: date) -> Iterator[dict]:
    """Both of our stages, then the peers."""
    clear = normalised(data.records)
    yield from _ours(data.name, matchable(clear), clear, data.records["person_id"].to_numpy(), settings, day)
    yield from _peers(data, peers)


def _ours(
    name: str, records: pd.DataFrame, clear: pd.DataFrame, person: np.ndarray, settings: Settings, day: date
) -> Iterator[dict]:
    for stage, columns in (("deterministic", None), ("full", clear)):
        found, seconds = ours(records, columns, settings, day)
        yield {
            "dataset": name,
            "system": "strata",
            "stage": stage,
            **measured(found, person),
            "seconds": seconds,
        }


def _peers(data: Dataset, peers: list[str]) -> Iterator[dict]:
    for peer in peers:
        seconds: dict[str, float] = {}
        with _timed(seconds, "all"):
            found = PEERS[peer](data)
        rates = measured(found, data.records["person_id"].to_numpy())
        yield {"dataset": data.name, "system": peer, "stage": "full", **rates, "seconds": seconds}


def scale(records_n: int, folder: Path, day: date) -> dict:
    """Seconds of each part on generated people of four sources, and what they found."""
    data = people(records_n)
    settings = settings_in(folder)
    seconds: dict[str, float] = {}
    with _timed(seconds, "normalise"):
        clear = normalised(data.records)
    person = data.records["person_id"].to_numpy()
    runs = []
    for stage, columns in (("deterministic", None), ("full", clear)):
        found, parts = ours(matchable(clear), columns, settings, day)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
        runs.append(
            {
                "dataset": data.name,
                "system": "strata",
                "stage": stage,
                **measured(found, person),
                "seconds": seconds | parts,
                "peak_mb": round(peak),
                "records": len(data.records),
                "sources": int(data.records["source"].nunique()),
            }
        )
        say(f"{stage}: {runs[-1]['seconds']} s, {runs[-1]['peak_mb']} MB")
    return {"results": runs}


def run(args: argparse.Namespace) -> dict:
    day = date.today() + timedelta(days=1)
    with tempfile.TemporaryDirectory(prefix="strata-identity-") as temporary:
        folder = Path(temporary)
        if args.scale:
            return scale(args.scale, folder, day)
        results: list[dict] = []
        skipped: list[str] = []
        if args.records:
            data = from_files(args.records, args.truth)
            return {
                "results": list(results_of(data, settings_in(folder), args.peers, day)),
                "skipped": skipped,
            }
        given = os.environ.get("STRATA_REAL_DATA")
        for name in args.dataset or [*PUBLIC, SAMPLE]:
            if name == SAMPLE:
                settings, records, clear, person = sample_company(
                    folder, SAMPLE_CUSTOMERS, SAMPLE_DAYS, SAMPLE_SEED
                )
                results += _ours(SAMPLE, records, clear, person, settings, day)
                data = Dataset(SAMPLE, clear.assign(source=records["source"], person_id=person))
                results += _peers(data, args.peers)
                continue
            try:
                data = PUBLIC[name](Path(given or "absent"))
            except FileNotFoundError as error:
                skipped.append(name)
                say(
                    f"SKIPPED {name}: {error.filename} is absent; STRATA_REAL_DATA names the folder of public data sets"
                )
                continue
            results += results_of(data, settings_in(folder), args.peers, day)
    return {"results": results, "skipped": skipped}


def table(results: list[dict]) -> str:
    lines = [
        "| data set | system | stage | pairwise precision | recall | F1 | cluster precision | recall | F1 | seconds |",
        "|---|---|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for r in results:
        rates = [
            f"{r[kind][rate]:.4f}"
            for kind in ("pairwise", "cluster")
            for rate in ("precision", "recall", "f1")
        ]
        seconds = f"{sum(v for part, v in r['seconds'].items() if not part.endswith('_cpu')):.1f}"
        lines.append("| " + " | ".join([r["dataset"], r["system"], r["stage"], *rates, seconds]) + " |")
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--records", type=Path, help="file with the columns of the feed customers")
    parser.add_argument("--truth", type=Path, help="its truth: source, source_customer_id, person_id")
    parser.add_argument("--dataset", nargs="+", choices=[*PUBLIC, SAMPLE], help="default: all")
    parser.add_argument("--peers", nargs="*", choices=list(PEERS), default=list(PEERS), help="default: both")
    parser.add_argument("--scale", type=int, metavar="N", help="time N generated records instead")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args(argv)
    if bool(args.records) != bool(args.truth):
        parser.error("--records and --truth go together")
    try:
        outcome = run(args)
    except StrataError as error:
        say(f"benchmarks.identity: {error}")
        return 1
    print(json.dumps(outcome, indent=1) if args.json else table(outcome["results"]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
