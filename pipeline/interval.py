"""How sure a share is that was counted."""


def wilson(share: float, n: int, sigmas: float) -> tuple[float, float]:
    """Lowest and highest share that the observed one of `n` is still compatible with: Wilson's score interval.

    It lies within 0 and 1 also where all of few agree, and is not too narrow for a few dozen, as that of the normal
    distribution is. 1.96 sigmas are 95 %.
    """
    spread = sigmas**2 / n
    middle = (share + spread / 2) / (1 + spread)
    half = (spread * share * (1 - share) + spread * spread / 4) ** 0.5 / (1 + spread)
    return max(0.0, middle - half), min(1.0, middle + half)
