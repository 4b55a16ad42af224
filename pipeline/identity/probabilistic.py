"""Who is who, second stage: pairs of records that agree too well to be two people although no identifier is equal.

Fellegi-Sunter weights, estimated by Splink on DuckDB from the records themselves: u (how often strangers agree) by
sampling random pairs, m (how often one person's records agree) by expectation maximisation. Fixed seeds, one thread
where sums of floats decide, and rounded parameters give the same pairs for the same records in any order. Policy
switches the stage on and holds its threshold (`identity_probabilistic_…` in thresholds.csv).

What is compared, and how: `comparisons.py`.

Weights treat columns as independent, which the people of one household are not: they share address, city, postcode
and family name. What they do not share is never outweighed (`comparisons.TWO_PEOPLE`).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa

from pipeline import duck
from pipeline.identity.comparisons import (
    BLOCKS,
    COMPARED,
    COMPARISONS,
    FEATURES,
    KEYS,
    NAME_AND_PLACE,
    NEEDS,
    SURE,
    TRAINING,
    TWO_OF_A_HOUSE,
    TWO_PEOPLE,
    gamma,
    near,
    value_of,
)
from pipeline.ingest.vault import Vault
from pipeline.quality.policy import thresholds
from pipeline.settings import Settings

if TYPE_CHECKING:
    from splink import Linker

COLUMNS = ("name", "birth_date", "gender", "address", "city", "postcode", "phone", "email", "identifier")
"""Clear columns of a record that are compared; `identifier`: any number that a person keeps from source to source."""

_SEED = 20
# Digits kept of what is estimated and of what comes out: sums over many rows differ in the last ones.
_PARAMETER_DIGITS = 10
_PROBABILITY_DIGITS = 6
# No agreement is so impossible, and no mistake so rare, that a few thousand pairs could tell it.
_M_MIN = 1e-4
# Of a u that is nearly all matches, so much is kept: what is left is the difference of two estimates.
_U_KEPT_MIN = 0.25


@dataclass(frozen=True)
class Policy:
    """Thresholds of the second stage in force on a day; `thresholds.csv` says why they are what they are."""

    enabled: bool
    probability_min: float
    rules_recall: float
    propose_records_max: int
    block_records_max: int
    training_pairs_max: int
    training_records_min: int
    household_share_max: float

    @classmethod
    def on(cls, as_of: date) -> Policy:
        value = thresholds(as_of)
        return cls(
            enabled=value["identity_probabilistic_enabled"] > 0,
            probability_min=value["identity_probabilistic_min"],
            rules_recall=value["identity_probabilistic_rules_recall"],
            propose_records_max=int(value["identity_probabilistic_propose_max"]),
            block_records_max=int(value["identity_probabilistic_block_max"]),
            training_pairs_max=int(value["identity_probabilistic_training_pairs"]),
            training_records_min=int(value["identity_probabilistic_records_min"]),
            household_share_max=value["identity_probabilistic_household_share"],
        )


def candidate_pairs(records: pd.DataFrame, settings: Settings, policy: Policy) -> pd.DataFrame:
    """Pairs of records that are one person with at least the policy's probability.

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
        _load(con, records)
        _add_keys(con, policy)
        return _scored(con, policy)
    finally:
        con.close()


def vault_records(settings: Settings, records: pd.DataFrame) -> pd.DataFrame:
    """`COLUMNS` of records that carry tokens: clear values from the vault, whose opening is noted.

    Args:
        records: `<column>_token` for what is personal (name, phone, email, address), the rest of COLUMNS as they are.
            A token that the vault does not know (any more) and an absent column are unknown.
    """
    clear = pd.DataFrame(index=range(len(records)))
    with Vault(settings, "matching") as vault:
        for column in COLUMNS:
            if (tokens := f"{column}_token") in records:
                held = records[tokens].tolist()
                known = vault.clear(t for t in held if isinstance(t, str))
                clear[column] = pd.Series([known.get(t) for t in held], dtype=object)
            elif column in records:
                clear[column] = records[column].to_numpy(dtype=object)
    return clear


def _pairs(one: Sequence[int], other: Sequence[int], probability: Sequence[float]) -> pd.DataFrame:
    a, b = np.asarray(one, dtype=np.int64), np.asarray(other, dtype=np.int64)
    pairs = pd.DataFrame({"left": np.minimum(a, b), "right": np.maximum(a, b)})
    pairs["probability"] = np.round(np.asarray(probability, dtype=float), _PROBABILITY_DIGITS)
    return pairs.sort_values(["left", "right"], ignore_index=True)


def _load(con: duckdb.DuckDBPyConnection, records: pd.DataFrame) -> None:
    """Table `records`: position and COLUMNS, all text."""
    columns = {"position": pa.array(np.arange(len(records)))}
    for name in COLUMNS:
        values = records[name].tolist() if name in records else [None] * len(records)
        columns[name] = pa.array([None if v is None or v != v else str(v) for v in values], pa.string())
    con.register("given", pa.table(columns))
    con.execute("create table records as from given")
    con.unregister("given")


def _add_keys(con: duckdb.DuckDBPyConnection, policy: Policy) -> None:
    """Table `features`: what is compared and the keys that EM learns from; `unique_id` numbers the records by content,
    not by position. Table `keys`: unique_id and the keys that propose pairs."""
    con.execute(f"create table parts as {FEATURES}")
    con.execute(
        """
        create table numbered as
        select *, row_number() over (
            order by full_name, dob, email, phone, identifier, street, house, city, postcode, first_word, last_word,
                gender, position
        ) as unique_id
        from parts
        """
    )
    con.execute("drop table parts")
    sql = ", ".join(f"case when ({of}) is not null then hash({of}) end as {key}" for key, of in KEYS.items())
    con.execute(f"create table uncapped as select unique_id, {sql} from numbered")
    capped = [_capped(con, key, policy.propose_records_max) for key in BLOCKS]
    con.execute(f"create table keys as select unique_id, {', '.join(capped)} from uncapped")
    learnt = [_capped(con, key, policy.block_records_max) for key in (*TRAINING, NAME_AND_PLACE)]
    con.execute(
        f"create table features as select numbered.*, {', '.join(learnt)} "
        "from numbered join uncapped using (unique_id)"
    )
    con.execute("drop table numbered; drop table uncapped")


def _capped(con: duckdb.DuckDBPyConnection, key: str, cap: int) -> str:
    """SQL of a key that is null where more than `cap` records have it. Few have: looking those up costs little."""
    con.execute(
        f"create or replace table {key}_above_{cap} as select {key} from uncapped where {key} is not null "
        f"group by {key} having count(*) > {cap}"
    )
    return f"case when {key} not in (from {key}_above_{cap}) then {key} end as {key}"


def _scored(con: duckdb.DuckDBPyConnection, policy: Policy) -> pd.DataFrame:
    counts = con.execute(
        f"select {', '.join(f'count({c})' for c in NEEDS.values())} from features"
    ).fetchone()
    known = [c for c, n in zip(NEEDS, counts or (), strict=True) if n >= policy.training_records_min]
    if "name" not in known and "dob" not in known:
        return _pairs([], [], [])
    model = _trained(con, known, policy)
    if not model:
        return _pairs([], [], [])
    _propose(con)
    _predict(con, model)
    gammas = ", ".join(
        f"{f's.gamma_{c}' if c in known else '-1'} as gamma_{c}"
        for c in ("name", "dob", "address", "phone", "email", "identifier")
    )
    two_people = f"({TWO_PEOPLE})"
    if _live_together(con, policy.propose_records_max) > policy.household_share_max:
        two_people += f" or ({TWO_OF_A_HOUSE})"
    found = con.execute(
        f"""
        with pairs as (
            select l.position as one, r.position as other, s.match_weight, {gammas},
                l.han as han_l, r.han as han_r, l.gender as gender_l, r.gender as gender_r
            from scored as s
            join features as l on l.unique_id = s.unique_id_l
            join features as r on r.unique_id = s.unique_id_r
        )
        select one, other, 1 / (1 + pow(2, -match_weight)) as probability from pairs
        where match_weight >= $1 and not coalesce({two_people}, false)
        """,
        # At 1 its logarithm has no end.
        [_weight(min(policy.probability_min, 1 - 1e-9))],
    ).fetchnumpy()
    return _pairs(found["one"], found["other"], found["probability"])


def _propose(con: duckdb.DuckDBPyConnection) -> None:
    """Table `proposed`: the pairs that have one key at least, unique_id_l < unique_id_r.

    Left out is what `TWO_PEOPLE` refuses whatever else agrees, names and birth dates that both differ: nine tenths of
    what a first name and a street bring.
    """
    hits = " union ".join(
        f"select l.unique_id as unique_id_l, r.unique_id as unique_id_r from keys as l join keys as r "
        f"on l.{key} = r.{key} and l.unique_id < r.unique_id"
        for key in BLOCKS
    )
    columns = ("full_name", "han", "first_word", "last_word", "dob", "identifier")
    sides = ", ".join(f"{side}.{c} as {c}_{side}" for side in "lr" for c in columns)
    con.execute(
        f"""
        create table proposed as
        with hits as ({hits}),
        sides as (
            select unique_id_l, unique_id_r, {sides} from hits
            join features as l on l.unique_id = unique_id_l
            join features as r on r.unique_id = unique_id_r
        )
        select unique_id_l, unique_id_r from sides
        where dob_l = dob_r or identifier_l = identifier_r
            or {gamma(COMPARISONS["name"])} not between 0 and {value_of("name", "family name alike")}
        """
    )


def _live_together(con: duckdb.DuckDBPyConnection, records_max: int) -> float:
    """Of the pairs of records with one family name at one address, the share that is surely two people: birth dates and
    given names both differ, and by no typo. An address of more than `records_max` such records is no household."""
    row = con.execute(
        f"""
        with houses as (
            select unique_id, first_word, han, dob, concat_ws('|', coalesce(last_word, han[:1]), postcode, house) as home
            from features
            where postcode is not null and house is not null and dob is not null and coalesce(last_word, han) is not null
        ),
        shared as (
            select home from houses group by home having count(*) between 2 and {records_max}
        )
        select coalesce(avg((
            damerau_levenshtein(l.dob[:4], r.dob[:4]) > 1 and damerau_levenshtein(l.dob[5:], r.dob[5:]) > 1
            and coalesce(l.han <> r.han, not {near("l.first_word", "r.first_word")})
        )::int), 0)
        from houses as l join shared using (home) join houses as r on l.home = r.home and l.unique_id < r.unique_id
        """
    ).fetchone()
    return float(row[0]) if row else 0.0


def _predict(con: duckdb.DuckDBPyConnection, model: dict[str, Any]) -> None:
    """Table `scored`: level in each comparison and match weight (log2 of the odds) of the proposed pairs.

    The weights are those of Splink's `predict`, term frequencies included (a test holds them equal). Splink's own has to
    score whatever its blocking rules propose; this scores what is left of it.
    """
    gammas, weights = [], [str(_weight(model["probability_two_random_records_match"]))]
    frequencies = []
    for comparison in model["comparisons"]:
        name, levels = comparison["output_column_name"], comparison["comparison_levels"]
        gammas.append(f"{gamma(comparison)} as gamma_{name}")
        whens = []
        for i, level in enumerate(levels):
            if level.get("is_null_level"):
                continue
            sure = f"{np.log2(level['m_probability'] / level['u_probability'])}"
            if column := level.get("tf_adjustment_column"):
                frequencies.append(column)
                # The surest level of a comparison is that of equal values, so its u is what a frequency stands in for.
                sure += f" + {np.log2(level['u_probability'])} - log2(f_{column}.share)"
            whens.append(f"when {len(levels) - 1 - i} then {sure}")
        weights.append(f"case gamma_{name} {' '.join(whens)} else 0 end")
    for column in frequencies:
        con.execute(
            f"create table f_{column} as select {column}, count(*) / (select count({column}) from features) as share "
            f"from features where {column} is not null group by {column}"
        )
    sides = ", ".join(f"{side}.{c} as {c}_{side}" for side in "lr" for c in COMPARED)
    joins = " ".join(f"left join f_{c} on f_{c}.{c} = {c}_l" for c in frequencies)
    con.execute(
        f"""
        create table scored as
        with sides as (
            select unique_id_l, unique_id_r, {sides} from proposed
            join features as l on l.unique_id = unique_id_l
            join features as r on r.unique_id = unique_id_r
        ),
        levels as (select unique_id_l, unique_id_r, full_name_l, city_l, {", ".join(gammas)} from sides)
        select unique_id_l, unique_id_r, {", ".join(f"gamma_{c['output_column_name']}" for c in model["comparisons"])},
            {" + ".join(weights)} as match_weight
        from levels {joins}
        """
    )


def _weight(probability: float) -> float:
    """log2 of the odds."""
    return float(np.log2(probability / (1 - probability)))


def _linker(con: duckdb.DuckDBPyConnection, settings: dict[str, Any]) -> Linker:
    from splink import DuckDBAPI, Linker

    return Linker(DuckDBAPI(con).register("features"), settings, log_level=logging.ERROR)


def _trained(con: duckdb.DuckDBPyConnection, comparisons: list[str], policy: Policy) -> dict[str, Any] | None:
    """Splink's settings with the estimated parameters; None where no pair of records is surely one person."""
    linker = _linker(
        con,
        {
            "link_type": "dedupe_only",
            "unique_id_column_name": "unique_id",
            "comparisons": [deepcopy(COMPARISONS[c]) for c in comparisons],
            "blocking_rules_to_generate_predictions": [
                {"blocking_rule": f"l.{key} = r.{key}"} for key in TRAINING
            ],
        },
    )
    training = linker.training
    training.estimate_probability_two_random_records_match(list(SURE), recall=policy.rules_recall)
    if not linker.misc.save_model_to_json()["probability_two_random_records_match"]:
        return None
    training.estimate_u_using_random_sampling(
        max_pairs=policy.training_pairs_max, seed=_SEED, min_count_per_level=None, num_chunks=1
    )
    threads = con.execute("select current_setting('threads')").fetchone()
    con.execute("set threads = 1")
    for key, column in TRAINING.items():
        pairs = con.execute(
            f"select coalesce(sum(n * (n - 1) / 2), 0) from (select count(*) as n from features where {key} is not null group by {key})"
        ).fetchone()
        if pairs and pairs[0] >= policy.training_records_min:
            training.estimate_parameters_using_expectation_maximisation(
                f"l.{column} = r.{column} and l.{key} = r.{key}",
                estimate_without_term_frequencies=True,
                max_pairs=policy.training_pairs_max,
            )
    con.execute(f"set threads = {threads[0] if threads else 1}")
    model = linker.misc.save_model_to_json()
    share = model["probability_two_random_records_match"]
    for comparison in model["comparisons"]:
        for level in comparison["comparison_levels"]:
            if not level.get("is_null_level"):
                _settle(level, share, 1 / policy.training_pairs_max)
    return model


def _settle(level: dict[str, Any], share: float, u_min: float) -> None:
    """Give a level its m and u as numbers, rounded.

    Random pairs hold `share` matches, which makes strangers look more alike than they are, the more the smaller the home:
    these are taken off u again. A level that no pair showed has text for a parameter: it is rarer than a sample can show.
    """
    m, u = (
        value if isinstance(value, float) else 0.0 for value in (level.get(f"{x}_probability") for x in "mu")
    )
    u = max((u - share * m) / (1 - share), u * _U_KEPT_MIN, u_min)
    level["m_probability"] = round(max(m, _M_MIN), _PARAMETER_DIGITS)
    level["u_probability"] = round(u, _PARAMETER_DIGITS)
