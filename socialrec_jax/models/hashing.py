"""A hash of integers, where random bits must not depend on the device or on what is beside."""

from __future__ import annotations

import numpy as np

from socialrec_jax.shapes import Array, Words

# NumPy scalars, so that NumPy arrays stay NumPy arrays.
_SHIFT_1 = np.uint32(16)
_SHIFT_2 = np.uint32(15)
_FACTOR_1 = np.uint32(0x7FEB352D)
_FACTOR_2 = np.uint32(0x846CA68B)


def hash32(x: Words[Array, "*S"]) -> Words[Array, "*S"]:
    """A bijection of 32-bit integers whose output bits flip with probability 1/2 for each input
    bit; for NumPy and JAX arrays.

    The constants are those of `lowbias32` (C. Wellons, "Prospecting for hash functions", 2018).
    """
    x = x ^ (x >> _SHIFT_1)
    x = x * _FACTOR_1
    x = x ^ (x >> _SHIFT_2)
    x = x * _FACTOR_2
    return x ^ (x >> _SHIFT_1)
