"""The behavior transformer alone, gradients included."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.harness import flops
from benchmarks.harness.cases import Work
from benchmarks.harness.workloads import EVENT_TYPES, SEQUENCES
from benchmarks.work.steps import descend, expect_loss, num_events
from socialrec_jax.config import ModelConfig
from socialrec_jax.models.dropout import DropoutRng
from socialrec_jax.models.sequence import BehaviorTransformer
from socialrec_jax.shapes import Array


def behavior(name: str) -> Work:
    """Forward and backward pass of the transformer on item vectors that are drawn at random."""
    workload = SEQUENCES[name]
    config, width = workload.config().model, workload.width
    batch = workload.batches().at(0)
    shape = (*batch.items.shape, width)
    items = _normal(0, shape) / width**0.5
    dropout_rng = DropoutRng(jnp.uint32(1), jnp.asarray(batch.row_ids))
    directions = _normal(1, shape)

    model = BehaviorTransformer(config, EVENT_TYPES)
    params = jax.jit(model.init)(jax.random.key(0), batch, items)["params"]
    reference = dataclasses.replace(config, compute_dtype="float32")
    with jax.default_matmul_precision("highest"):
        reference_loss = jax.jit(_loss(reference, dropout_rng, directions))
        expected = reference_loss(params, batch, items)

    call = descend(_loss(config, dropout_rng, directions))
    batch = jax.device_put(batch)
    carry = call(params, batch, items)
    first_loss = np.asarray(carry[1])
    events, pairs = num_events(batch), flops.causal_pairs(np.asarray(batch.segments))
    itemsize = jnp.dtype(workload.dtype).itemsize
    return Work(
        call=lambda carry: call(carry[0], batch, items),
        carry=carry,
        check=lambda carry: expect_loss(first_loss, expected, carry[1], workload.dtype),
        unit="events",
        units_per_call=events,
        padding_share=1 - events / batch.segments.size,
        flops=flops.TRAINING * flops.behavior(events, pairs, width, workload.layers),
        bytes=flops.activation_bytes(events, width, workload.layers, itemsize),
        dtype=workload.dtype,
    )


def _normal(seed: int, shape: tuple[int, ...]) -> Array:
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def _loss(config: ModelConfig, dropout_rng: DropoutRng, directions: Array) -> Callable:
    """The mean square of each state's product with a direction: all of the states count."""
    model = BehaviorTransformer(config, EVENT_TYPES)

    def loss(params, batch, items) -> Array:
        states = jnp.asarray(model.apply({"params": params}, batch, items, dropout_rng))
        products = jnp.sum(states * directions, -1)
        return jnp.mean(products**2)

    return loss
