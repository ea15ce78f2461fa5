"""Random numbers that are a function of what they are for, and of nothing that was drawn before or
beside them.
"""

from __future__ import annotations

import numpy as np


def uniform(*keys: np.ndarray | int) -> np.ndarray:
    """Uniform numbers in [0, 1) float64, one for each combination of the broadcast integer keys.

    The mixing is that of splitmix64 (Steele, Lea & Flood, "Fast splittable pseudorandom number
    generators", 2014).
    """
    word = np.zeros(1, np.uint64)
    for key in keys:
        word = _mix(word + np.asarray(key).astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15))
    return (word >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _mix(word: np.ndarray) -> np.ndarray:
    word = (word ^ (word >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    word = (word ^ (word >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return word ^ (word >> np.uint64(31))
