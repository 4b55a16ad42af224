"""What must hold of every published table, whatever it tells. One row per table; each column counts its faults."""

from pipeline.quality.suites import Expect, Suite

_FAULTS = (
    (
        "grain_stated",
        "null_grain",
        "Q-13",
        "A row does not say whom or what it is about, so a reader's join loses it.",
    ),
    (
        "grain_unique",
        "doubled_grain",
        "Q-13",
        "A row stands twice, so readers would count it twice and send twice.",
    ),
    (
        "of_the_day",
        "other_days",
        "Q-12",
        "A row is of another day than the release: figures of two days would be added up.",
    ),
    (
        "no_small_cells",
        "small_cells",
        "Q-21",
        "A figure tells of fewer people than k_anon_min: they could be recognised.",
    ),
    (
        "no_personal_data",
        "personal_data",
        "Q-24",
        "A phone, an e-mail, an identity number or a bank card is about to leave in clear.\n\nFind out which feed "
        "brings it into which column, and give that column its `pii` class in the contract.",
    ),
    (
        "columns_allowed",
        "other_columns",
        "Q-25",
        "The file has other columns than the allow-list (`meta.publish`), or misses some.",
    ),
    (
        "keys_are_tokens",
        "clear_keys",
        "Q-26",
        "A customer key is no token: a source id or clear personal data is about to leave.",
    ),
)

SUITE = Suite(
    "releases.every_table",
    tuple(
        Expect(check, "ExpectColumnValuesToBeInSet", {"column": column, "value_set": [0]}, text, gate=gate)
        for check, column, gate, text in _FAULTS
    ),
)
