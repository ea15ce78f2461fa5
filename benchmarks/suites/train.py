"""How fast does each part learn, and the whole step, against what the device could do?"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import jraph
import numpy as np

from benchmarks import flops, updates, workloads
from benchmarks.cases import Case, Work, Wrong, expect_close
from benchmarks.workloads import CATALOGUES, EVENT_TYPES, GRAPHS, SEQUENCES, TEXTS
from socialrec_jax import parallel
from socialrec_jax.batch import Batch, Candidates, Judged, TextBatch
from socialrec_jax.config import Config
from socialrec_jax.data.signals import NAMES
from socialrec_jax.models.behavior import BehaviorTransformer
from socialrec_jax.models.layers import Noise
from socialrec_jax.models.ranker import HIDDEN, Ranker
from socialrec_jax.models.recommender import RecommenderModel
from socialrec_jax.models.social import SocialGCN, normalised_sum
from socialrec_jax.models.text import GPT2
from socialrec_jax.training import rank, small_world
from socialrec_jax.training.step import Trainer, TrainState
from socialrec_jax.training.text import TextTrainer, text_loss

_STEPS = 1000  # of the learning-rate schedule: more than will be run
_FLOAT32, _BFLOAT16 = 1e-3, 1e-2  # how far a loss may lie from its reference
_RATE = 1e-6  # of plain descent in cases that train a part alone: enough to carry the gradients on


def cases(tiny: bool) -> list[Case]:
    sequences = workloads.sized(("sasrec-ml1m", "beauty-packed", "dlrmv4-mini"), tiny)
    (text,), (graph,), (catalogue,) = (
        workloads.sized((name,), tiny) for name in ("gpt2-small", "gcn-1m-10m", "catalogue-1m")
    )
    return [
        *(Case("behavior", name, partial(behavior, name)) for name in sequences),
        *(Case("step", name, partial(step, name)) for name in sequences),
        Case("step with friends", sequences[1], partial(step, sequences[1], friends=10)),
        Case("social", graph, partial(social, graph)),
        Case("text", text, partial(text_step, text)),
        Case("ranker", catalogue, partial(ranker, catalogue)),
        Case("embedding update", catalogue, partial(updates.as_a_whole, catalogue), "embedding update"),
        Case("embedding update by rows", catalogue, partial(updates.by_rows, catalogue), "embedding update"),
    ]


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


def trainer_of(workload: workloads.Sequences, item_counts: np.ndarray) -> Trainer:
    config = workload.config()
    users = workload.users if workload.friends else 0
    return Trainer(config, RecommenderModel(config.model, workload.items, EVENT_TYPES, users), _STEPS, item_counts)


def as_call(batch):
    """Rows [B, ...] as one step of a device call [P, 1, B / P, ...]."""
    return jax.tree.map(lambda leaf: leaf[:, None], parallel.split_over_devices(batch))


def reference_loss(trainer: Trainer, state: TrainState, batch: Batch) -> jax.Array:
    """The same loss in float32 at full precision, on one device, outside of the call that is timed."""
    model = dataclasses.replace(trainer.config.model, compute_dtype="float32")
    plain = dataclasses.replace(trainer, model=trainer.model.clone(config=model))
    counts = jnp.asarray(trainer.running_counts)

    def loss(params: dict):
        word, drawn = plain.randomness(state.step, counts)
        world = small_world.gather({}, batch, drawn, {})
        bound = plain.model.bind({"params": params})
        return plain.loss_sums(bound, world, Noise(word, jnp.asarray(batch.row_ids)))[0].mean()

    with jax.default_matmul_precision("highest"):
        return jax.jit(loss)(state.served)  # before the first step: averages are the parameters


def step_cost(workload: workloads.Sequences, state: TrainState, batch: Batch) -> tuple[float, float]:
    """(forward FLOPs, bytes of the step); each device updates parameters of its own, tables left out."""
    events, pairs = int((batch.segments > 0).sum()), flops.causal_pairs(batch.segments)
    classes = workload.negatives or workload.items
    forward = flops.behavior(events, pairs, workload.width, workload.layers)
    forward += flops.softmax(events, classes, workload.width)
    if batch.friends is not None:
        users = batch.friends.users
        forward += flops.convolution(users.size, batch.friends.edges.size, workload.width)
    traffic = flops.activation_bytes(events, workload.width, workload.layers, jnp.dtype(workload.dtype).itemsize)
    return forward, traffic + parallel.num_devices() * flops.adam_bytes(num_parameters(state.params))


def num_parameters(params: dict) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(params))


def loss_holds(first, expected, last, dtype: str = "float32") -> None:
    """Raise Wrong unless the first loss is the expected one and the last is a number."""
    expect_close("the first loss", np.ravel(first)[0], expected, _BFLOAT16 if dtype == "bfloat16" else _FLOAT32)
    if not np.isfinite(np.asarray(last)).all():
        raise Wrong("the last loss is not finite")


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
        expect_close("a convolution", *_some_sums(graph, rng.integers(0, N, 64)), tolerance=_FLOAT32)
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
    trainer = TextTrainer(dataclasses.replace(Config()), GPT2(s), _STEPS)
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
    trainer = rank.RankTrainer(Config(), Ranker(EVENT_TYPES, I), _STEPS, catalogue)
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
