"""How fast does each part learn, and the whole step, against what the device could do?"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import jraph
import numpy as np

from benchmarks import flops, steps, updates, workloads
from benchmarks.cases import Case, Work, expect_close
from benchmarks.steps import FLOAT32, STEPS, as_call, loss_holds, num_parameters
from benchmarks.workloads import CATALOGUES, EVENT_TYPES, GRAPHS, SEQUENCES, TEXTS
from socialrec_jax import parallel
from socialrec_jax.batch import Candidates, Judged, TextBatch
from socialrec_jax.config import Config
from socialrec_jax.data.signals import NAMES
from socialrec_jax.models.behavior import BehaviorTransformer
from socialrec_jax.models.layers import Noise
from socialrec_jax.models.ranker import HIDDEN, Ranker
from socialrec_jax.models.social import SocialGCN, normalised_sum
from socialrec_jax.models.text import GPT2
from socialrec_jax.training import rank
from socialrec_jax.training.text import TextTrainer, text_loss

_RATE = 1e-6  # of plain descent in cases that train a part alone: enough to carry the gradients on


def cases(tiny: bool) -> list[Case]:
    sequences = workloads.sized(("sasrec-ml1m", "beauty-packed", "dlrmv4-mini"), tiny)
    (text,), (graph,), (catalogue,) = (
        workloads.sized((name,), tiny) for name in ("gpt2-small", "gcn-1m-10m", "catalogue-1m")
    )
    return [
        *(Case("behavior", name, partial(behavior, name)) for name in sequences),
        *(Case("step", name, partial(steps.step, name)) for name in sequences),
        Case("step with friends", sequences[1], partial(steps.step, sequences[1], friends=10)),
        Case("social", graph, partial(social, graph)),
        Case("text", text, partial(text_step, text)),
        Case("ranker", catalogue, partial(ranker, catalogue)),
        Case("embedding update", catalogue, partial(updates.as_a_whole, catalogue), "embedding update"),
        Case("embedding update by rows", catalogue, partial(updates.by_rows, catalogue), "embedding update"),
    ]


def descend(loss: Callable) -> Callable:
    """(params, loss) -> (params, loss): plain descent, so that every gradient is used and goes on to the next call."""

    def call(params, *inputs):
        value, gradients = jax.value_and_grad(loss)(params, *inputs)
        return jax.tree.map(lambda p, g: p - _RATE * g, params, gradients), value

    return jax.jit(call, donate_argnums=0)


def behavior(name: str) -> Work:
    """The transformer alone, gradients included."""
    workload = SEQUENCES[name]
    batch = workload.batches().at(0)
    config, width = workload.config().model, workload.width
    items = jnp.asarray(np.random.default_rng(0).normal(size=(*batch.items.shape, width)) / width**0.5, jnp.float32)
    noise = Noise(jnp.uint32(1), jnp.asarray(batch.row_ids))
    towards = jnp.asarray(np.random.default_rng(1).normal(size=items.shape), jnp.float32)

    def loss(config):
        model = BehaviorTransformer(config, EVENT_TYPES)

        def mean(params, batch, items):
            states = jnp.asarray(model.apply({"params": params}, batch, items, noise))
            return jnp.mean(jnp.sum(states * towards, -1) ** 2)

        return mean

    params = jax.jit(BehaviorTransformer(config, EVENT_TYPES).init)(jax.random.key(0), batch, items)["params"]
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


def social(name: str) -> Work:
    """The graph convolution over one whole graph, gradients included."""
    workload, rng = GRAPHS[name], np.random.default_rng(0)
    N, E, D = workload.nodes, workload.edges, workload.width
    graph = random_graph(N, E, D, rng)
    model = SocialGCN(D)
    params = jax.jit(model.init)(jax.random.key(0), graph)["params"]
    call = descend(lambda params, graph: jnp.mean(jnp.asarray(model.apply({"params": params}, graph)) ** 2))

    def check(carry) -> None:
        expect_close("a convolution", *_some_sums(graph, rng.integers(0, N, 64)), tolerance=FLOAT32)
        loss_holds(carry[1], carry[1], carry[1])

    return Work(
        call=lambda carry: call(carry[0], graph),
        carry=call(params, graph),
        check=check,
        unit="edges",
        units_per_call=E,
        flops=flops.TRAINING * flops.convolution(N, E, D),
        bytes=4 * 2 * 3 * D * (E + N),  # each layer and pass reads a row an edge and writes one a node
    )


def random_graph(N: int, E: int, D: int, rng: np.random.Generator) -> jraph.GraphsTuple:  # noqa: N803
    """One graph of N nodes [N, D] and E weighted edges, sorted by receiver."""
    return jraph.GraphsTuple(
        nodes=jnp.asarray(rng.normal(size=(N, D)) / D**0.5, jnp.float32),
        edges=jnp.asarray(rng.random(E), jnp.float32),
        senders=jnp.asarray(rng.integers(0, N, E), jnp.int32),
        receivers=jnp.asarray(np.sort(rng.integers(0, N, E)), jnp.int32),
        n_node=jnp.array([N]),
        n_edge=jnp.array([E]),
        globals=None,
    )


def _some_sums(graph, nodes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What the aggregator tells some nodes, and the same by numpy."""
    messages = graph.edges[:, None] * graph.nodes[graph.senders]
    found = np.asarray(jax.jit(normalised_sum)(graph, messages))[nodes]
    receivers, heard, own = (np.asarray(x) for x in (graph.receivers, messages, graph.nodes))
    ends = np.searchsorted(receivers, nodes), np.searchsorted(receivers, nodes, side="right")
    return found, np.stack([own[n] + heard[a:b].sum(0) for n, a, b in zip(nodes, *ends, strict=True)])


def text_step(name: str) -> Work:
    """The language model's optimiser step on full rows."""
    workload = TEXTS[name]
    s, shape = workload.sizes, (workload.rows, workload.sizes.n_positions)
    tokens = np.random.default_rng(0).integers(0, s.vocab_size, shape).astype(np.int32)
    batch = TextBatch(tokens, np.ones(shape, np.int32))
    trainer = TextTrainer(dataclasses.replace(Config()), GPT2(s), STEPS)
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


def ranker(name: str) -> Work:
    """The step of the three rankers that learn side by side."""
    workload, rng = CATALOGUES[name], np.random.default_rng(0)
    Q, C, I = rank.QUERIES_PER_STEP, 100, 8  # noqa: E741
    judged = random_judgements(Q, C, workload, rng)
    catalogue = rng.normal(size=(workload.items, workload.width)).astype(np.float32)
    trainer = rank.RankTrainer(Config(), Ranker(EVENT_TYPES, I), STEPS, catalogue)
    state, call = trainer.init(judged), trainer.compile()
    one = jax.tree.map(lambda leaf: leaf[0], state.params)
    loss = jax.jit(lambda p: trainer.loss_sums(p, jnp.asarray(catalogue), judged, jnp.ones(Q)).mean())
    with jax.default_matmul_precision("highest"):
        expected = loss(one)
    carry = call(state, as_call(judged))
    first, sizes = np.asarray(carry[1]), (len(NAMES), I, HIDDEN, EVENT_TYPES)
    return Work(
        call=lambda carry: call(carry[0], as_call(judged)),
        carry=carry,
        check=lambda carry: loss_holds(first, expected, carry[1]),
        unit="candidates",
        units_per_call=Q * C,
        flops=flops.TRAINING * rank.MEMBERS * flops.ranker(Q, C, workload.items, workload.width, sizes),
        bytes=4.0 * catalogue.size + rank.MEMBERS * 4 * 2 * Q * C * (len(NAMES) + I + 2 * HIDDEN),
        network_bytes=flops.all_reduce_bytes(num_parameters(carry[0].params), parallel.num_devices()),
        devices=parallel.num_devices(),
    )


def random_judgements(Q: int, C: int, workload: workloads.Catalogue, rng: np.random.Generator) -> Judged:  # noqa: N803
    candidates = Candidates(
        states=rng.normal(size=(Q, workload.width)).astype(np.float32),
        items=rng.integers(0, workload.items, (Q, C)).astype(np.int32),
        exists=np.ones((Q, C), bool),
        signals=rng.normal(size=(Q, C, len(NAMES))).astype(np.float32),
    )
    labels = np.zeros((Q, C, EVENT_TYPES), np.float32)
    labels[np.arange(Q), rng.integers(0, C, Q), rng.integers(0, EVENT_TYPES, Q)] = 1
    return Judged(candidates, labels, np.ones((Q, rank.MEMBERS), np.float32))
