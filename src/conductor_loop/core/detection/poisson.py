"""How unlikely a count is, if what is counted comes by chance at a known rate."""

from __future__ import annotations

import math
from functools import lru_cache

_NEGLIGIBLE = 1e-16
_MOST_TERMS = 10_000


def log_tail(count: int, mean: float) -> float:
    """Natural logarithm of P(X >= count) for X ~ Poisson(mean).

    In logarithms, so that what no double can hold (1e-400) is told from nothing. At or below the
    mean the answer is 0: such a count is never remarkable, whatever its exact probability.
    """
    if count <= mean:
        return 0.0
    if mean <= 0.0:
        return -math.inf
    # P(X >= k) = pmf(k) (1 + m/(k+1) + m^2/((k+1)(k+2)) + ...): falling terms, as k > m.
    term = total = 1.0
    for step in range(1, _MOST_TERMS):
        term *= mean / (count + step)
        total += term
        if term < total * _NEGLIGIBLE:
            break
    return count * math.log(mean) - mean - math.lgamma(count + 1) + math.log(total)


@lru_cache(maxsize=4096)
def least_unlikely(mean: float, log_p: float) -> int:
    """The smallest count whose tail is below exp(log_p)."""
    low, high = math.floor(mean), math.floor(mean) + 1
    while log_tail(high, mean) >= log_p:
        low, high = high, 2 * high - math.floor(mean)
    while high - low > 1:
        middle = (low + high) // 2
        if log_tail(middle, mean) < log_p:
            high = middle
        else:
            low = middle
    return high
