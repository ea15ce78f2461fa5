"""One optimiser step of the retriever, and what works share that train something."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.harness import flops
from benchmarks.harness.cases import Work, WrongResult, expect_close
from benchmarks.harness.workloads import EVENT_TYPES, SEQUENCES, Sequences
from benchmarks.work.reduced_checks import checked_at_reduced_shape
from socialrec_jax.batch import Batch, PackedIndices
from socialrec_jax.models.dropout import DropoutRng
from socialrec_jax.models.recommender import RecommenderModel
from socialrec_jax.runtime import parallel
from socialrec_jax.shapes import Array
from socialrec_jax.training import local_vocabulary
from socialrec_jax.training.retriever import RetrieverTrainer
from socialrec_jax.training.state import TrainState

# Of the learning-rate schedule: more steps than will be run.
STEPS = 1000
# How far a loss may lie from its reference, relatively.
FLOAT32_TOLERANCE, BFLOAT16_TOLERANCE = 1e-3, 1e-2
# Of gradient descent where a part is trained alone: enough that no gradient can be left out.
_LEARNING_RATE = 1e-6


def step(name: str, friends: int = 0) -> Work:
    """The whole optimiser step of the retriever on one batch."""
    workload = dataclasses.replace(SEQUENCES[name], friends=friends)
    return checked_at_reduced_shape(workload, _step)


def _step(workload: Sequences, has_reference: bool) -> Work:
    batches = workload.batches()
    trainer = trainer_of(workload, batches.item_counts(workload.items))
    batch = batches.at(0)
    state, call = trainer.init(batch), trainer.compile()
    # The call donates the state, so the reference comes first.
    expected = reference_loss(trainer, state, batch) if has_reference else None
    carry = call(state, as_call(batch))

    forward_flops, traffic = step_cost(workload, carry[0], batch)
    events, devices = num_events(batch), parallel.num_devices()
    gradients = num_parameters(carry[0].params)
    return training_work(
        call=lambda carry: call(carry[0], as_call(batch)),
        carry=carry,
        expected_loss=expected,
        unit="events",
        units_per_call=events,
        padding_share=1 - events / batch.segments.size,
        flops=flops.TRAINING * forward_flops,
        bytes=traffic,
        network_bytes=flops.all_reduce_bytes(gradients, devices),
        dtype=workload.dtype,
        devices=devices,
    )


def training_work(
    call: Callable, carry: tuple[Any, Any], expected_loss: Any, dtype: str = "float32", **how: Any
) -> Work:
    """Work of a call (state, losses) -> (state, losses).

    carry: what the first call returned, whose loss must be the expected one, if that is not None.
    how: see Work.
    """
    # The next call may write over the losses, so they are copied to the host.
    first_loss = np.asarray(carry[1])

    def check(carry: tuple[Any, Any]) -> str:
        return expect_loss(first_loss, expected_loss, carry[1], dtype)

    return Work(call=call, carry=carry, check=check, dtype=dtype, **how)


def trainer_of(workload: Sequences, item_counts: np.ndarray) -> RetrieverTrainer:
    config = workload.config()
    # The users' table is read by the friends' convolution alone.
    users = workload.users if workload.friends else 0
    model = RecommenderModel(config.model, workload.items, EVENT_TYPES, users)
    return RetrieverTrainer(config, model, STEPS, item_counts)


def descend(loss: Callable) -> Callable:
    """A compiled call (params, *inputs) -> (params, loss) of gradient descent.

    Every gradient is used and goes on to the next call, so that the compiler can leave none out.
    """

    def call(params: Any, *inputs: Any):
        value, gradients = jax.value_and_grad(loss)(params, *inputs)
        params = jax.tree.map(lambda p, g: p - _LEARNING_RATE * g, params, gradients)
        return params, value

    return jax.jit(call, donate_argnums=0)


def as_call(batch: Any) -> Any:
    """Rows [B, ...] as one step of a device call [P, 1, B / P, ...]."""
    return jax.tree.map(lambda leaf: leaf[:, None], parallel.split_over_devices(batch))


def reference_loss(trainer: RetrieverTrainer, state: TrainState, batch: Batch) -> Array:
    """The first step's loss in float32 at full precision, on one device, outside of the timed call.

    state: as it was before the first step, when averages still are the parameters.
    """
    config = dataclasses.replace(trainer.config.model, compute_dtype="float32")
    reference = dataclasses.replace(trainer, model=trainer.model.clone(config=config))
    counts = jnp.asarray(reference.running_counts)

    def loss(params: dict) -> Array:
        # The same draws as in the timed step: dropout masks and negatives.
        seed, negatives = reference.randomness(state.step, counts, reference.config.seed)
        vocabulary = local_vocabulary.gather({}, batch, negatives, {})
        bound = reference.model.bind({"params": params})
        dropout_rng = DropoutRng(seed, jnp.asarray(batch.row_ids))
        item_loss, _ = reference.loss_sums(bound, vocabulary, dropout_rng)
        return item_loss.mean()

    # Accelerators multiply float32 with less precision by default.
    with jax.default_matmul_precision("highest"):
        return jax.jit(loss)(state.served)


def step_cost(workload: Sequences, state: TrainState, batch: Batch) -> tuple[float, float]:
    """(forward FLOPs, bytes of the step).

    Each device updates parameters of its own. Tables that are trained row by row are left out.
    """
    events = num_events(batch)
    itemsize = jnp.dtype(workload.dtype).itemsize
    activations = flops.activation_bytes(events, workload.width, workload.layers, itemsize)
    updates = parallel.num_devices() * flops.adam_bytes(num_parameters(state.params))
    return forward_flops(workload, batch), activations + updates


def forward_flops(workload: Sequences, batch: Batch) -> float:
    """Of the transformer, the softmax and the friends' convolution, where there are friends."""
    events, pairs = num_events(batch), flops.causal_pairs(batch.segments)
    total = flops.behavior(events, pairs, workload.width, workload.layers)
    # Without negatives, the softmax is over all items.
    classes = workload.negatives or workload.items
    total += flops.softmax(events, classes, workload.width)
    if batch.friends is not None:
        nodes, edges = batch.friends.users.size, batch.friends.edges.size
        total += flops.convolution(nodes, edges, workload.width)
    return total


def num_events(batch: Batch | PackedIndices) -> int:
    """Positions that are not padding."""
    # Segment 0 is padding.
    return int((np.asarray(batch.segments) > 0).sum())


def num_parameters(params: dict) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(params))


def expect_loss(first: Any, expected: Any, last: Any, dtype: str = "float32") -> str:
    """Raise WrongResult unless the first loss is the expected one, where there is one, and the last
    is finite; returns what was compared.
    """
    if not np.isfinite(np.asarray(last)).all():
        raise WrongResult("the last loss is not finite")
    if expected is None:
        return "the last loss is finite"
    tolerance = BFLOAT16_TOLERANCE if dtype == "bfloat16" else FLOAT32_TOLERANCE
    return expect_close("the first loss", np.ravel(first)[0], expected, tolerance)
