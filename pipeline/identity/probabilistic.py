"""Who is who, second stage: pairs of records that agree too well to be two people although no identifier is equal.

What of two records is compared, and how: `comparisons.py`. What each agreement weighs: the model (`learning.py`). A pair
follows from its two records, the model, the policy (`identity_probabilistic_…` in thresholds.csv) and one thing more: a
key of more than so many records proposes none.

Weights treat columns as independent, which the people of one household are not: they share address, city, postcode
and family name. What they do not share is never outweighed (`comparisons.TWO_PEOPLE`).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import ArrayLike

from pipeline import duck
from pipeline.identity.comparisons import (
    BLOCKS,
    COMPARED,
    COMPARISONS,
    FEATURE_COLUMNS,
    FEATURES,
    TWO_OF_A_HOUSE,
    TWO_PEOPLE,
    gamma,
    value_of,
)
from pipeline.identity.learning import Model, Policy, learn
from pipeline.ingest.vault import Vault
from pipeline.settings import Settings

COLUMNS = ("name", "birth_date", "gender", "address", "city", "postcode", "phone", "email", "identifier")
"""Clear columns of a record that are compared; `identifier`: any number that a person keeps from source to source."""
ROW = ", ".join(
    f"{name} {kind}" for name, kind in (FEATURE_COLUMNS | dict.fromkeys(("face", *BLOCKS), "ubigint")).items()
)
"""Columns of the relation `compared` beside `number`: FEATURES, a hash of them, and the keys that propose pairs."""

_KEYS = ", ".join(f"case when ({of}) is not null then hash({of}) end as {key}" for key, of in BLOCKS.items())
ROWS = f"select number, {', '.join(FEATURE_COLUMNS)}, hash({', '.join(FEATURE_COLUMNS)}) as face, {_KEYS} from ({FEATURES})"
"""SQL of the rows of `compared` from the relation `records`: `number` and COLUMNS as text."""

# Digits kept of what comes out: sums of floats differ in the last ones.
_PROBABILITY_DIGITS = 6


def candidate_pairs(records: pd.DataFrame, settings: Settings, policy: Policy) -> pd.DataFrame:
    """Pairs of records that are one person with at least the policy's probability, by a model of these very records.

    Args:
        records: one row per source record, in any order, with those of `COLUMNS` that are known: normalised values
            (`normalise.py`), dates as dates or ISO text, None where unknown. An absent column is unknown.
        settings: what does not fit in memory is spilled into this home's vault, for it is clear text.

    Returns:
        left, right (positions in `records`, left < right) and probability, sorted. None where there are fewer records
        than the policy wants to learn from, or nothing to tell matches by.
    """
    if len(records) < policy.training_records_min:
        return _pairs([], [], [])
    con = duck.connect([], spill=settings.vault / "spill")
    try:
        columns = {"number": pa.array(np.arange(len(records)))}
        for name in COLUMNS:
            values = records[name].tolist() if name in records else [None] * len(records)
            columns[name] = pa.array([None if v is None or v != v else str(v) for v in values], pa.string())
        con.register("records", pa.table(columns))
        con.execute(f"create table compared as {ROWS}")
        con.unregister("records")
        # Terms are held as tokens, and nobody keeps these.
        key = b"of this call"
        model = learn(con, policy, key, date.min)
        if model is None:
            return _pairs([], [], [])
        propose(con, policy)
        score(con, model, policy, key)
        found = con.execute("select one, other, probability from made").fetchnumpy()
        return _pairs(found["one"], found["other"], found["probability"])
    finally:
        con.close()


def in_clear(vault: Vault, records: pa.Table) -> pa.Table:
    """Those of COLUMNS that the records tell, as text, in any order of rows; other columns stay.

    Args:
        vault: open.
        records: `<column>_token` for what is personal (name, phone, email, address), the rest of COLUMNS as they are, and
            any column that tells which row is which. A token that the vault does not know (any more) is unknown.
    """
    held = [c for c in COLUMNS if f"{c}_token" in records.column_names]
    plain = [c for c in COLUMNS if c in records.column_names and c not in held]
    kept = [c for c in records.column_names if c not in COLUMNS and c.removesuffix("_token") not in COLUMNS]
    columns = [*kept, *(f"{c}::varchar as {c}" for c in plain), *(f"of_{c}.value as {c}" for c in held)]
    joins = " ".join(f"left join clear_values as of_{c} on of_{c}.token = given.{c}_token" for c in held)
    vault.database.register("given", records)
    found = vault.database.execute(f"select {', '.join(columns)} from given {joins}").to_arrow_table()
    vault.database.unregister("given")
    return found


def _pairs(one: ArrayLike, other: ArrayLike, probability: ArrayLike) -> pd.DataFrame:
    a, b = np.asarray(one, dtype=np.int64), np.asarray(other, dtype=np.int64)
    pairs = pd.DataFrame({"left": np.minimum(a, b), "right": np.maximum(a, b)})
    pairs["probability"] = np.asarray(probability, dtype=float)
    return pairs.sort_values(["left", "right"], ignore_index=True)


def propose(con: duckdb.DuckDBPyConnection, policy: Policy, of: str | None = None) -> None:
    """Table `hits`: the pairs one, other (numbers of `compared`) that have a key which not too many records have; relation
    `parties`: what is compared of these records.

    Args:
        of: relation with the numbers of the records whose pairs are asked for, all where None.
    """
    cap = policy.propose_records_max
    if of is None:
        for key in BLOCKS:
            con.execute(
                f"create or replace temp table {key}_above as select {key} from compared where {key} is not null "
                f"group by {key} having count(*) > {cap}"
            )
        kept = [f"case when {key} not in (from {key}_above) then {key} end as {key}" for key in BLOCKS]
        con.execute(
            f"create or replace temp table keys as select number, face, {', '.join(kept)} from compared"
        )
    else:
        con.execute(
            f"create or replace temp table asked_keys as select number, face, {', '.join(BLOCKS)} from compared "
            f"semi join {of} using (number)"
        )
        for key in BLOCKS:
            con.execute(
                f"create or replace temp table {key}_few as select {key} from compared "
                f"semi join (select distinct {key} from asked_keys where {key} is not null) using ({key}) "
                f"group by {key} having count(*) <= {cap}"
            )
        kept = [f"case when {key} in (from {key}_few) then {key} end as {key}" for key in BLOCKS]
        con.execute(
            f"create or replace temp table keys as select number, face, {', '.join(kept)} from asked_keys"
        )
    # One side is always the same, whichever record came first: not every measure of likeness has two equal sides.
    sides = "(l.face, l.number) < (r.face, r.number)"
    if of is None:
        found = " union ".join(
            f"select l.number as one, r.number as other from keys as l join keys as r on l.{key} = r.{key} and {sides}"
            for key in BLOCKS
        )
    else:
        found = " union ".join(
            f"select if({sides}, l.number, r.number) as one, if({sides}, r.number, l.number) as other "
            f"from keys as l join compared as r on l.{key} = r.{key} and l.number <> r.number"
            for key in BLOCKS
        )
    con.execute(f"create or replace temp table hits as {found}")
    if of is None:
        con.execute("create or replace temp view parties as from compared")
    else:
        con.execute(
            f"create or replace temp table parties as select number, {', '.join((*COMPARED, 'gender'))} from compared "
            "semi join (select one as number from hits union select other from hits) using (number)"
        )


def score(con: duckdb.DuckDBPyConnection, model: Model, policy: Policy, key: bytes) -> None:
    """Table `made`: one, other, probability of the pairs in `hits` that are one person.

    The weights are those of Splink's `predict`, term frequencies included (a test holds them equal). Splink's own has to
    score whatever its blocking rules propose; this scores what `TWO_PEOPLE` does not refuse whatever else agrees, names
    and birth dates that both differ: nine tenths of what a first name and a street bring.
    """
    _weigh(con, model, key)
    gammas = ", ".join(
        f"{f'gamma_{c}' if c in model.levels else '-1'} as gamma_{c}"
        for c in ("name", "dob", "address", "phone", "email", "identifier")
    )
    two_people = f"({TWO_PEOPLE})"
    if model.two_of_house > policy.household_share_max:
        two_people += f" or ({TWO_OF_A_HOUSE})"
    # At 1 its logarithm has no end.
    least = _weight(min(policy.probability_min, 1 - 1e-9))
    con.execute(
        f"""
        create or replace temp table made as
        with pairs as (
            select one, other, match_weight, han_l, han_r, gender_l, gender_r, {gammas} from scored
        )
        select one, other, round(1 / (1 + pow(2, -match_weight)), {_PROBABILITY_DIGITS}) as probability from pairs
        where match_weight >= {least} and not coalesce({two_people}, false)
        """
    )


def _weigh(con: duckdb.DuckDBPyConnection, model: Model, key: bytes) -> None:
    """Table `scored`: of the pairs worth it the level in each comparison and the match weight (log2 of the odds)."""
    columns = ("full_name", "han", "first_word", "last_word", "dob", "identifier")
    con.execute(
        f"""
        create or replace temp table proposed as
        with sides as (
            select one, other, {_both(columns)} from hits
            join parties as l on l.number = one join parties as r on r.number = other
        )
        select one, other from sides
        where dob_l = dob_r or identifier_l = identifier_r
            or {gamma(COMPARISONS["name"])} not between 0 and {value_of("name", "family name alike")}
        """
    )
    gammas, weights, joins, frequencies = [], [str(_weight(model.match_share))], "", []
    for name, estimated in model.levels.items():
        levels = COMPARISONS[name]["comparison_levels"]
        gammas.append(f"{gamma(COMPARISONS[name])} as gamma_{name}")
        whens = []
        for value, level, both in zip(range(len(levels) - 1, -1, -1), levels, estimated, strict=True):
            if both is None:
                continue
            m, u = both
            sure = f"{np.log2(m / u)}"
            if column := level.get("tf_adjustment_column"):
                # The surest level of a comparison is that of equal values, so its u is what a frequency stands in for.
                sure += f" + {np.log2(u)} - log2(coalesce(f_{column}.share, {model.rare[column]}))"
                joins += f" left join f_{column} on f_{column}.term = {column}_l"
                frequencies.append((column, f"gamma_{name} = {value}"))
            whens.append(f"when {value} then {sure}")
        weights.append(f"case gamma_{name} {' '.join(whens)} else 0 end")
    con.execute(
        f"""
        create or replace temp table levels as
        with sides as (
            select one, other, {_both((*COMPARED, "gender"))} from proposed
            join parties as l on l.number = one join parties as r on r.number = other
        )
        select one, other, full_name_l, city_l, han_l, han_r, gender_l, gender_r, {", ".join(gammas)} from sides
        """
    )
    for column, agrees in frequencies:
        terms = [
            row[0] for row in con.execute(f"select distinct {column}_l from levels where {agrees}").fetchall()
        ]
        shares = model.shares(column, terms, key)
        table = {"term": pa.array(shares, pa.string()), "share": pa.array(shares.values(), pa.float64())}
        con.register(f"f_{column}", pa.table(table))
    con.execute(
        f"""
        create or replace temp table scored as
        select one, other, han_l, han_r, gender_l, gender_r, {", ".join(f"gamma_{name}" for name in model.levels)},
            {" + ".join(weights)} as match_weight
        from levels {joins}
        """
    )
    con.execute("drop table levels")


def _both(columns: Sequence[str]) -> str:
    return ", ".join(f"{side}.{c} as {c}_{side}" for side in "lr" for c in columns)


def _weight(probability: float) -> float:
    """log2 of the odds."""
    return float(np.log2(probability / (1 - probability)))
