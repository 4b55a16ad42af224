"""`python -m benchmarks.identity_scale [--records N] [--increment N …] [--json]`: what it costs to find out who is who.

Made-up records of four sources (two in three people have accounts in several), clustered once, taken in as a first
day, and then a day with 1 % new records. With `--increment`, the first day is saved as a home saves it, and days with so
many new records each are taken in from the files: what is read, clustered and written. Seconds of CPU of this
process; peak memory is its high-water mark.
"""

import argparse
import json
import resource
import time
from datetime import date, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd

from pipeline import duck
from pipeline.identity.history import History, Record, Value
from pipeline.identity.links import without_collector
from pipeline.identity.matching import cluster
from pipeline.identity.rules import load_rules
from pipeline.identity.state import Event, Events, State

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
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    if args.increment:
        report(increments(args.records, args.increment), args.json)
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


def increments(n: int, new: list[int]) -> dict[str, object]:
    """A saved state of n records, and a day of each number of new records after it."""
    rules = load_rules(DAY)
    frame = records(int((n + sum(new)) * 1.4))
    first, rest = as_records(frame.iloc[:n]), frame.iloc[n:]
    out: dict[str, object] = {"records": len(first)}
    with TemporaryDirectory() as folder:
        before = Event(DAY, first, rules, (), ())
        out["first_day"] = measured(lambda: taken_in(Path(folder), None, before))
        for i, count in enumerate(new, 1):
            day = Event(DAY + timedelta(days=i), as_records(rest.iloc[:count]), rules, (), ())
            rest, said = rest.iloc[count:], {}
            whole = measured(lambda b=before, d=day, s=said: s.update(taken_in(Path(folder), b, d)))
            out[f"new_{count}"] = whole | said
            before = day._replace(changed={})
    return out | {"peak_gb": peak_gb()}


def taken_in(folder: Path, before: Event | None, day: Event) -> dict[str, float]:
    """One day on the files of a home's identity/; CPU of its parts."""
    said: dict[str, float] = {}
    with without_collector(), duck.connect([folder], spill=folder / "spill") as con:
        start = time.process_time()
        state = State(con, folder, lambda _: "benchmark")
        history = state.take_up(b"k" * 32, Events(before, [day]))
        said["records_read"] = len(history.records)
        said["read_s"], start = round(time.process_time() - start, 2), time.process_time()
        history.advance(*day)
        said["cluster_s"], start = round(time.process_time() - start, 2), time.process_time()
        state.intervals(history)
        state.save(history, day.day, "benchmark")
        said["write_s"] = round(time.process_time() - start, 2)
    return said


def report(out: dict[str, object], as_json: bool) -> None:
    print(json.dumps(out) if as_json else "\n".join(f"{key:<16} {value}" for key, value in out.items()))


def peak_gb() -> float:
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2)


if __name__ == "__main__":
    main()
