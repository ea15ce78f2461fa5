"""Do the hand-written pieces earn their place? Each against the library's or the textbook's way, in
one run.

    python -m benchmarks.choices [--repeats 7]

Times are gradients at the sizes of the base preset on Beauty (4,096 events, 12,101 items, width
128, windows of 64). The two ways take turns; a ratio is textbook over ours, above 1 means that ours
is faster.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax

from socialrec_jax.models.attention import log_buckets
from socialrec_jax.models.dropout import Dropout, DropoutRng
from socialrec_jax.models.items import normalise
from socialrec_jax.runtime.environment import environment
from socialrec_jax.training.losses import full_softmax

N, V, D, T, H, BUCKETS = 4096, 12101, 128, 64, 4, 32
TEMPERATURE = 0.07


def softmax() -> tuple[Callable, Callable, tuple]:
    """Full softmax: gradient in the forward pass against chunks recomputed by jax.checkpoint."""
    rng = np.random.default_rng(0)
    users, items = (normalise(jnp.asarray(rng.normal(size=(n, D)), jnp.float32)) for n in (N, V))
    targets, weights = jnp.asarray(rng.integers(0, V, N)), jnp.ones(N)

    def textbook(users, items):
        @partial(jax.checkpoint, prevent_cse=False)
        def add(total, part):
            logits = (part[0] / TEMPERATURE) @ items.T
            return total + optax.softmax_cross_entropy_with_integer_labels(
                logits, part[1]
            ).sum(), None

        chunks = (users.reshape(-1, 512, D), targets.reshape(-1, 512))
        return jax.lax.scan(add, jnp.zeros(()), chunks)[0]

    def ours(users, items):
        return full_softmax(users, items, targets, weights, TEMPERATURE).total

    return ours, textbook, (users, items)


def relative_bias() -> tuple[Callable, Callable, tuple]:
    """Attention bias of log buckets: lookup against a product with one-hot rows."""
    rng = np.random.default_rng(0)
    bucket = log_buckets(jnp.asarray(rng.integers(0, 2**28, (N // T, T, T)), jnp.int32), BUCKETS)
    weight = jnp.asarray(rng.normal(size=(N // T, H, T, T)), jnp.float32)

    def ours(table):
        return jnp.sum(jnp.tanh(jnp.moveaxis(table[bucket], -1, 1) + weight) * weight)

    def textbook(table):
        bias = jnp.einsum("BTSK,KH->BHTS", jax.nn.one_hot(bucket, BUCKETS), table)
        return jnp.sum(jnp.tanh(bias + weight) * weight)

    return ours, textbook, (jnp.zeros((BUCKETS, H)),)


def dropout() -> tuple[Callable, Callable, tuple]:
    """Dropout: a hash of row and place against jax.random.bernoulli with the default generator."""
    x = jnp.asarray(np.random.default_rng(0).normal(size=(N // T, T, D)), jnp.float32)
    dropout_rng = DropoutRng(jnp.uint32(1), jnp.arange(N // T, dtype=jnp.int32))

    def ours(x):
        return jnp.sum(jnp.tanh(jnp.asarray(Dropout(0.5).apply({}, x, dropout_rng))))

    def textbook(x):
        return jnp.sum(
            jnp.tanh(jnp.where(jax.random.bernoulli(jax.random.key(1), 0.5, x.shape), x / 0.5, 0))
        )

    return ours, textbook, (x,)


def seconds(call: Callable, arguments: tuple) -> float:
    began = time.perf_counter()
    jax.block_until_ready(call(*arguments))
    return time.perf_counter() - began


def compare(make: Callable, repeats: int) -> dict[str, float]:
    """Median milliseconds of both ways, and the median and quartiles of their ratio over
    interleaved repeats.
    """
    ours, textbook, arguments = make()
    everything = tuple(range(len(arguments)))
    calls = [jax.jit(jax.value_and_grad(function, everything)) for function in (ours, textbook)]
    for call in calls:
        seconds(call, arguments)
        seconds(call, arguments)
    times = np.array([[seconds(call, arguments) for call in calls] for _ in range(repeats)])
    low, ratio, high = np.quantile(times[:, 1] / times[:, 0], [0.25, 0.5, 0.75])
    ours_ms, textbook_ms = np.median(times, axis=0) * 1e3
    figures = {
        "ours_ms": ours_ms,
        "textbook_ms": textbook_ms,
        "ratio": ratio,
        "ratio_p25": low,
        "ratio_p75": high,
    }
    return {name: round(float(value), 2) for name, value in figures.items()}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=7, help="interleaved repeats of each pair")
    repeats = parser.parse_args().repeats
    results = {make.__name__: compare(make, repeats) for make in (softmax, relative_bias, dropout)}
    for name, figures in results.items():
        print(f"{name:14s} {figures}")
    print(json.dumps({"benchmark": "choices", "results": results, "environment": environment()}))


if __name__ == "__main__":
    main()
