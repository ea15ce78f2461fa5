"""How fast does each part learn, and the whole step, against what the device could do?"""

from __future__ import annotations

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.harness import flops, workloads
from benchmarks.harness.cases import Case, Work
from benchmarks.harness.workloads import EVENT_TYPES, SEQUENCES, TEXTS
from benchmarks.work import graphs, rankers, steps, updates
from benchmarks.work.steps import STEPS, as_call, descend, loss_holds, num_parameters
from socialrec_jax.batch import TextBatch
from socialrec_jax.config import Config
from socialrec_jax.models.dropout import DropoutRng
from socialrec_jax.models.gpt2 import GPT2
from socialrec_jax.models.sequence import BehaviorTransformer
from socialrec_jax.runtime import parallel
from socialrec_jax.training.text import TextTrainer, text_loss


def cases(tiny: bool) -> list[Case]:
    sequences = workloads.sized(("sasrec-ml1m", "beauty-packed", "dlrmv4-mini"), tiny)
    (text,), (graph,), (catalogue,) = (
        workloads.sized((name,), tiny) for name in ("gpt2-small", "gcn-1m-10m", "catalogue-1m")
    )
    return [
        *(Case("behavior", name, partial(behavior, name)) for name in sequences),
        *(Case("step", name, partial(steps.step, name)) for name in sequences),
        Case("step with friends", sequences[1], partial(steps.step, sequences[1], friends=10)),
        Case("social", graph, partial(graphs.convolution, graph)),
        Case("text", text, partial(text_step, text)),
        Case("ranker", catalogue, partial(rankers.learning, catalogue)),
        Case(
            "embedding update",
            catalogue,
            partial(updates.as_a_whole, catalogue),
            "embedding update",
        ),
        Case(
            "embedding update by rows",
            catalogue,
            partial(updates.by_rows, catalogue),
            "embedding update",
        ),
    ]


def behavior(name: str) -> Work:
    """The transformer alone, gradients included."""
    workload = SEQUENCES[name]
    batch = workload.batches().at(0)
    config, width = workload.config().model, workload.width
    items = jnp.asarray(
        np.random.default_rng(0).normal(size=(*batch.items.shape, width)) / width**0.5, jnp.float32
    )
    dropout_rng = DropoutRng(jnp.uint32(1), jnp.asarray(batch.row_ids))
    towards = jnp.asarray(np.random.default_rng(1).normal(size=items.shape), jnp.float32)

    def loss(config):
        model = BehaviorTransformer(config, EVENT_TYPES)

        def mean(params, batch, items):
            states = jnp.asarray(model.apply({"params": params}, batch, items, dropout_rng))
            return jnp.mean(jnp.sum(states * towards, -1) ** 2)

        return mean

    params = jax.jit(BehaviorTransformer(config, EVENT_TYPES).init)(
        jax.random.key(0), batch, items
    )["params"]
    plain = loss(dataclasses.replace(config, compute_dtype="float32"))
    with jax.default_matmul_precision("highest"):
        expected = jax.jit(plain)(params, batch, items)
    call = descend(loss(config))
    batch = jax.device_put(batch)
    carry = call(params, batch, items)
    first = np.asarray(carry[1])
    events = int((np.asarray(batch.segments) > 0).sum())
    pairs = flops.causal_pairs(np.asarray(batch.segments))
    itemsize = jnp.dtype(workload.dtype).itemsize
    return Work(
        call=lambda carry: call(carry[0], batch, items),
        carry=carry,
        check=lambda carry: loss_holds(first, expected, carry[1], workload.dtype),
        unit="events",
        units_per_call=events,
        padding_share=1 - events / batch.segments.size,
        flops=flops.TRAINING * flops.behavior(events, pairs, width, workload.layers),
        bytes=flops.activation_bytes(events, width, workload.layers, itemsize),
        dtype=workload.dtype,
    )


def text_step(name: str) -> Work:
    """The language model's optimiser step on full rows."""
    workload = TEXTS[name]
    s, shape = workload.sizes, (workload.rows, workload.sizes.n_positions)
    tokens = np.random.default_rng(0).integers(0, s.vocab_size, shape).astype(np.int32)
    batch = TextBatch(tokens, np.ones(shape, np.int32))
    trainer = TextTrainer(Config(), GPT2(s), STEPS)
    state, call = trainer.init(batch), trainer.compile()
    with jax.default_matmul_precision("highest"):
        expected = jax.jit(lambda params: text_loss(GPT2(s), params, batch).mean())(state.params)
    carry = call(state, as_call(batch))
    first, parameters = np.asarray(carry[1]), num_parameters(carry[0].params)
    forward = flops.gpt2(tokens.size, flops.causal_pairs(batch.segments), s.n_embd, s.n_layer)
    return Work(
        call=lambda carry: call(carry[0], as_call(batch)),
        carry=carry,
        check=lambda carry: loss_holds(first, expected, carry[1]),
        unit="tokens",
        units_per_call=tokens.size,
        padding_share=0.0,
        flops=flops.TRAINING * (forward + flops.softmax(tokens.size, s.vocab_size, s.n_embd)),
        bytes=parallel.num_devices() * flops.adam_bytes(parameters)
        + flops.activation_bytes(tokens.size, s.n_embd, s.n_layer, 4),
        network_bytes=flops.all_reduce_bytes(parameters, parallel.num_devices()),
        devices=parallel.num_devices(),
    )
