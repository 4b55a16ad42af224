"""Records with a known truth: public data sets, the sample company, any file, and generated people of any number.

A record set is a DataFrame with the columns of the feed `customers` that matching reads, `person_id` (the truth) and
optionally `unionid` (an identifier that the deterministic stage trusts), one row per source record, as delivered.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from pipeline import duck
from pipeline.errors import StrataError
from pipeline.ingest.contracts import header_name, load_contracts

ID = ["source", "source_customer_id"]
CLEAR = ["name", "phone", "email", "birth_date", "gender", "province", "city", "address", "postcode"]
TRUTH = [*ID, "person_id"]


@dataclass(frozen=True)
class Dataset:
    """`columns` are the parts of the public set as its publisher has them, for the peers' own settings."""

    name: str
    records: pd.DataFrame
    columns: pd.DataFrame | None = None


def _text(path: Path) -> pd.DataFrame:
    frame = pd.read_csv(path, skipinitialspace=True, dtype=str, keep_default_na=False)
    frame.columns = [c.strip() for c in frame.columns]
    return frame.apply(lambda column: column.str.strip()).astype(object).mask(lambda f: f == "", None)


def _joined(*columns: pd.Series) -> pd.Series:
    parts = [c.fillna("").astype(str) for c in columns]
    text = parts[0].str.cat(parts[1:], sep=" ").str.split().str.join(" ").astype(object)
    return text.mask(text == "", None)


def febrl(folder: Path, name: str, with_ssn: bool) -> Dataset:
    """FEBRL 1 to 4; number 4 is two files, one source each. `rec-17-dup-0` is person 17."""
    files = {"febrl4": ("4a", "4b")}.get(name, (name.removeprefix("febrl"),))
    parts = []
    for file in files:
        part = _text(folder / "febrl" / f"dataset{file}.csv")
        parts.append(part.assign(source=f"febrl{file}", person_id=part["rec_id"].str.split("-").str[1]))
    raw = pd.concat(parts, ignore_index=True)
    if not with_ssn:
        raw = raw.drop(columns="soc_sec_id")
    records = pd.DataFrame(
        {
            "source": raw["source"],
            "source_customer_id": raw["rec_id"],
            "name": _joined(raw["given_name"], raw["surname"]),
            "birth_date": raw["date_of_birth"],
            "province": raw["state"],
            "city": raw["suburb"],
            "address": _joined(raw["street_number"], raw["address_1"], raw["address_2"]),
            "postcode": raw["postcode"],
            "person_id": raw["person_id"],
        }
    )
    if with_ssn:
        records["unionid"] = raw["soc_sec_id"]
    return Dataset(name + "_with_ssn" * with_ssn, records, raw)


def fake_1000(folder: Path) -> Dataset:
    raw = _text(folder / "record_linkage" / "fake_1000.csv")
    records = pd.DataFrame(
        {
            "source": "fake_1000",
            "source_customer_id": raw["unique_id"],
            "name": _joined(raw["first_name"], raw["surname"]),
            "email": raw["email"],
            "birth_date": raw["dob"],
            "city": raw["city"],
            "person_id": raw["cluster"],
        }
    )
    return Dataset("fake_1000", records, raw)


PUBLIC: dict[str, Callable[[Path], Dataset]] = {
    "febrl1": lambda folder: febrl(folder, "febrl1", False),
    "febrl2": lambda folder: febrl(folder, "febrl2", False),
    "febrl3": lambda folder: febrl(folder, "febrl3", False),
    "febrl4": lambda folder: febrl(folder, "febrl4", False),
    "febrl1_with_ssn": lambda folder: febrl(folder, "febrl1", True),
    "febrl4_with_ssn": lambda folder: febrl(folder, "febrl4", True),
    "fake_1000": fake_1000,
}


def read_table(path: Path, feed: str | None = None) -> pd.DataFrame:
    """A CSV, JSON lines, Parquet or XLSX file as text; with `feed`, columns under the contract's names."""
    if not path.is_file():
        raise StrataError(f"{path} is no file: give a CSV, JSON lines, Parquet or XLSX file")
    kind = path.name.lower().removesuffix(".gz").rpartition(".")[2]
    if kind == "xlsx":
        frame = pd.read_excel(path, dtype=str)
    else:
        reader = {
            "csv": "read_csv(?, all_varchar = true)",
            "jsonl": "read_json_auto(?)",
            "parquet": "read_parquet(?)",
        }
        if kind not in reader:
            raise StrataError(f"{path}: .{kind} is not read; give .csv, .jsonl, .parquet or .xlsx")
        con = duck.connect([path.parent])
        try:
            frame = con.execute(f"select columns(*)::varchar from {reader[kind]}", [str(path)]).df()
        finally:
            con.close()
    if feed:
        known = {
            header_name(spelling): name
            for name, column in load_contracts()[feed].columns.items()
            for spelling in (name, *column.aliases)
        }
        frame = frame.rename(columns={c: known.get(header_name(str(c)), c) for c in frame.columns})
    return frame.astype(object).where(frame.notna(), None)


def from_files(records: Path, truth: Path) -> Dataset:
    """Any records with the columns of the feed `customers`, and their truth.

    Of several states of one customer the latest counts (`updated_at`, else the last in the file). A file without
    `source` is of one source. The truth has `person_id`, `source_customer_id` and, unless there is one source only,
    `source`; it may know more ids than the records. Raises StrataError where columns are missing or ids unknown.
    """
    found, known = read_table(records, "customers"), read_table(truth)
    if "source_customer_id" not in found:
        raise StrataError(f"{records} has no column source_customer_id: name it as the feed customers does")
    if not {"source_customer_id", "person_id"} <= set(known):
        raise StrataError(f"{truth} needs the columns source, source_customer_id and person_id")
    if "source" not in found:
        sources = set(known["source"]) if "source" in known else {"file"}
        if len(sources) > 1:
            raise StrataError(
                f"{records} has no column source, and {truth} names {len(sources)} sources: add it"
            )
        found["source"] = sources.pop()
    if "source" not in known:
        if found["source"].nunique() > 1:
            raise StrataError(f"{truth} has no column source, and {records} has several: add it")
        known["source"] = found["source"].iloc[0] if len(found) else "file"
    if "updated_at" in found:
        found = found.sort_values("updated_at", kind="stable", na_position="first")
    found = found.drop_duplicates(ID, keep="last")
    judged = found.merge(known[TRUTH].drop_duplicates(ID), on=ID, how="left")
    without = int(judged["person_id"].isna().sum())
    if without:
        raise StrataError(
            f"{truth} has no person_id for {without} of {len(judged)} records of {records}: add them"
        )
    return Dataset(records.stem, judged)


# Generated people

_SURNAMES = "王李张刘陈杨黄赵吴周徐孙马朱胡郭何林罗高郑梁谢宋唐许韩邓冯曹彭曾肖田董潘袁蔡蒋余于杜叶程魏苏吕丁任卢姚沈钟姜崔谭陆汪范金石廖贾韦夏付方邹"
_GIVEN = "伟芳娜敏静丽强磊军洋勇艳杰涛明超秀霞平刚桂英华玉萍红娟飞玲鑫波斌宇浩凯健俊帆雪倩婷宁旭晨欣雨佳琪思涵梓轩子睿一诺嘉怡文博天泽若曦辰阳志远建国海燕春梅云龙"
_ONSETS = (
    "b",
    "br",
    "c",
    "ch",
    "d",
    "f",
    "g",
    "h",
    "j",
    "k",
    "l",
    "m",
    "n",
    "p",
    "r",
    "s",
    "sh",
    "t",
    "v",
    "w",
)
_RIMES = ("a", "e", "i", "o", "an", "el", "in", "on", "ar", "er", "ia", "ett", "ick", "ley", "ton", "son")


def _words(rng: np.random.Generator, n: int) -> np.ndarray:
    """n distinct made-up words of two or three syllables."""
    syllables = np.array([o + r for o in _ONSETS for r in _RIMES], dtype=object)
    made = syllables[rng.integers(0, len(syllables), (3 * n, 3))]
    long = rng.random(3 * n) < 0.5
    return pd.unique(made[:, 0] + made[:, 1] + np.where(long, made[:, 2], ""))[:n]


def _skewed(rng: np.random.Generator, pool: np.ndarray, n: int) -> np.ndarray:
    """Draws of which the first of the pool are the most frequent, as with names and cities."""
    return pool[(len(pool) * rng.random(n) ** 2.5).astype(np.int64)]


def _one_letter_off(rng: np.random.Generator, words: np.ndarray) -> np.ndarray:
    """Each word with two neighbouring letters swapped, one left out, or one doubled."""
    kinds, places = rng.integers(0, 3, len(words)), rng.random(len(words))
    out = []
    for word, kind, place in zip(words.tolist(), kinds.tolist(), places.tolist(), strict=True):
        i = int(place * (len(word) - 1))
        swapped = word[:i] + word[i + 1] + word[i] + word[i + 2 :] if len(word) > 1 else word
        out.append((swapped, word[:i] + word[i + 1 :], word[: i + 1] + word[i:])[kind])
    return np.array(out, dtype=object)


def people(records_n: int, seed: int = 1) -> Dataset:
    """About so many records of four sources, of people who live in households: generated, the same for a seed.

    Half of the families have Han names. Members share family name, address and, one in fifty, the phone; one in a
    hundred has a twin. A person stands in one to four sources. Of the records 35 % lack the phone, 10 % have another
    one, half lack the e-mail, 15 % the birth date, 25 % the address; 8 % have moved; 6 % of Latin names have a typo and
    2 % are swapped; 3 % of birth dates have a wrong digit or day and month swapped.
    """
    rng = np.random.default_rng(seed)
    n = max(1, round(records_n / 2.2))
    home = np.sort(rng.integers(0, max(1, n // 2), n))
    homes = int(home.max()) + 1
    han = (rng.random(homes) < 0.5)[home]
    family = np.where(
        han,
        _skewed(rng, np.array(list(_SURNAMES), dtype=object), homes)[home],
        _skewed(rng, _words(rng, 5_000), homes)[home],
    )
    letters = np.array(list(_GIVEN), dtype=object)
    given_han = letters[rng.integers(0, len(letters), n)] + np.where(
        rng.random(n) < 0.8, letters[rng.integers(0, len(letters), n)], ""
    )
    given = np.where(han, given_han, _skewed(rng, _words(rng, 1_500), n))
    born = rng.integers(-10_950, 14_000, n)
    twin = np.flatnonzero((home[1:] == home[:-1]) & (rng.random(n - 1) < 0.02)) + 1
    born[twin] = born[twin - 1]
    phone = 13_000_000_000 + rng.permutation(np.arange(n) * 7 % 5_000_000_000)
    shared = np.flatnonzero((home[1:] == home[:-1]) & (rng.random(n - 1) < 0.02)) + 1
    phone[shared] = phone[shared - 1]
    streets, cities = _words(rng, 4_000), _words(rng, 80)

    def addresses(of: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(line, city, postcode) of address numbers."""
        own = np.random.default_rng([seed, 7])
        total = 2 * homes
        city = (len(cities) * own.random(total) ** 2).astype(np.int64)[of]
        street = own.integers(0, len(streets), total)[of]
        house = own.integers(1, 200, total)[of].astype(str).astype(object)
        flat = own.integers(1, 60, total)[of].astype(str).astype(object)
        line = house + " " + streets[street] + " street flat " + flat
        return line, cities[city], (100_000 + city * 1_000 + street % 1_000).astype(str).astype(object)

    times = 1 + rng.choice(4, n, p=(0.28, 0.36, 0.24, 0.12))
    of = np.repeat(np.arange(n), times)
    m = len(of)
    first_source = np.repeat(rng.integers(0, 4, n), times)
    step = np.arange(m) - np.repeat(np.cumsum(times) - times, times)
    source = np.array(["app", "crm", "marketplace", "web"], dtype=object)[(first_source + step) % 4]

    def some(share: float) -> np.ndarray:
        return rng.random(m) < share

    one, other = given[of].copy(), family[of].copy()
    latin = ~han[of]
    for words in (one, other):
        wrong = np.flatnonzero(latin & some(0.03))
        words[wrong] = _one_letter_off(rng, words[wrong])
    one, other = np.where(han[of], other, one), np.where(han[of], one, other)
    swapped = latin & some(0.02)
    one, other = np.where(swapped, other, one), np.where(swapped, one, other)
    name = np.where(latin, one + " " + other, one + other)
    days = born[of].astype("datetime64[D]")
    born_text = days.astype(str).astype(object)
    digit = np.flatnonzero(some(0.02))
    born_text[digit] = (days[digit] + rng.choice([-30, -1, 1, 10, 365], len(digit))).astype(str)
    turned = np.flatnonzero(some(0.01))
    born_text[turned] = [t[:5] + t[8:] + "-" + t[5:7] if t[8:] <= "12" else t for t in born_text[turned]]
    number = phone[of] + np.where(some(0.10), rng.integers(1, 5_000_000_000, m), 0)
    line, city, postcode = addresses(np.where(some(0.08), homes + home[of], home[of]))
    mail = "p" + of.astype(str).astype(object) + "." + given[of] + "@example.org"
    known = {
        "name": (name, 0.01),
        "phone": (("+86" + number.astype(str).astype(object)), 0.35),
        "email": (mail, 0.50),
        "birth_date": (born_text, 0.15),
        "address": (line, 0.25),
        "city": (city, 0.10),
        "postcode": (postcode, 0.30),
    }
    records = pd.DataFrame(
        {
            "source": source,
            "source_customer_id": ("C" + np.arange(m).astype(str).astype(object)),
            **{c: np.where(some(missing), None, values) for c, (values, missing) in known.items()},
            "person_id": of,
        }
    )
    return Dataset(f"people_{records_n}", records)
