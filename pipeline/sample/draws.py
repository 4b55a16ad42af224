"""Random numbers that depend on (seed, stream, day) only.

The raw words of Philox are stable over numpy versions and machines; its distributions are not promised to
be. So every distribution here is a table of quantiles, rounded when built, read by IEEE +, -, * only.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from statistics import NormalDist

import numpy as np

POINTS = 2048


def quantile_table(ppf: Callable[[float], float]) -> np.ndarray:
    """ppf on the grid (k + 0.5) / POINTS, rounded to 6 digits: hides the last bit of a machine's libm."""
    return np.array([round(ppf((k + 0.5) / POINTS), 6) for k in range(POINTS)])


def lognormal(sigma: float) -> np.ndarray:
    """Quantiles of exp(sigma z): median 1."""
    return quantile_table(lambda u: math.exp(sigma * NormalDist().inv_cdf(u)))


EXPONENTIAL = quantile_table(lambda u: -math.log(1 - u))
NORMAL = quantile_table(NormalDist().inv_cdf)


def read_table(table: np.ndarray, u: np.ndarray) -> np.ndarray:
    """Value of a quantile table at u in [0, 1), linear between its points."""
    # Not np.interp: its compiled inner step may fuse multiply and add on some processors.
    position = u * (len(table) - 1)
    low = position.astype(np.int64)
    step = table[low + 1] - table[low]
    return table[low] + step * (position - low)


def choose(u: np.ndarray, weights: Sequence[float] | np.ndarray) -> np.ndarray:
    """Index into weights for each u in [0, 1)."""
    edges = np.cumsum(np.asarray(weights, dtype=np.float64))
    return np.minimum(np.searchsorted(edges, u * edges[-1], side="right"), len(edges) - 1)


def choose_rowwise(u: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Index into row i of weights (n × k) for each u[i]; a column of weight 0 is never chosen."""
    edges = np.cumsum(weights, axis=1)
    return np.minimum((edges <= (u * edges[:, -1])[:, None]).sum(axis=1), weights.shape[1] - 1)


class Draws:
    """Streams of one seed; a stream is named by what it decides, so a new stream moves no other."""

    def __init__(self, seed: int):
        self.seed = seed

    def words(self, stream: str, n: int, day: int = 0) -> np.ndarray:
        """n words of 64 bits."""
        digest = hashlib.blake2b(f"{stream}|{day}".encode(), digest_size=16, key=str(self.seed).encode())
        key = int.from_bytes(digest.digest(), "little")
        return np.random.Philox(key=key).random_raw(n)

    def unit(self, stream: str, n: int, day: int = 0) -> np.ndarray:
        """n doubles in [0, 1)."""
        return (self.words(stream, n, day) >> np.uint64(11)) * 2.0**-53

    def below(self, stream: str, n: int, limit: int, day: int = 0) -> np.ndarray:
        """n integers in [0, limit)."""
        return (self.unit(stream, n, day) * limit).astype(np.int64)

    def hits(self, stream: str, n: int, probability: float | np.ndarray, day: int = 0) -> np.ndarray:
        """n booleans."""
        return self.unit(stream, n, day) < probability

    def shaped(self, stream: str, n: int, table: np.ndarray, day: int = 0) -> np.ndarray:
        """n values with the quantiles of `table`."""
        return read_table(table, self.unit(stream, n, day))

    def choice(self, stream: str, n: int, weights: Sequence[float] | np.ndarray, day: int = 0) -> np.ndarray:
        """n indexes into weights."""
        return choose(self.unit(stream, n, day), weights)

    def count(self, stream: str, mean: float, day: int = 0) -> int:
        """One count around a mean, with the spread of a Poisson variable."""
        u = self.unit(stream, 2, day)
        if mean < 12:
            return int(mean + u[0])
        return max(0, int(mean + math.sqrt(mean) * float(read_table(NORMAL, u[1:])[0]) + 0.5))
