"""One optimiser step of the retriever as work to be timed, and what the suites that step share."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import flops, workloads
from benchmarks.cases import Work, Wrong, expect_close
from benchmarks.workloads import EVENT_TYPES, SEQUENCES
from socialrec_jax.batch import Batch
from socialrec_jax.models.dropout import DropoutRng
from socialrec_jax.models.recommender import RecommenderModel
from socialrec_jax.runtime import parallel
from socialrec_jax.training import local_vocabulary
from socialrec_jax.training.retriever import RetrieverTrainer
from socialrec_jax.training.state import TrainState

STEPS = 1000  # of the learning-rate schedule: more than will be run
FLOAT32, BFLOAT16 = 1e-3, 1e-2  # how far a loss may lie from its reference
_RATE = 1e-6  # of plain descent in cases that train a part alone: enough to carry the gradients on


def step(name: str, friends: int = 0) -> Work:
    """The whole optimiser step of the retriever."""
    workload = dataclasses.replace(SEQUENCES[name], friends=friends)
    batches = workload.batches()
    trainer = trainer_of(workload, batches.item_counts(workload.items))
    batch = batches.at(0)
    state, call = trainer.init(batch), trainer.compile()
    expected = reference_loss(trainer, state, batch)
    state, losses = call(state, as_call(batch))
    first = np.asarray(losses)
    events = int((batch.segments > 0).sum())
    forward, traffic = step_cost(workload, state, batch)
    devices, parameters = parallel.num_devices(), num_parameters(state.params)
    return Work(
        call=lambda carry: call(carry[0], as_call(batch)),
        carry=(state, losses),
        check=lambda carry: loss_holds(first, expected, carry[1], workload.dtype),
        unit="events",
        units_per_call=events,
        padding_share=1 - events / batch.segments.size,
        flops=flops.TRAINING * forward,
        bytes=traffic,
        network_bytes=flops.all_reduce_bytes(parameters, devices),
        dtype=workload.dtype,
        devices=devices,
    )


def trainer_of(workload: workloads.Sequences, item_counts: np.ndarray) -> RetrieverTrainer:
    config = workload.config()
    users = workload.users if workload.friends else 0
    return RetrieverTrainer(
        config,
        RecommenderModel(config.model, workload.items, EVENT_TYPES, users),
        STEPS,
        item_counts,
    )


def descend(loss: Callable) -> Callable:
    """(params, loss) -> (params, loss): plain descent, so that every gradient is used and goes on
    to the next call.
    """

    def call(params, *inputs):
        value, gradients = jax.value_and_grad(loss)(params, *inputs)
        return jax.tree.map(lambda p, g: p - _RATE * g, params, gradients), value

    return jax.jit(call, donate_argnums=0)


def as_call(batch):
    """Rows [B, ...] as one step of a device call [P, 1, B / P, ...]."""
    return jax.tree.map(lambda leaf: leaf[:, None], parallel.split_over_devices(batch))


def reference_loss(trainer: RetrieverTrainer, state: TrainState, batch: Batch) -> jax.Array:
    """The same loss in float32 at full precision, on one device, outside of the call that is
    timed.
    """
    model = dataclasses.replace(trainer.config.model, compute_dtype="float32")
    plain = dataclasses.replace(trainer, model=trainer.model.clone(config=model))
    counts = jnp.asarray(trainer.running_counts)

    def loss(params: dict):
        word, drawn = plain.randomness(state.step, counts)
        world = local_vocabulary.gather({}, batch, drawn, {})
        bound = plain.model.bind({"params": params})
        return plain.loss_sums(bound, world, DropoutRng(word, jnp.asarray(batch.row_ids)))[0].mean()

    with jax.default_matmul_precision("highest"):
        return jax.jit(loss)(state.served)  # before the first step: averages are the parameters


def step_cost(
    workload: workloads.Sequences, state: TrainState, batch: Batch
) -> tuple[float, float]:
    """(forward FLOPs, bytes of the step); each device updates parameters of its own, tables left
    out.
    """
    events, pairs = int((batch.segments > 0).sum()), flops.causal_pairs(batch.segments)
    classes = workload.negatives or workload.items
    forward = flops.behavior(events, pairs, workload.width, workload.layers)
    forward += flops.softmax(events, classes, workload.width)
    if batch.friends is not None:
        users = batch.friends.users
        forward += flops.convolution(users.size, batch.friends.edges.size, workload.width)
    traffic = flops.activation_bytes(
        events, workload.width, workload.layers, jnp.dtype(workload.dtype).itemsize
    )
    return forward, traffic + parallel.num_devices() * flops.adam_bytes(
        num_parameters(state.params)
    )


def num_parameters(params: dict) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(params))


def loss_holds(first, expected, last, dtype: str = "float32") -> None:
    """Raise Wrong unless the first loss is the expected one and the last is a number."""
    expect_close(
        "the first loss", np.ravel(first)[0], expected, BFLOAT16 if dtype == "bfloat16" else FLOAT32
    )
    if not np.isfinite(np.asarray(last)).all():
        raise Wrong("the last loss is not finite")
