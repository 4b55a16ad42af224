"""Who is who, second stage: the model, what agreement and disagreement of two records weigh.

Fellegi-Sunter weights, estimated by Splink on DuckDB from the home's own records: u (how often strangers agree) by
sampling random pairs, m (how often one person's records agree) by expectation maximisation. Fixed seeds, one thread
where sums of floats decide, and rounded parameters give the same model for the same records in any order.

A model is learnt once and kept (`vault/matching.json`): what a pair weighs then follows from its two records, whatever
else a day brings. It holds numbers, and how frequent names and cities are that so many records share that they tell
nobody, each as a token under the minting key. So it outlives erasures, new token keys and rebuilds.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Collection, Mapping, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass, replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb

from pipeline.errors import StrataError
from pipeline.identity.comparisons import (
    COMPARED,
    COMPARISONS,
    FEATURES,
    KEYS,
    NAME_AND_PLACE,
    NEEDS,
    ORDERED,
    SURE,
    TRAINING,
    near,
)
from pipeline.ingest.vault.keys import token
from pipeline.ingest.vault.private import write_private
from pipeline.quality.policy import k_anonymity, thresholds
from pipeline.settings import Settings

if TYPE_CHECKING:
    from splink import Linker

_SEED = 20
# Digits kept of what is estimated: sums over many rows differ in the last ones.
_PARAMETER_DIGITS = 10
# No agreement is so impossible, and no mistake so rare, that a few thousand pairs could tell it.
_M_MIN = 1e-4
# Of a u that is nearly all matches, so much is kept: what is left is the difference of two estimates.
_U_KEPT_MIN = 0.25
_COMPARED_AS = hashlib.sha256(
    json.dumps([FEATURES, COMPARISONS, TRAINING, SURE], sort_keys=True).encode()
).hexdigest()
"""What the numbers of a model are about: those of another version say nothing of these comparisons."""


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
    relearn_growth: float
    term_records_min: int

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
            relearn_growth=value["identity_probabilistic_relearn_growth"],
            term_records_min=k_anonymity(),
        )

    @property
    def of_learning(self) -> list[float]:
        """What a model follows from; the rest decides what is proposed and made with it."""
        return [
            self.rules_recall,
            self.propose_records_max,
            self.block_records_max,
            self.training_pairs_max,
            self.training_records_min,
            self.term_records_min,
        ]


@dataclass(frozen=True)
class Model:
    """What was learnt from the records of a day.

    Attributes:
        records_n: of how many records.
        match_share: of random pairs of records, the share that is one person.
        levels: comparison → (m, u) of each of its levels, None for that of unknown values.
        terms: column → token of a term → share of the records that know the column.
        rare: column → share of a term that is not in `terms`: the mean over the records that have one.
        two_of_house: of the pairs with one family name at one address, the share that is surely two people.
    """

    learnt_on: date
    records_n: int
    of_learning: Sequence[float]
    compared_as: str
    match_share: float
    levels: Mapping[str, Sequence[Sequence[float] | None]]
    terms: Mapping[str, Mapping[str, float]]
    rare: Mapping[str, float]
    two_of_house: float

    def fits(self, policy: Policy, records_n: int) -> bool:
        """Whether it goes on being used for so many records."""
        return (
            self.compared_as == _COMPARED_AS
            and list(self.of_learning) == policy.of_learning
            and records_n < self.records_n * policy.relearn_growth
        )

    def shares(self, column: str, terms: Collection[str], key: bytes) -> dict[str, float]:
        """Of the terms those that are frequent, with their share."""
        held = self.terms[column]
        tokens = ((term, token(key, column, term)) for term in terms)
        return {term: held[made] for term, made in tokens if made in held}


def path_of(settings: Settings) -> Path:
    """The file of the home's model."""
    return settings.vault / "matching.json"


def read(settings: Settings) -> Model | None:
    """The home's model; None where none has been learnt. Raises StrataError where the file is damaged."""
    path = path_of(settings)
    try:
        held = json.loads(path.read_text(encoding="utf-8"))
        return Model(**held | {"learnt_on": date.fromisoformat(held["learnt_on"])})
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise StrataError(
            f"{path} is damaged: restore it from a backup, or have it learnt anew with `strata identity learn`"
        ) from error


def write(settings: Settings, model: Model) -> None:
    """Replace the home's model."""
    held = asdict(replace(model, terms={c: dict(sorted(t.items())) for c, t in model.terms.items()}))
    write_private(path_of(settings), json.dumps(held, default=str) + "\n")


def forget(settings: Settings) -> bool:
    """Remove the home's model: the next run learns another. Whether there was one."""
    there = path_of(settings).exists()
    path_of(settings).unlink(missing_ok=True)
    return there


def learn(con: duckdb.DuckDBPyConnection, policy: Policy, key: bytes, on: date) -> Model | None:
    """The model of the records in the relation `compared` (FEATURES and `number`).

    Returns:
        None where there are fewer records than the policy wants to learn from, or nothing to tell matches by.
    """
    counts = con.execute(
        f"select count(*), {', '.join(f'count({c})' for c in NEEDS.values())} from compared"
    ).fetchone()
    records_n, *known_n = counts or (0,)
    known = [c for c, n in zip(NEEDS, known_n, strict=True) if n >= policy.training_records_min]
    if "name" not in known and "dob" not in known:
        return None
    there = set(_relations(con))
    _learn_from(con, policy)
    trained = _trained(con, known, policy)
    model = None
    if trained:
        terms, rare = _terms(con, trained, policy, key)
        model = Model(
            on,
            records_n,
            policy.of_learning,
            _COMPARED_AS,
            trained["probability_two_random_records_match"],
            {c["output_column_name"]: _weighed(c) for c in trained["comparisons"]},
            terms,
            rare,
            _live_together(con, policy.propose_records_max),
        )
    # Splink leaves tables of its own, too.
    for kind, name in _relations(con):
        if (kind, name) not in there:
            con.execute(f"drop {kind} if exists {name}")
    return model


def _relations(con: duckdb.DuckDBPyConnection) -> list[tuple[str, str]]:
    """Kind and name of each relation of the connection."""
    return con.execute(
        """
        select if(table_type = 'VIEW', 'view', 'table'),
            format('"{}"."{}"."{}"', table_catalog, table_schema, table_name)
        from information_schema.tables
        """
    ).fetchall()


def _weighed(comparison: Mapping[str, Any]) -> list[list[float] | None]:
    return [
        None if level.get("is_null_level") else [level["m_probability"], level["u_probability"]]
        for level in comparison["comparison_levels"]
    ]


def _learn_from(con: duckdb.DuckDBPyConnection, policy: Policy) -> None:
    """Table `features`: what is compared and the keys that EM learns from; `unique_id` numbers the records by content,
    so that what is sampled of them does not follow from the order in which they came."""
    keys = {key: KEYS[key] for key in (*TRAINING, NAME_AND_PLACE)}
    for key, of in keys.items():
        con.execute(
            f"create or replace table {key}_above as select hash({of}) as {key} from compared where ({of}) is not null "
            "group by all having count(*) > $1",
            [policy.block_records_max],
        )
    capped = ", ".join(
        f"case when ({of}) is not null and hash({of}) not in (from {key}_above) then hash({of}) end as {key}"
        for key, of in keys.items()
    )
    con.execute(
        f"create or replace table features as select {', '.join(COMPARED)}, {capped}, "
        f"row_number() over (order by {', '.join(ORDERED)}, number) as unique_id from compared"
    )


def _terms(
    con: duckdb.DuckDBPyConnection, trained: Mapping[str, Any], policy: Policy, key: bytes
) -> tuple[dict[str, dict[str, float]], dict[str, float]]:
    """Of each column whose terms are weighed by how frequent they are: shares of the frequent ones and of a rare one."""
    columns = [
        column
        for comparison in trained["comparisons"]
        for level in comparison["comparison_levels"]
        if (column := level.get("tf_adjustment_column"))
    ]
    terms, rare = {}, {}
    for column in columns:
        con.execute(
            f"create or replace table counted as select {column} as term, count(*) as n from features "
            f"where {column} is not null group by {column}"
        )
        known_n, mean = con.execute(
            "select sum(n)::bigint, coalesce(sum(n * n) filter (n < $1) / sum(n) filter (n < $1), 1) from counted",
            [policy.term_records_min],
        ).fetchone() or (0, 1.0)
        often = con.execute(
            "select term, n from counted where n >= $1 order by term", [policy.term_records_min]
        ).fetchall()
        terms[column] = {token(key, column, term): n / known_n for term, n in often}
        rare[column] = mean / known_n
    return terms, rare


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


def _linker(con: duckdb.DuckDBPyConnection, settings: dict[str, Any]) -> Linker:
    from splink import DuckDBAPI, Linker

    return Linker(DuckDBAPI(con).register("features"), settings, log_level=logging.ERROR)


def _trained(con: duckdb.DuckDBPyConnection, comparisons: list[str], policy: Policy) -> dict[str, Any] | None:
    """Splink's settings with the estimated parameters; None where too few pairs of records may be one person."""
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
    learnt = False
    for key, column in TRAINING.items():
        pairs = con.execute(
            f"select coalesce(sum(n * (n - 1) / 2), 0) from (select count(*) as n from features where {key} is not null group by {key})"
        ).fetchone()
        if pairs and pairs[0] >= policy.training_records_min:
            learnt = True
            training.estimate_parameters_using_expectation_maximisation(
                f"l.{column} = r.{column} and l.{key} = r.{key}",
                estimate_without_term_frequencies=True,
                max_pairs=policy.training_pairs_max,
            )
    con.execute(f"set threads = {threads[0] if threads else 1}")
    if not learnt:
        return None
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
