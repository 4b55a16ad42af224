"""Rows in the order of their key have no key twice: seen in passing, where grouping all keys would cost a fifth."""

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc


class KeyOrder:
    """Whether the rows of a delivery, shown table by table, stand in strictly ascending order of their key.

    Attributes:
        ascends: every row so far has a larger key than the row before it, so none stands twice. False says nothing:
            the rows are in another order, or a part of a key is null.
    """

    def __init__(self, key: Sequence[str]) -> None:
        self.ascends = bool(key)
        self._key = list(key)
        self._last: list[Any] | None = None

    def see(self, table: pa.Table) -> None:
        """The next rows. Texts are compared by their bytes, so a key of texts must be what raw will hold."""
        if not self.ascends or not len(table):
            return
        self.ascends = set(self._key) <= set(table.column_names)
        if not self.ascends:
            return
        columns = [table[name].combine_chunks() for name in self._key]
        if any(column.null_count for column in columns):
            self.ascends = False
            return
        first = [column[0].as_py() for column in columns]
        if self._last is not None and not self._last < first:
            self.ascends = False
            return
        self._last = [column[-1].as_py() for column in columns]
        if len(table) > 1:
            self.ascends = bool(pc.all(_larger(columns)).as_py())


def _larger(columns: list[pa.Array]) -> pa.Array:
    """Of each row but the first whether it is larger than the one before, column by column as a dictionary sorts."""
    here, before = columns[0][1:], columns[0][:-1]
    larger = pc.greater(here, before)
    if len(columns) == 1 or pc.all(larger).as_py():
        return larger
    return pc.or_(larger, pc.and_(pc.equal(here, before), _larger(columns[1:])))
