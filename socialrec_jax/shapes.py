"""The legend of dimensions, array aliases, and the decorator that checks shapes.

    B rows of a batch    T events of a row     V items of the catalogue   U users
    D model width        H attention heads     A event types              Q queries
    C candidates         N graph nodes         E graph edges              L text tokens
    M sampled negatives  S sequences           K steps of a call          P devices
    n nodes of a tree    m edges of a tree     r recent items of a node   q social positions

Batches on the host are numpy arrays, on a device jax arrays: one alias covers both. Shapes are
checked when a function is traced, so a compiled step pays nothing.
"""

import jax
import numpy as np
from beartype import beartype
from jaxtyping import Bool, Float, Int, UInt32, jaxtyped

Array = jax.Array | np.ndarray
Bools = Bool
Floats = Float
Ints = Int
Words = UInt32  # of 32 bits, for hashes

typed = jaxtyped(typechecker=beartype)
