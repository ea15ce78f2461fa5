"""Pieces that are written by hand, each beside a library's or a textbook's way.

Times are of gradients, at the sizes of the base preset on Beauty. Names say which of the two ways
the product runs.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks.harness import flops
from benchmarks.harness.cases import Work, WrongResult, expect_close
from benchmarks.work.steps import FLOAT32_TOLERANCE, descend
from socialrec_jax.models.dropout import Dropout, DropoutRng
from socialrec_jax.models.items import normalise
from socialrec_jax.shapes import Array
from socialrec_jax.training.losses import full_softmax

TEMPERATURE = 0.07
RATE = 0.5  # of dropout
# All logits at once would be 200 MB.
_CHUNK = 512  # rows of logits at once, in the textbook's softmax


@dataclasses.dataclass(frozen=True)
class Sizes:
    """4,096 events in windows of 64, 12,101 items, width 128."""

    events: int = 4096
    items: int = 12101
    width: int = 128
    window: int = 64

    @property
    def windows(self) -> int:
        return self.events // self.window


SIZES = Sizes()
TINY_SIZES = Sizes(events=1024, items=500, width=32, window=32)


def softmax(product: bool, sizes: Sizes) -> Work:
    """Full softmax: gradients are made in the forward pass (the product's way), or logits are
    computed again in the backward pass, chunk by chunk.
    """
    rng = np.random.default_rng(0)
    N, V, D = sizes.events, sizes.items, sizes.width
    users = normalise(_normal(rng, (N, D)))
    items = normalise(_normal(rng, (V, D)))
    # The items that were bought next [N].
    targets = jnp.asarray(rng.integers(0, V, N))
    ways = _ordered((_softmax, _recomputed_softmax), product)
    loss, reference = (partial(way, targets=targets) for way in ways)
    work = _gradient_work(loss, reference, (users, items), N)
    work.flops = flops.TRAINING * flops.softmax(N, V, D)
    return work


def _softmax(vectors: tuple[Array, Array], targets: Array) -> Array:
    users, items = vectors
    weights = jnp.ones(len(users))
    return full_softmax(users, items, targets, weights, TEMPERATURE).total


def _recomputed_softmax(vectors: tuple[Array, Array], targets: Array) -> Array:
    users, items = vectors

    @partial(jax.checkpoint, prevent_cse=False)
    def add_chunk(total: Array, chunk: tuple[Array, Array]):
        chunk_users, chunk_targets = chunk
        logits = (chunk_users / TEMPERATURE) @ items.T
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, chunk_targets)
        return total + losses.sum(), None

    # [chunks, rows of a chunk, ...]
    chunks_of_users = users.reshape(-1, _CHUNK, users.shape[-1])
    chunks = chunks_of_users, targets.reshape(-1, _CHUNK)
    total, _ = jax.lax.scan(add_chunk, jnp.zeros(()), chunks)
    return total


def dropout(product: bool, sizes: Sizes) -> Work:
    """Dropout: a hash of row and place (the product's way), or `jax.random.bernoulli`."""
    shape = sizes.windows, sizes.window, sizes.width
    x = _normal(np.random.default_rng(0), shape)
    drop = _hash_dropout if product else _bernoulli_dropout

    def loss(x: Array) -> Array:
        return jnp.sum(jnp.tanh(drop(x)))

    def check(carry: Any) -> None:
        # The two ways draw different masks, so their share is what can be compared.
        kept = float(jnp.mean(drop(jnp.ones(shape)) > 0))
        if abs(kept - (1 - RATE)) > 0.01:
            raise WrongResult(f"{kept:.1%} are kept, not {1 - RATE:.0%}")
        if not np.isfinite(np.asarray(carry[1])):
            raise WrongResult("the last loss is not finite")

    return _descent_work(loss, x, check, sizes.events)


def _hash_dropout(x: Array) -> Array:
    rows = jnp.arange(len(x), dtype=jnp.int32)
    dropout_rng = DropoutRng(jnp.uint32(1), rows)
    return jnp.asarray(Dropout(RATE).apply({}, x, dropout_rng))


def _bernoulli_dropout(x: Array) -> Array:
    keep = jax.random.bernoulli(jax.random.key(1), 1 - RATE, x.shape)
    return jnp.where(keep, x / (1 - RATE), 0)


def _ordered(ways: tuple[Callable, Callable], product: bool) -> tuple[Callable, ...]:
    """(the way that is timed, the other one); the product's is the first of ways."""
    return ways if product else ways[::-1]


def _normal(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    return jnp.asarray(rng.normal(size=shape), jnp.float32)


def _gradient_work(loss: Callable, reference: Callable, params: Any, events: int) -> Work:
    """Work whose loss and gradients must be those of the reference."""

    def check(carry: Any) -> None:
        actual = jax.jit(jax.value_and_grad(loss))(params)
        expected = jax.jit(jax.value_and_grad(reference))(params)
        expect_close("loss and gradients", actual, expected, FLOAT32_TOLERANCE)
        if not np.isfinite(np.asarray(carry[1])):
            raise WrongResult("the last loss is not finite")

    return _descent_work(loss, params, check, events)


def _descent_work(loss: Callable, params: Any, check: Callable, events: int) -> Work:
    call = descend(loss)
    # The call may write into its input, and check still needs the parameters.
    first = jax.tree.map(jnp.copy, params)
    return Work(
        call=lambda carry: call(carry[0]),
        carry=(first, None),
        check=check,
        unit="events",
        units_per_call=events,
    )
