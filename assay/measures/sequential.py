"""One level of error over many looks: what each comparison with a champion may spend of it."""

from __future__ import annotations

# The sum of k ** -1.5 over all k: Riemann's zeta(1.5).
TOTAL = 2.612375348685488
EXPONENT = 1.5


def spend(alpha: float, look: int) -> float:
    """Return the level of one look, so that the levels of all looks together are ``alpha``.

    The chance of any false finding is at most their sum, however the looks depend on each other: on one test set
    looked at again, on growing ones, or on fresh ones. Early looks get most, and a look long after still gets some.

    Args:
        alpha: Level of all looks together, 0 to 1.
        look: From 1.

    Returns:
        ``alpha * look ** -1.5 / zeta(1.5)``: of 0.05, 0.0191 at the first look, 0.00046 at the twelfth.

    Raises:
        ValueError: The look is below 1.

    Source:
        Bonferroni's inequality with unequal levels, as alpha is spent in Foster and Stine 2008, Journal of the Royal
        Statistical Society B 70, and Ramdas et al. 2017, Advances in Neural Information Processing Systems 30.
    """
    if look < 1:
        raise ValueError(f"looks are counted from 1. Received: {look}")
    return alpha * look**-EXPONENT / TOTAL
