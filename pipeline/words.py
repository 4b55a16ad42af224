"""Words for counts that people read."""


def counted(n: float, word: str) -> str:
    """`1 row`, `2 rows`, `1,234 rows`."""
    return f"{n:,} {word}{'' if n == 1 else 's'}"
