"""`python -m benchmarks.identity_scale [--records N] [--increment N …] [--json]`: what it costs to find out who is who.

Made-up records of four sources (two in three people have accounts in several), clustered once, taken in as a first
day, and then a day with 1 % new records. With `--increment`, a home has them in raw, with `--orders` orders of theirs
beside: its first day, and days with so many new records (and orders) each, from raw to the files of `identity/`. Each
day is a process of its own, as in the daily job: what it takes up is what another one left. Seconds of CPU; peak memory
is the high-water mark of the process that did the work. With `--second-stage` the records are people of
`identity_data.people`, their clear values are in a vault, and each day begins with the second stage.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from dataclasses import replace
from datetime import date, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
import pyarrow as pa

from benchmarks.identity_data import people
from pipeline import settings as settings_module
from pipeline.identity import normalise
from pipeline.identity.history import History, Record, Value
from pipeline.identity.learning import Policy
from pipeline.identity.likely import write_likely
from pipeline.identity.links import write_links
from pipeline.identity.matching import cluster
from pipeline.identity.rules import load_rules
from pipeline.ingest import ledger
from pipeline.ingest.contracts import load_contracts, source_of
from pipeline.ingest.files import write_parquet
from pipeline.ingest.vault import Vault
from pipeline.ingest.writing import arrow_schema, prepare_raw
from pipeline.settings import Settings

ORDER_DAYS = 100
SOURCES = ("app", "crm", "marketplace", "pos")
DAY = date(2026, 1, 1)


def records(n: int, seed: int = 7) -> pd.DataFrame:
    """n records: 8 % without any contact, 1 % of people share a phone, one mailbox of 0.5 % of all records."""
    rng = np.random.default_rng(seed)
    person = rng.integers(0, int(n * 0.45), n)
    source = rng.integers(0, len(SOURCES), n)
    first = np.unique(np.stack([person, source]), axis=1, return_index=True)[1]
    person, source = person[first], source[first]
    n = len(first)
    phone = np.where(person % 100 == 0, person - 1, person)
    there = rng.random((3, n))
    frame = pd.DataFrame(
        {
            "source": np.array(SOURCES, dtype=object)[source],
            "source_customer_id": [f"{i}" for i in range(n)],
            "first_seen": pd.to_datetime(DAY) - pd.to_timedelta(rng.integers(0, 365, n), "D"),
            "phone_token": [
                f"{p:032x}" if ok else None for p, ok in zip(phone, there[0] < 0.85, strict=True)
            ],
            "email_token": [
                f"e{p:031x}" if ok else None for p, ok in zip(person, there[1] < 0.5, strict=True)
            ],
            "name_token": [
                f"n{p % 99991}" if ok else None for p, ok in zip(person, there[2] < 0.6, strict=True)
            ],
        }
    )
    frame.loc[frame.index[: n // 200], "email_token"] = "team"
    return frame.sample(frac=1, random_state=seed).reset_index(drop=True)


def as_records(frame: pd.DataFrame) -> dict:
    return {
        (row.source, row.source_customer_id): Record(
            row.first_seen.date(),
            row.name_token,
            None,
            None,
            tuple(Value(k, v) for k, v in (("phone", row.phone_token), ("email", row.email_token)) if v),
        )
        for row in frame.astype(object).where(frame.notna(), None).itertuples(index=False)
    }


def measured(work) -> dict[str, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return {"cpu_s": round(time.process_time() - cpu, 2), "wall_s": round(time.perf_counter() - wall, 2)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--increment", type=int, nargs="+", metavar="N")
    parser.add_argument(
        "--orders", type=int, default=0, help="with --increment: orders of these records in raw"
    )
    parser.add_argument(
        "--second-stage",
        action="store_true",
        help="with --increment: the second stage is on, and measured apart",
    )
    parser.add_argument("--json", action="store_true")
    parser.add_argument(
        "--link", type=date.fromisoformat, metavar="DAY", help="of the home of the environment"
    )
    args = parser.parse_args()
    if args.link:
        report(linked_here(settings_module.load(), args.link, args.second_stage), True)
        return
    if args.increment:
        report(increments(args.records, args.increment, args.orders, args.second_stage), args.json)
        return
    rules = load_rules(DAY)
    frame = records(int(args.records * 1.4)).head(args.records)
    out: dict[str, object] = {"records": len(frame), "sources": len(SOURCES)}
    found = []
    out["cluster"] = measured(lambda: found.append(cluster(frame, rules)))
    out["persons"] = int(found[0].cluster.max()) + 1
    out["largest_person"] = int(np.bincount(found[0].cluster).max())
    out["suspects"] = len(found.pop().suspects)
    out["peak_gb_cluster"] = peak_gb()
    old, new = frame.iloc[: -len(frame) // 100], frame.iloc[-len(frame) // 100 :]
    history, before, after = History(b"k" * 32), as_records(old), as_records(new)
    out["first_day"] = measured(lambda: history.advance(DAY, before, rules))
    touched = []
    tomorrow = DAY + timedelta(days=1)
    out["next_day"] = measured(lambda: touched.append(history.advance(tomorrow, after, rules)))
    out |= {"new_records": len(new), "records_touched": touched[0], "peak_gb": peak_gb()}
    report(out, args.json)


def increments(n: int, new: list[int], orders: int, second_stage: bool) -> dict[str, object]:
    """A home of n records and its first day, then a day of each number of new records; seconds of CPU of each.

    `of_first_day`: the day's cost as a share of the first day's.
    """
    out: dict[str, object] = {"records": n, "orders": orders}
    with TemporaryDirectory() as folder:
        settings = replace(settings_module.load(), home=Path(folder))
        with Vault(settings) as vault:
            prepare_raw(settings)
            count = int((n + sum(new)) * (1.05 if second_stage else 1.4))
            frame = known_people(vault, count) if second_stage else records(count)
        delivered(settings, DAY, frame.iloc[:n], ordered(frame.iloc[:n], orders, ORDER_DAYS))
        frame = frame.iloc[n:]
        first = linked(settings, DAY + timedelta(days=1), second_stage)
        out["first_day"] = first
        for i, count in enumerate(new, 1):
            today = frame.iloc[:count]
            delivered(settings, DAY + timedelta(days=i), today, ordered(today, count, 1))
            frame = frame.iloc[count:]
            day = linked(settings, DAY + timedelta(days=i + 1), second_stage)
            shares = {
                f"{part}of_first_day": round(day[f"{part}cpu_s"] / first[f"{part}cpu_s"], 4)
                for part in ("", "second_stage_")[: 1 + second_stage]
            }
            out[f"new_{count}"] = day | shares
    return out


def known_people(vault: Vault, n: int, seed: int = 7) -> pd.DataFrame:
    """About n records as raw has them; what their tokens stand for is in the open vault."""
    told = people(n, seed).records.sample(frac=1, random_state=seed).reset_index(drop=True)
    frame = told[["source", "source_customer_id", "city", "postcode"]].copy()
    for kind in ("name", "phone", "email", "address"):
        frame[f"{kind}_token"] = None
        for source in told["source"].unique():
            own = told.index[(told["source"] == source) & told[kind].notna()]
            tokens = vault.tokenise(kind, told.loc[own, kind].tolist(), source_of(source).country)
            frame.loc[own, f"{kind}_token"] = pd.Series(tokens, own, dtype=object)
    born = [normalise.birth_date(day) if isinstance(day, str) else None for day in told["birth_date"]]
    frame["birth_year"] = pd.Series([day and day.year for day in born], dtype="Int64")
    frame["birth_month_day"] = [day and f"{day:%m-%d}" for day in born]
    return frame


def linked(settings: Settings, day: date, second_stage: bool) -> dict[str, float]:
    """Who is who on a day, from raw, as the daily job finds it out."""
    command = [sys.executable, "-m", "benchmarks.identity_scale", "--link", day.isoformat()]
    command += ["--second-stage"] if second_stage else []
    environment = os.environ | {"STRATA_HOME": str(settings.home)}
    done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout)


def linked_here(settings: Settings, day: date, second_stage: bool) -> dict[str, float]:
    """The same in this process; the second stage, where policy is to have it on, also apart."""
    out = {}
    if second_stage:
        policy = replace(Policy.on(day), enabled=True)
        Policy.on = classmethod(lambda cls, on: policy)  # type: ignore[method-assign,assignment]
        entries = ledger.read(settings)
        found = measured(lambda: write_likely(settings, entries, day, policy))
        out = {f"second_stage_{name}": value for name, value in found.items()}
        out["second_stage_peak_gb"] = peak_gb()
    whole = measured(lambda: write_links(settings, [day]))
    # The second stage of `write_links` meets its own file.
    whole = {name: round(value + out.get(f"second_stage_{name}", 0), 2) for name, value in whole.items()}
    return whole | {"peak_gb": peak_gb()} | out


def ordered(frame: pd.DataFrame, n: int, days: int) -> list[pd.DataFrame]:
    """n orders of these records, spread over so many deliveries."""
    rng = np.random.default_rng(11)
    buyers = frame.iloc[rng.integers(0, len(frame), n)][["source", "source_customer_id"]]
    return [buyers.iloc[i::days] for i in range(days)] if n else []


def delivered(settings: Settings, day: date, customers: pd.DataFrame, orders: list[pd.DataFrame]) -> None:
    """Write raw files and their ledger entries, as if the deliveries of `day` (orders: of the days up to it) had come."""
    entries = []
    parts = [("customers", day, customers)]
    parts += [("orders", day - timedelta(days=i), part) for i, part in enumerate(orders)]
    for feed, dt, part in parts:
        schema = arrow_schema(load_contracts()[feed])
        for source, own in part.groupby("source"):
            delivery = f"{source}/{feed}/{dt}/rev=1"
            given = own.assign(_delivery=delivery, _row=np.arange(len(own)))
            columns = [
                pa.array(given[f.name], f.type, from_pandas=True)
                if f.name in given
                else pa.nulls(len(own), f.type)
                for f in schema
            ]
            path = settings.raw / str(source) / feed / f"dt={dt}" / "rev=1" / f"{dt}.parquet"
            write_parquet(pa.Table.from_arrays(columns, schema=schema), path)
            entries.append(
                ledger.Entry(
                    delivery, str(source), feed, str(dt), f"{source}/{feed}/{dt}.csv", dt, 1,
                    dt + timedelta(days=1), delivery, 0, "loaded", datetime(2026, 1, 1), "benchmark", delivery,
                )
            )  # fmt: skip
    ledger.append(settings, entries)


def report(out: dict[str, object], as_json: bool) -> None:
    print(json.dumps(out) if as_json else "\n".join(f"{key:<16} {value}" for key, value in out.items()))


def peak_gb() -> float:
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2)


if __name__ == "__main__":
    main()
