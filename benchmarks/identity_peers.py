"""The peers: Splink and recordlinkage, each with the settings that its own documentation gives for such data.

Splink 5: the examples `febrl4` (two files), `febrl3` (one file, here for FEBRL 1 to 3) and `accuracy analysis`
(fake_1000, here for every record set with the feed's columns). recordlinkage 0.14: the guides `link two dataframes` and
`data deduplication`. Where they use `soc_sec_id` and it is left out, their rule or comparison of it is left out. Splink's
clusters at 0.99 for FEBRL, as its example does, and 0.95 else, as its tutorial does.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import duckdb
import numpy as np
import pandas as pd
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from benchmarks.identity_data import Dataset


def clusters(n: int, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Connected components of pairs of positions."""
    graph = coo_matrix((np.ones(len(left), dtype=bool), (left, right)), shape=(n, n))
    return connected_components(graph, directed=False)[1]


def _columns(data: Dataset) -> pd.DataFrame:
    """The columns of fake_1000 from those of the feed, where the publisher has none of his own: the name taken apart."""
    if data.columns is not None:
        return data.columns
    records = data.records
    words = records["name"].fillna("").astype(str).str.split() if "name" in records else None
    made = pd.DataFrame({"unique_id": np.arange(len(records))})
    made["first_name"] = None if words is None else words.str[0]
    made["surname"] = None if words is None else words.str[1:].str.join(" ").replace("", None)
    for theirs, ours in (("dob", "birth_date"), ("city", "city"), ("email", "email"), ("address", "address")):
        made[theirs] = records[ours].to_numpy(dtype=object) if ours in records else None
    return made


def splink(data: Dataset) -> np.ndarray:
    """Cluster of each record, with Splink as its examples show it."""
    import splink.comparison_library as cl
    from splink import DuckDBAPI, Linker, SettingsCreator, block_on

    logging.getLogger("splink").setLevel(logging.ERROR)
    frame = _columns(data).astype(object)
    frame = frame.where(frame.notna(), None)
    frame["position"] = np.arange(len(frame))
    is_febrl, has_ssn = "rec_id" in frame, "soc_sec_id" in frame
    two_files = data.records["source"].nunique() == 2 and is_febrl
    if is_febrl:
        rules = [
            block_on("given_name", "surname"),
            "l.given_name = r.surname and l.surname = r.given_name",
            block_on("date_of_birth"),
            *([block_on("soc_sec_id")] if has_ssn else []),
            block_on("state", "address_1"),
            block_on("street_number", "address_1"),
            block_on("postcode"),
        ]
        if not two_files:
            rules = [block_on(c) for c in ("given_name", "surname", "date_of_birth", "postcode")]
            rules = [block_on("soc_sec_id")] * has_ssn + rules
        names = [cl.NameComparison("given_name"), cl.NameComparison("surname")]
        postcode = (
            cl.DamerauLevenshteinAtThresholds("postcode", [1, 2]) if two_files else cl.ExactMatch("postcode")
        )
        comparisons = [
            *([c.configure(term_frequency_adjustments=True) for c in names] if two_files else names),
            cl.DateOfBirthComparison(
                "date_of_birth", input_is_string=True, datetime_format="%Y%m%d", invalid_dates_as_null=True
            ),
            *(
                [cl.DamerauLevenshteinAtThresholds("soc_sec_id", [1, 2] if two_files else [2])]
                if has_ssn
                else []
            ),
            cl.ExactMatch("street_number").configure(term_frequency_adjustments=True),
            postcode.configure(term_frequency_adjustments=True),
        ]
        sure = [block_on("soc_sec_id")] * has_ssn + [block_on("given_name", "surname", "date_of_birth")]
        if not two_files:
            sure.append(
                "l.given_name = r.surname and l.surname = r.given_name and l.date_of_birth = r.date_of_birth"
            )
        recall, training, threshold = (
            0.8 if two_files else 0.9,
            [block_on("date_of_birth"), block_on("postcode")],
            0.99,
        )
    else:
        rules = [block_on(c) for c in ("first_name", "surname", "dob", "email")]
        comparisons = [
            cl.ForenameSurnameComparison("first_name", "surname"),
            cl.DateOfBirthComparison("dob", input_is_string=True, invalid_dates_as_null=True),
            cl.ExactMatch("city").configure(term_frequency_adjustments=True),
            cl.EmailComparison("email"),
        ]
        sure = [
            "l.first_name = r.first_name and levenshtein(r.dob, l.dob) <= 1",
            "l.surname = r.surname and levenshtein(r.dob, l.dob) <= 1",
            "l.first_name = r.first_name and levenshtein(r.surname, l.surname) <= 2",
            "l.email = r.email",
        ]
        recall, training, threshold = (
            0.7,
            [block_on("dob"), block_on("email"), block_on("first_name", "surname")],
            0.95,
        )
    settings = SettingsCreator(
        link_type="link_only" if two_files else "dedupe_only",
        unique_id_column_name="position",
        blocking_rules_to_generate_predictions=rules,
        comparisons=comparisons,
    )
    api = DuckDBAPI(duckdb.connect())
    parts = [
        part.drop(columns="source", errors="ignore")
        for _, part in frame.groupby(data.records["source"].to_numpy())
    ]
    tables = [
        api.register(part, dataset_display_name=f"file_{i}")
        for i, part in enumerate(parts if two_files else [frame])
    ]
    linker = Linker(tables if two_files else tables[0], settings, log_level=logging.ERROR)
    linker.training.estimate_probability_two_random_records_match(sure, recall=recall)
    linker.training.estimate_u_using_random_sampling(max_pairs=1_000_000, seed=5)
    for rule in training:
        linker.training.estimate_parameters_using_expectation_maximisation(
            rule, estimate_without_term_frequencies=two_files or not is_febrl
        )
    pairs = linker.inference.predict(threshold_match_probability=threshold).as_pandas_dataframe()
    return clusters(len(frame), pairs["position_l"].to_numpy(int), pairs["position_r"].to_numpy(int))


def recordlinkage(data: Dataset) -> np.ndarray:
    """Cluster of each record, with recordlinkage as its guides show it."""
    import jellyfish
    import recordlinkage as rl

    # recordlinkage 0.14 calls it by the name that it had before jellyfish 1.
    if not hasattr(jellyfish, "jaro_winkler"):
        jellyfish.jaro_winkler = jellyfish.jaro_winkler_similarity
    frame = _columns(data)
    if "rec_id" not in frame:
        frame = frame.rename(columns={"first_name": "given_name", "dob": "date_of_birth", "city": "suburb"})
    frame = frame.reset_index(drop=True)
    two_files = data.records["source"].nunique() == 2 and "rec_id" in frame
    parts = [part for _, part in frame.groupby(data.records["source"].to_numpy())] if two_files else [frame]
    index = rl.Index()
    index.block("given_name")
    compare = rl.Compare()
    compare.exact("given_name", "given_name", label="given_name")
    compare.string("surname", "surname", method="jarowinkler", threshold=0.85, label="surname")
    for column in ("date_of_birth", "suburb", "state"):
        if column in frame:
            compare.exact(column, column, label=column)
    street = "address_1" if "address_1" in frame else "address"
    if street in frame:
        compare.string(street, street, threshold=0.85, label=street)
    features = compare.compute(index.index(*parts), *parts)
    found = features[features.sum(axis=1) > 3].index
    return clusters(len(frame), found.get_level_values(0).to_numpy(), found.get_level_values(1).to_numpy())


PEERS: dict[str, Callable[[Dataset], np.ndarray]] = {"splink": splink, "recordlinkage": recordlinkage}
