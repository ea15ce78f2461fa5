"""Our side of the races in `benchmarks.race`: the same workloads, measured as the peers measure
themselves.

    python -m benchmarks.ours sequences --shop RUN --width 64     (text, graph alike; `race` calls it)

A process of its own for each, as the peers have, so that memory and CPU seconds are comparable. The
last line is JSON.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import operator
import tempfile
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import jraph
import numpy as np

from benchmarks.cases import expect_close
from benchmarks.hardware import peak_resident_bytes
from benchmarks.quality import without_friends, without_text
from benchmarks.work.sparse_propagation import SparsePropagation
from socialrec_jax.batch import TextBatch
from socialrec_jax.config import Config, base
from socialrec_jax.data.world import BEFORE_VALIDATION, VALIDATION, World
from socialrec_jax.evaluation import protocol
from socialrec_jax.inference.engine import Engine
from socialrec_jax.inference.load import RETRIEVER, about
from socialrec_jax.models.gpt2 import GPT2, GPT2Sizes
from socialrec_jax.pipeline.retriever import evaluate_retriever, retriever_trainer, training_batches
from socialrec_jax.runtime.run import RunDirectory
from socialrec_jax.training.auto_config import auto_config
from socialrec_jax.training.device_data import placed
from socialrec_jax.training.loop import evaluation_interval, fit
from socialrec_jax.training.text import TextTrainer

CLOCKS = (time.perf_counter, time.process_time)


def sequences(shop: Path, width: int, goal: float) -> dict:
    """Train the retriever alone, without text or friends, as the preset says but `width`; stop at
    `goal` if given.

    The curve holds wall and CPU seconds of all but validation: compilation, batches and saving are
    ours to pay.
    """
    world = behavior_alone(World.open(shop / "world"))
    config = settings(world, width)
    batches = training_batches(world, config, world.history_ends(BEFORE_VALIDATION))
    trainer = retriever_trainer(world, config, batches, np.zeros((world.num_items, 0), np.float32))
    queries = protocol.held_out(world, VALIDATION)
    began, away, curve = [clock() for clock in CLOCKS], np.zeros(2), []
    engine: Engine | None = None

    def validate(params: dict) -> dict[str, float]:
        nonlocal engine
        left = [clock() for clock in CLOCKS]
        spent = np.array(left) - began - away
        engine = Engine.create(world, config, trainer.model, params)
        metrics = evaluate_retriever(engine, queries).metrics
        curve.append([*spent.round(2).tolist(), round(metrics["ndcg@10"], 5)])
        away[:] += [clock() - then for clock, then in zip(CLOCKS, left, strict=True)]
        if goal and metrics["ndcg@10"] >= goal and len(curve) > 2:  # a rate needs a span
            raise _Reached
        return metrics

    with tempfile.TemporaryDirectory() as folder:
        run = RunDirectory(Path(folder) / "run")
        with run.lock(), contextlib.suppress(_Reached):
            fit(run, RETRIEVER, *placed(trainer, batches), validate, about(config, world))
    assert engine is not None
    t = config.train
    every = evaluation_interval(trainer.num_steps, t.evaluations, t.steps_per_call)
    steps = (
        min(len(curve) * every, trainer.num_steps) - every
    )  # from the first validation to the last
    targets = steps * batches.targets_per_epoch / batches.steps_per_epoch
    wall, cpu = (curve[-1][clock] - curve[0][clock] for clock in (0, 1))  # without compilation
    return {
        "peer": f"ours, width {width}",
        "trained_targets_per_second": targets / wall,
        "trained_targets_per_cpu_second": targets / cpu,
        "real_positions": batches.gather_batch,
        "users_per_second": _users_per_second(engine, world),
        "validation_ndcg_10": max(point[2] for point in curve),
        "curve": curve,
    }


def behavior_alone(world: World) -> World:
    """Without texts and friends, which the peers do not read."""
    return without_text(without_friends(world, 0), 0)


def settings(world: World, width: int) -> Config:
    """The preset at this width, and what follows from the data."""
    config = base()
    model, train = (
        dataclasses.replace(config.model, width=width),
        dataclasses.replace(config.train, evaluations=60),
    )
    return auto_config(dataclasses.replace(config, model=model, train=train), world)


class _Reached(Exception):
    """The goal is reached."""


def _users_per_second(engine: Engine, world: World) -> float:
    """Top 10 for everybody, histories read, encoded, seen items masked; the second time,
    compiled.
    """
    users = np.arange(world.num_users)
    for _ in range(2):
        began = time.perf_counter()
        query = engine.query(users, BEFORE_VALIDATION)
        for part in engine.recommend(query, k=10):
            del part
    return len(users) / (time.perf_counter() - began)


def text(
    tokens: Path, width: int, layers: int, heads: int, vocabulary: int, batch: int, steps: int
) -> dict:
    """GPT-2 trained on rows without padding by the text stage's own trainer: two calls of so many
    steps, one timed.
    """
    rows = np.load(tokens).astype(np.int32)
    model = GPT2(GPT2Sizes(vocabulary, rows.shape[1], width, layers, heads))
    trainer = TextTrainer(base(), model, num_steps=2 * steps)
    parts = rows[np.arange(2 * steps * batch) % len(rows)].reshape(
        2, 1, steps, batch, -1
    )  # calls, devices, steps
    batches = [TextBatch(tokens=part, segments=np.ones_like(part)) for part in parts]
    state, call = trainer.init(jax.tree.map(lambda leaf: leaf[0, 0], batches[0])), trainer.compile()
    state, warm = call(state, batches[0])
    losses, began = np.asarray(warm).tolist(), time.perf_counter()
    losses += np.asarray(call(state, batches[1])[1]).tolist()
    return {
        "peer": "ours",
        "tokens_per_second": batches[1].tokens.size / (time.perf_counter() - began),
        "losses": losses,
    }


def graph(file: Path, width: int, repeats: int) -> dict:
    """Two layers of a graph convolution with fixed edges, forward and backward: by products of
    sparse rows, and by jraph's sum of messages, as friend trees are convolved.
    """
    with np.load(file) as columns:
        N, edges = (
            int(columns["num_nodes"]),
            [columns[name] for name in ("senders", "receivers", "weights")],
        )
    rng = np.random.default_rng(0)
    weights = [
        jnp.asarray(rng.normal(size=(width, width)) * width**-0.5, jnp.float32) for _ in range(2)
    ]
    inputs = weights, jnp.asarray(rng.normal(size=(N, width)), jnp.float32)
    seconds, gradients = _convolved(
        operator.matmul, SparsePropagation.of(*edges, num_nodes=N), inputs, repeats
    )
    jraph_seconds, expected = _convolved(_heard, jax.device_put(edges), inputs, repeats)
    expect_close("gradients by sparse rows", gradients, expected, tolerance=1e-3)
    visits = 4 * len(edges[0])
    return {
        "peer": "ours",
        "edge_visits_per_second": {
            "sparse rows": visits / seconds,
            "messages": visits / jraph_seconds,
        },
    }


def _heard(edges, states):
    """What each node hears [N, D]: a message an edge, added up by jraph."""
    senders, receivers, weights = edges
    return jraph.segment_sum(
        weights[:, None] * states[senders], receivers, len(states), indices_are_sorted=True
    )


def _convolved(hear, edges, inputs, repeats: int) -> tuple[float, jax.Array]:
    """(seconds of one forward and backward pass, gradient of the nodes' features)."""

    def loss(weights, features, edges):
        hidden = jax.nn.relu(hear(edges, features @ weights[0]))
        return jnp.mean(jnp.square(hear(edges, hidden @ weights[1])))

    step = jax.jit(jax.grad(loss, argnums=(0, 1)))
    gradients = jax.block_until_ready(step(*inputs, edges))  # warm
    began = time.perf_counter()
    for _ in range(repeats):
        gradients = jax.block_until_ready(step(*inputs, edges))
    return (time.perf_counter() - began) / repeats, gradients[1]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ours", description=__doc__)
    contests = parser.add_subparsers(dest="contest", required=True)
    for function, options in (
        (sequences, {"shop": Path, "width": int, "goal": float}),
        (
            text,
            {
                "tokens": Path,
                "width": int,
                "layers": int,
                "heads": int,
                "vocabulary": int,
                "batch": int,
                "steps": int,
            },
        ),
        (graph, {"file": Path, "width": int, "repeats": int}),
    ):
        contest = contests.add_parser(function.__name__)
        contest.set_defaults(function=function)
        for name, kind in options.items():
            contest.add_argument(f"--{name}", type=kind, required=True)
    options = vars(parser.parse_args())
    function = options.pop("function")
    del options["contest"]
    figures = function(**options)
    print(json.dumps(figures | {"peak_memory_mb": round(peak_resident_bytes() / 1e6)}))


if __name__ == "__main__":
    main()
