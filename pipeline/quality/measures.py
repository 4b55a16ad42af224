"""What the gates want to know of a feed beyond counts of nulls: declared in expectations/sources, noted at ingest."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Doubt:
    """Rows that are loaded and yet cannot be right (Q-04). `when` is SQL over the feed's columns in raw, true for such a
    row; `description` completes "rows in which …".
    """

    name: str
    when: str
    description: str


@dataclass(frozen=True)
class Measures:
    """Measures of one feed.

    Attributes:
        amount: SQL over the feed's columns in raw, the money of one row in the delivered currency. It weighs rejected
            rows (Q-07) and days (Q-10).
        mix: column whose one value would betray a partial export, such as the channel of an order (Q-10).
        doubts: rules that no single row is rejected for.
    """

    amount: str | None = None
    mix: str | None = None
    doubts: tuple[Doubt, ...] = ()
