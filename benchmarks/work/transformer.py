"""The behavior transformer alone, gradients included."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.harness import flops
from benchmarks.harness.cases import Work
from benchmarks.harness.workloads import EVENT_TYPES, SEQUENCES, Sequences
from benchmarks.work.reduced_checks import checked_at_reduced_shape
from benchmarks.work.steps import descend, num_events, training_work
from socialrec_jax.batch import Batch
from socialrec_jax.config import ModelConfig
from socialrec_jax.models.dropout import DropoutRng
from socialrec_jax.models.sequence import BehaviorTransformer
from socialrec_jax.shapes import Array


def behavior(name: str) -> Work:
    """Forward and backward pass of the transformer on item vectors that are drawn at random."""
    return checked_at_reduced_shape(SEQUENCES[name], _behavior)


def _behavior(workload: Sequences, has_reference: bool) -> Work:
    config, width = workload.config().model, workload.width
    batch = jax.device_put(workload.batches().at(0))
    # Vectors of about unit length, as the model's own item vectors are.
    items = _normal(0, (*batch.items.shape, width)) / width**0.5

    model = BehaviorTransformer(config, EVENT_TYPES)
    params = jax.jit(model.init)(jax.random.key(0), batch, items)["params"]
    expected = _reference_loss(config, params, batch, items) if has_reference else None
    call = descend(_loss_of(config, batch))
    carry = call(params, batch, items)

    events, pairs = num_events(batch), flops.causal_pairs(np.asarray(batch.segments))
    itemsize = jnp.dtype(workload.dtype).itemsize
    return training_work(
        call=lambda carry: call(carry[0], batch, items),
        carry=carry,
        expected_loss=expected,
        unit="events",
        units_per_call=events,
        padding_share=1 - events / batch.segments.size,
        flops=flops.TRAINING * flops.behavior(events, pairs, width, workload.layers),
        bytes=flops.activation_bytes(events, width, workload.layers, itemsize),
        dtype=workload.dtype,
    )


def _normal(seed: int, shape: tuple[int, ...]) -> Array:
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def _reference_loss(config: ModelConfig, params: dict, batch: Batch, items: Array) -> Array:
    """In float32 at full precision."""
    reference = dataclasses.replace(config, compute_dtype="float32")
    with jax.default_matmul_precision("highest"):
        return jax.jit(_loss_of(reference, batch))(params, batch, items)


def _loss_of(config: ModelConfig, batch: Batch) -> Callable:
    """A loss (params, batch, items) -> the mean square of each state's product with a direction.

    Every entry of every state counts, so that the compiler can leave none out.
    """
    model = BehaviorTransformer(config, EVENT_TYPES)
    dropout_rng = DropoutRng(jnp.uint32(1), jnp.asarray(batch.row_ids))
    directions = _normal(1, (*batch.items.shape, config.width))

    def loss(params, batch, items) -> Array:
        states = jnp.asarray(model.apply({"params": params}, batch, items, dropout_rng))
        products = jnp.sum(states * directions, -1)
        return jnp.mean(products**2)

    return loss
