"""How queries score the catalogue, on a device."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from socialrec_jax.inference.tuning import exact_precision


class Score(NamedTuple):
    """How queries of one kind score the catalogue; all functions run on a device.

    The scores [q, V] are products(shared, queries) + addend(shared, queries). The products are
    written to memory, where seen items are masked. The addend is computed wherever scores are read,
    so it is never written.
    """

    products: Callable  # -> [q, V]
    addend: Callable | None = None  # -> [q, V] or what broadcasts to it
    shifts: Callable | None = None  # -> [q], see `top_k_and_log_total`


def with_fallback(temperature: float) -> Score:
    """The retriever's score: cosine / temperature, or popularity for users without history.

    shared is (catalogue [V, D], fallback [V]), queries are user states [q, D]. A state of zeros is
    a user without history, who gets the fallback's scores.
    """
    precision = exact_precision()

    def products(shared: tuple, users: jax.Array) -> jax.Array:
        catalogue, _ = shared
        return jnp.matmul(users / temperature, catalogue.T, precision=precision)

    def addend(shared: tuple, users: jax.Array) -> jax.Array:
        _, fallback = shared
        return jnp.where(_is_unknown(users)[:, None], fallback[None], 0)

    def shifts(shared: tuple, users: jax.Array) -> jax.Array:
        _, fallback = shared
        # A cosine is at most 1, and a temperature at least 0.02 (config.py).
        return jnp.where(_is_unknown(users), jnp.max(fallback), 0)

    return Score(products, addend, shifts)


def _is_unknown(users: jax.Array) -> jax.Array:
    return jnp.all(users == 0, axis=-1)
