"""What a contract promises, asked of the delivery profiles with Great Expectations: a second opinion on the loader.

The loader has rejected every row that breaks these; where one of them fails, rows reached raw past its rules (a mapping,
a replay, a file that was put there by hand).
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cache

from pipeline.ingest.contracts import Contract, load_contracts
from pipeline.quality.suites import Expect, Suite, load_suites


def contract_suite(contract: Contract) -> Suite:
    """Expectations that follow from a contract: required columns filled, numbers inside their limits."""
    return Suite(contract.feed, tuple(_expectations(contract)))


def _expectations(contract: Contract) -> Iterator[Expect]:
    required = [f"{n}__nulls" for n, c in contract.stored.items() if c.required and not c.pii]
    if required:
        yield Expect(
            "required_filled",
            "ExpectMulticolumnSumToEqual" if len(required) > 1 else "ExpectColumnValuesToBeBetween",
            {"column_list": required, "sum_total": 0}
            if len(required) > 1
            else {"column": required[0], "max_value": 0},
            "Rows of raw lack a value that the contract requires.\n\n"
            "They did not come through the loader's rules: see the mapping of the feed, then run with --full.",
            gate="Q-03",
        )
    for name, column in contract.stored.items():
        for side, limit in (("min", column.min), ("max", column.max)):
            if limit is not None:
                yield Expect(
                    f"{name}_{side}_kept",
                    "ExpectColumnValuesToBeBetween",
                    {"column": f"{name}__{side}", f"{side}_value": limit},
                    f"Rows of raw hold a {name} that the contract does not allow.\n\n"
                    "They did not come through the loader's rules: see the mapping of the feed, then run with --full.",
                    gate="Q-04",
                )


@cache
def source_suites() -> Mapping[str, Suite]:
    """The suite of every feed: of `expectations/sources`, or, where that expects nothing, of its contract."""
    written = load_suites("expectations.sources")
    suites = {}
    for feed, contract in load_contracts().items():
        own = written.get(feed, Suite(feed))
        derived = contract_suite(contract).expectations
        suites[feed] = own if own.expectations else replace(own, expectations=derived)
    return suites
