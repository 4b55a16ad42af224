"""Who is who, second stage: pairs of records that agree too well to be two people although no identifier is equal.

Fellegi-Sunter weights, estimated by Splink on DuckDB from the records themselves: u (how often strangers agree) by
sampling random pairs, m (how often one person's records agree) by expectation maximisation. Fixed seeds, one thread
where sums of floats decide, and rounded parameters give the same pairs for the same records in any order. Policy
switches the stage on and holds its threshold (`identity_probabilistic_…` in thresholds.csv).

What the comparisons allow for: typos, swapped parts of a name, nicknames that begin alike, swapped day and month,
transposed digits, parts of an address in another order. Names in Han characters are equal, or equal with the family
name put last, or they differ: with two or three characters an edit distance of one is another person, and brothers
share all but one character.

Weights treat columns as independent, which the people of one household are not: they share address, city, postcode
and family name. What they do not share is never outweighed (`_TWO_PEOPLE`).
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
_HAN = r"[\p{Han}·]+"


@dataclass(frozen=True)
class Policy:
    """Thresholds of the second stage in force on a day; `thresholds.csv` says why they are what they are."""

    enabled: bool
    probability_min: float
    rules_recall: float
    block_records_max: int
    training_pairs_max: int
    training_records_min: int

    @classmethod
    def on(cls, as_of: date) -> Policy:
        value = thresholds(as_of)
        return cls(
            enabled=value["identity_probabilistic_enabled"] > 0,
            probability_min=value["identity_probabilistic_min"],
            rules_recall=value["identity_probabilistic_rules_recall"],
            block_records_max=int(value["identity_probabilistic_block_max"]),
            training_pairs_max=int(value["identity_probabilistic_training_pairs"]),
            training_records_min=int(value["identity_probabilistic_records_min"]),
        )


# Clear columns → what is compared. Every value is lower case without accents; null where nothing is known.
_FEATURES = f"""
    with clean as (
        select
            position,
            nullif(trim(regexp_replace(lower(strip_accents(name)), '[^\\p{{L}}\\p{{N}} ]+', ' ', 'g')), '') as name,
            nullif(regexp_replace(birth_date, '\\D', '', 'g'), '') as dob,
            nullif(trim(lower(strip_accents(address))), '') as address,
            nullif(trim(lower(strip_accents(city))), '') as city,
            nullif(regexp_replace(lower(postcode), '\\s', '', 'g'), '') as postcode,
            nullif(trim(phone), '') as phone,
            nullif(trim(lower(email)), '') as email,
            nullif(lower(gender), '') as gender,
            nullif(trim(lower(identifier)), '') as identifier
        from records
    ),
    parts as (
        select
            *,
            regexp_full_match(replace(name, ' ', ''), '{_HAN}') as is_han,
            string_split_regex(name, '\\s+') as words,
            list_sort(regexp_extract_all(address, '\\d+')) as numbers,
            list_sort(list_distinct(list_filter(
                string_split_regex(regexp_replace(address, '[^\\p{{L}}]+', ' ', 'g'), '\\s+'), x -> length(x) > 1
            ))) as streets
        from clean
    )
    select
        position,
        case when is_han then replace(name, ' ', '') end as han,
        case when not is_han then words[1] end as first_word,
        case when not is_han and len(words) > 1 then words[-1] end as last_word,
        case when is_han then replace(name, ' ', '')
            when len(words) > 1 then array_to_string(list_sort(words), ' ') end as full_name,
        dob,
        nullif(array_to_string(numbers, ' '), '') as house,
        nullif(array_to_string(streets, ' '), '') as street,
        case when len(streets) > 0 then streets end as street_words,
        list_sort(streets, 'desc')[1] as street_word,
        city,
        postcode,
        phone,
        email,
        identifier,
        split_part(email, '@', 1) as mailbox,
        case when gender in ('male', 'female') then gender end as gender
    from parts
"""

# A pair is scored where one of these is equal: a whole identifier, or parts that strangers share about once in a billion
# pairs. Together they let any one column be wrong. A key of more records than the policy's cap blocks nothing, so that
# a shop's mailbox on 50,000 records costs nothing. Null where a part is unknown: concatenation passes it on.
_BLOCKS = {
    "block_email": "email",
    "block_phone": "phone",
    "block_identifier": "identifier",
    "block_name_year": "full_name || substr(dob, 1, 4)",
    "block_name_day": "full_name || substr(dob, 5, 4)",
    "block_name_postcode": "full_name || postcode",
    "block_name_city": "full_name || city",
    "block_name_street": "full_name || street_word",
    "block_name_mailbox": "full_name || mailbox",
    "block_dob_first": "dob || substr(first_word, 1, 2)",
    "block_dob_last": "dob || substr(coalesce(last_word, first_word), 1, 2)",
    "block_dob_postcode": "dob || postcode",
    "block_dob_city": "dob || city",
    "block_dob_street": "dob || street_word",
    "block_first_house": "first_word || postcode || house",
    "block_last_house": "last_word || postcode || house",
    "block_first_street": "first_word || street_word",
    "block_last_street": "last_word || street_word",
    "block_address": "house || street_word || postcode",
}
# EM learns from the pairs that share one of these whatever else they share; it learns nothing of that column itself.
_TRAINING = {
    "key_dob": "dob",
    "key_name": "full_name",
    "key_email": "email",
    "key_postcode": "postcode",
    "key_phone": "phone",
    "key_identifier": "identifier",
}
# So sure that the number of pairs they give is the number of matches times the recall that policy says.
_SURE = (
    "l.key_name = r.key_name and l.dob = r.dob",
    "l.key_email = r.key_email",
    "l.key_phone = r.key_phone",
    "l.key_identifier = r.key_identifier",
    "l.block_name_postcode = r.block_name_postcode",
)
_KEYS = _BLOCKS | _TRAINING


def _level(condition: str, label: str, **options: object) -> dict[str, object]:
    return {"sql_condition": condition, "label_for_charts": label, **options}


def _comparison(column: str, null: str, *levels: dict[str, object]) -> dict[str, object]:
    return {
        "output_column_name": column,
        "comparison_levels": [
            _level(null, "unknown", is_null_level=True),
            *levels,
            _level("ELSE", "differs"),
        ],
    }


def _near(one: str, other: str) -> str:
    """Two Latin words that one typo, or a nickname, can make of one another."""
    return (
        f"(jaro_winkler_similarity({one}, {other}) >= 0.88 "
        f"or (length({one}) > 3 and damerau_levenshtein({one}, {other}) <= 1) "
        f"or (length({one}) > 2 and length({other}) > 2 and (starts_with({one}, {other}) or starts_with({other}, {one}))))"
    )


def _either_null(*columns: str) -> str:
    return " or ".join(f"{c}_l is null or {c}_r is null" for c in columns)


_COMPARISONS: dict[str, dict[str, object]] = {
    "name": _comparison(
        "name",
        "(first_word_l is null and han_l is null) or (first_word_r is null and han_r is null) "
        "or (han_l is null) <> (han_r is null)",
        _level("full_name_l = full_name_r", "equal, in any order", tf_adjustment_column="full_name"),
        _level(
            "han_l = substr(han_r, 2) || substr(han_r, 1, 1) or han_r = substr(han_l, 2) || substr(han_l, 1, 1)",
            "family name put last",
        ),
        _level(
            f"({_near('first_word_l', 'first_word_r')} and {_near('last_word_l', 'last_word_r')}) "
            f"or ({_near('first_word_l', 'last_word_r')} and {_near('last_word_l', 'first_word_r')})",
            "alike",
        ),
        _level(
            "(last_word_l is null or last_word_r is null) and (first_word_l = first_word_r "
            "or first_word_l = last_word_r or last_word_l = first_word_r)",
            "one of two parts known",
        ),
        _level(f"{_near('first_word_l', 'first_word_r')}", "given name alike"),
        _level(
            f"{_near('last_word_l', 'last_word_r')} or {_near('first_word_l', 'last_word_r')} "
            f"or {_near('last_word_l', 'first_word_r')}",
            "family name alike",
        ),
    ),
    "dob": _comparison(
        "dob",
        _either_null("dob"),
        _level("dob_l = dob_r", "equal"),
        _level(
            "damerau_levenshtein(dob_l, dob_r) <= 1 "
            "or dob_l = substr(dob_r, 1, 4) || substr(dob_r, 7, 2) || substr(dob_r, 5, 2)",
            "one digit, or day and month swapped",
        ),
        _level(
            "(substr(dob_l, 1, 4) = substr(dob_r, 1, 4))::int + (substr(dob_l, 5, 2) = substr(dob_r, 5, 2))::int "
            "+ (substr(dob_l, 7, 2) = substr(dob_r, 7, 2))::int >= 2",
            "two of year, month and day",
        ),
        _level("damerau_levenshtein(dob_l, dob_r) <= 2", "two digits"),
    ),
    "address": _comparison(
        "address",
        _either_null("street"),
        _level("street_l = street_r and house_l = house_r", "equal, in any order"),
        _level(
            "house_l = house_r and (jaro_winkler_similarity(street_l, street_r) >= 0.88 "
            "or len(list_intersect(street_words_l, street_words_r)) * 2 >= least(len(street_words_l), len(street_words_r)))",
            "same numbers, street alike",
        ),
        _level(
            "jaro_winkler_similarity(street_l, street_r) >= 0.88 "
            "or len(list_intersect(street_words_l, street_words_r)) * 2 >= least(len(street_words_l), len(street_words_r))",
            "street alike",
        ),
        _level("house_l = house_r", "same numbers"),
    ),
    "city": _comparison(
        "city",
        _either_null("city"),
        _level("city_l = city_r", "equal", tf_adjustment_column="city"),
        _level(
            "jaro_winkler_similarity(city_l, city_r) >= 0.88 and not regexp_matches(city_l, '\\p{Han}')",
            "alike",
        ),
    ),
    "postcode": _comparison(
        "postcode",
        _either_null("postcode"),
        _level("postcode_l = postcode_r", "equal"),
        _level("damerau_levenshtein(postcode_l, postcode_r) <= 1", "one digit"),
    ),
    "phone": _comparison(
        "phone",
        _either_null("phone"),
        _level("phone_l = phone_r", "equal"),
        _level("damerau_levenshtein(phone_l, phone_r) <= 1", "one digit"),
    ),
    "identifier": _comparison(
        "identifier",
        _either_null("identifier"),
        _level("identifier_l = identifier_r", "equal"),
        _level("damerau_levenshtein(identifier_l, identifier_r) <= 1", "one digit"),
    ),
    "email": _comparison(
        "email",
        _either_null("email"),
        _level("email_l = email_r", "equal"),
        _level("mailbox_l = mailbox_r", "same mailbox at another host"),
        _level(
            "damerau_levenshtein(email_l, email_r) <= 2 or jaro_winkler_similarity(mailbox_l, mailbox_r) >= 0.88",
            "alike",
        ),
    ),
}
# What must be known of enough records for a comparison to be of use.
_NEEDS = {"name": "full_name", "address": "street"} | {
    c: c for c in ("dob", "city", "postcode", "phone", "email", "identifier")
}


def _value(comparison: str, label: str) -> int:
    """The number that Splink gives a level: 0 for the last, counting up."""
    labels = [level["label_for_charts"] for level in _COMPARISONS[comparison]["comparison_levels"]]
    return len(labels) - 1 - labels.index(label)


# What households do not share speaks against a pair however much else agrees (domain.md P-25: precision first). Known and
# different phones or e-mails are no reason by themselves, people have several, but they decide where a name or a birth
# date differs too.
_OTHER_CONTACT = "(gamma_phone = 0 or gamma_email = 0)"
_SAME_CONTACT = "(gamma_phone > 0 or gamma_email > 0)"
_TWO_PEOPLE = f"""
    gamma_identifier < {_value("identifier", "equal")} and (
    -- another given name, unless the birth date is the same: brothers, spouses; twins by their phones
    (gamma_name between 0 and {_value("name", "family name alike")}
        and (gamma_dob < {_value("dob", "equal")} or {_OTHER_CONTACT}))
    -- another birth date, unless the whole name agrees, or what is known of it and the contact: parents and children
    or (gamma_dob = 0 and (gamma_name < 0 or {_OTHER_CONTACT}
        or (gamma_name < {_value("name", "alike")} and not {_SAME_CONTACT})))
    -- nothing but what a household shares
    or (gamma_name < 0 and not (gamma_dob = {_value("dob", "equal")}
        and (gamma_address >= {_value("address", "street alike")} or {_SAME_CONTACT})))
    or (gamma_name < {_value("name", "alike")} and gamma_dob < 0 and not {_SAME_CONTACT})
    -- Han names that differ are two people's even with one birth date: twins
    or (han_l <> han_r and gamma_name < {_value("name", "family name put last")})
    -- as are twins that are told apart by sex
    or (gender_l <> gender_r and gamma_name < {_value("name", "alike")})
    )
"""


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
        _add_keys(con, policy.block_records_max)
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


def _add_keys(con: duckdb.DuckDBPyConnection, cap: int) -> None:
    """Table `features`: what is compared, and the keys. `unique_id` numbers the records by content, not by position."""
    con.execute(f"create table parts as {_FEATURES}")
    keys = ", ".join(f"hash({sql}) as {key}" for key, sql in _KEYS.items())
    known = ", ".join(f"case when ({sql}) is not null then {key} end as {key}" for key, sql in _KEYS.items())
    capped = ", ".join(
        f"case when count({key}) over (partition by {key}) <= {cap} then {key} end as {key}" for key in _KEYS
    )
    con.execute(
        f"""
        create table features as
        with hashed as (select *, {keys} from parts),
        keyed as (select * replace ({known}) from hashed)
        select
            * replace ({capped}),
            row_number() over (
                order by full_name, dob, email, phone, identifier, street, house, city, postcode, first_word, last_word,
                    gender, position
            ) as unique_id
        from keyed
        """
    )
    con.execute("drop table parts")


def _scored(con: duckdb.DuckDBPyConnection, policy: Policy) -> pd.DataFrame:
    counts = con.execute(
        f"select {', '.join(f'count({c})' for c in _NEEDS.values())} from features"
    ).fetchone()
    known = [c for c, n in zip(_NEEDS, counts or (), strict=True) if n >= policy.training_records_min]
    if "name" not in known and "dob" not in known:
        return _pairs([], [], [])
    model = _trained(con, known, policy)
    if not model:
        return _pairs([], [], [])
    predicted = _linker(con, model).inference.predict(
        # At 1 its logarithm has no end.
        threshold_match_probability=min(policy.probability_min, 1 - 1e-9)
    )
    con.execute(f"create view scored as select * from {predicted.physical_name}")
    gammas = ", ".join(
        f"{f's.gamma_{c}' if c in known else '-1'} as gamma_{c}"
        for c in ("name", "dob", "address", "phone", "email", "identifier")
    )
    found = con.execute(
        f"""
        with pairs as (
            select l.position as one, r.position as other, s.match_probability, {gammas},
                l.han as han_l, r.han as han_r, l.gender as gender_l, r.gender as gender_r
            from scored as s
            join features as l on l.unique_id = s.unique_id_l
            join features as r on r.unique_id = s.unique_id_r
        )
        select one, other, match_probability from pairs where not coalesce({_TWO_PEOPLE}, false)
        """
    ).fetchnumpy()
    return _pairs(found["one"], found["other"], found["match_probability"])


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
            "comparisons": [deepcopy(_COMPARISONS[c]) for c in comparisons],
            "blocking_rules_to_generate_predictions": [
                {"blocking_rule": f"l.{key} = r.{key}"} for key in _BLOCKS
            ],
            "retain_matching_columns": True,
        },
    )
    training = linker.training
    training.estimate_probability_two_random_records_match(list(_SURE), recall=policy.rules_recall)
    if not linker.misc.save_model_to_json()["probability_two_random_records_match"]:
        return None
    training.estimate_u_using_random_sampling(
        max_pairs=policy.training_pairs_max, seed=_SEED, min_count_per_level=None, num_chunks=1
    )
    threads = con.execute("select current_setting('threads')").fetchone()
    con.execute("set threads = 1")
    for key, column in _TRAINING.items():
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
