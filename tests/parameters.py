"""Parameters of models for tests."""

from __future__ import annotations

from typing import TypeVar

import jax
import numpy as np

Params = TypeVar("Params")


def perturbed(params: Params, scale: float = 0.3) -> Params:
    """Parameters away from their start: no bias zero, no scale one, every gate a little open.

    NumPy draws, because JAX would compile a program for each shape.
    """
    rng = np.random.default_rng(1)
    return jax.tree.map(
        lambda leaf: np.asarray(leaf) + rng.normal(0, scale, leaf.shape).astype(np.float32), params
    )
