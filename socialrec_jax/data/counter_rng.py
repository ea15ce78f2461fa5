"""Random numbers that are a function of their keys alone, not of what was drawn before or beside.

A counter-based generator: the same keys give the same number on every machine and in any order.
"""

from __future__ import annotations

import numpy as np


def uniform(*keys: np.ndarray | int) -> np.ndarray:
    """Uniform numbers in [0, 1) float64, one for each combination of the broadcast integer keys.

    The mixing is that of splitmix64 (Steele, Lea & Flood, "Fast splittable pseudorandom number
    generators", 2014).
    """
    state = np.zeros(1, np.uint64)
    for key in keys:
        increment = np.asarray(key).astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
        state = _mix(state + increment)
    top_bits = state >> np.uint64(11)  # the 53 that a float64 holds
    return top_bits.astype(np.float64) * 2.0**-53


def _mix(state: np.ndarray) -> np.ndarray:
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))
