"""What does a step cost when the catalogue grows? Row by row against dense Adam; and does a huge
catalogue train?

    python -m benchmarks.embeddings [--repeats 9]
    python -m benchmarks.embeddings --items 10000000     a whole model on a synthetic shop of that size, memory and time

The first times one gradient step on 8,192 ids of a table of width 64 that is donated; the ways take
turns, and ratios are medians over the turns. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks.hardware import peak_resident_bytes
from socialrec_jax.batch import Batch
from socialrec_jax.config import Config, ModelConfig, TrainConfig
from socialrec_jax.models.recommender import RecommenderModel
from socialrec_jax.runtime import parallel
from socialrec_jax.runtime.environment import environment
from socialrec_jax.training import row_adagrad
from socialrec_jax.training.retriever import RetrieverTrainer

WIDTH, IDS, SMALL, LARGE = 64, 8192, 10_000, 1_000_000


def loss(rows: jax.Array) -> jax.Array:
    """Something that pulls at every row that was looked up."""
    return jnp.sum(jnp.square(jnp.tanh(rows) - 0.1))


def row_by_row(num_rows: int) -> Callable:
    """A step on ids [1, 1, IDS]; the table lives in the closure."""

    def step(state, _, ids):
        found = row_adagrad.look_up(state["table"], ids)
        gradients = jax.grad(lambda rows: loss(rows[found.places]))(found.rows)
        return {
            "table": row_adagrad.update_rows(
                state["table"], found, gradients, jnp.float32(1), jnp.float32(0.01)
            )
        }, ()

    call = parallel.scan_steps(step, axes={"table": 0})
    state = {
        "table": parallel.as_shares(
            row_adagrad.initial_table(num_rows, WIDTH, 1.0, jax.random.key(0))
        )
    }

    def run(ids: np.ndarray) -> None:
        nonlocal state
        state, _ = call(state, ids.reshape(parallel.num_local_devices(), 1, -1))
        jax.block_until_ready(state)

    return run


def dense_adam(num_rows: int) -> Callable:
    """The textbook's step: the gradient of the whole table, and Adam over it."""
    optimizer = optax.adam(1e-3)

    def step(table, indices, ids):
        updates, indices = optimizer.update(
            jax.grad(lambda table: loss(table[ids]))(table), indices, table
        )
        return optax.apply_updates(table, updates), indices

    call = jax.jit(step, donate_argnums=(0, 1))
    table = jax.random.normal(jax.random.key(0), (num_rows, WIDTH))
    indices = optimizer.init(table)

    def run(ids: np.ndarray) -> None:
        nonlocal table, indices
        table, indices = call(table, indices, ids)
        jax.block_until_ready((table, indices))

    return run


def popular_ids(num_rows: int, seed: int) -> np.ndarray:
    """Ids [IDS] of which a few are met often, as in a shop."""
    rng = np.random.default_rng(seed)
    return (rng.zipf(1.3, IDS) * 7919 % num_rows).astype(np.int32)


def steps(repeats: int) -> dict[str, float]:
    """Median milliseconds of each way, and the ratios."""
    ways = {
        "small": (row_by_row, SMALL),
        "large": (row_by_row, LARGE),
        "dense": (dense_adam, LARGE),
    }
    runs = {name: make(rows) for name, (make, rows) in ways.items()}
    times = {name: [] for name in ways}
    for turn in range(repeats + 2):
        for name, (_, rows) in ways.items():
            ids = popular_ids(rows, turn)
            began = time.perf_counter()
            runs[name](ids)
            times[name].append(time.perf_counter() - began)
    measured = {name: np.array(values[2:]) for name, values in times.items()}
    figures = {f"{name}_ms": np.median(values) * 1e3 for name, values in measured.items()}
    figures["large_over_small"] = np.median(measured["large"] / measured["small"])
    figures["dense_over_large"] = np.median(measured["dense"] / measured["large"])
    return {name: round(float(value), 2) for name, value in figures.items()}


def synthetic_batch(num_items: int, rows: int, length: int, seed: int) -> Batch:
    """Rows [rows, length] of random events."""
    rng = np.random.default_rng(seed)

    def some(high: int) -> np.ndarray:
        return rng.integers(0, high, (rows, length), dtype=np.int32)

    times = np.sort(some(1 << 20), axis=1)
    return Batch(
        row_ids=np.arange(rows, dtype=np.int32),
        segments=np.ones((rows, length), np.int32),
        items=some(num_items),
        event_types=some(2),
        times=times,
        request_times=times,
        targets=some(num_items),
        target_types=some(2),
        weights=np.ones((rows, length), np.float32),
    )


def huge(num_items: int, calls: int = 3, steps_per_call: int = 4) -> dict[str, float]:
    """Seconds a step and the most memory that training a catalogue of this size took."""
    config = Config(
        model=ModelConfig(width=WIDTH, num_layers=1, history_length=64, dropout=0.1),
        train=TrainConfig(tokens_per_step=2048, negatives=1024),
    )
    counts = np.random.default_rng(0).zipf(1.5, num_items).clip(0, 10_000)
    trainer = RetrieverTrainer(
        config, RecommenderModel(config.model, num_items, 2), 1000, counts, tables=("items",)
    )
    state, call, times, found = (
        trainer.init(synthetic_batch(num_items, 32, 64, 0)),
        trainer.compile(),
        [],
        [],
    )
    for number in range(calls):
        seeds = range(number * steps_per_call, (number + 1) * steps_per_call)
        batches = [
            parallel.split_over_devices(synthetic_batch(num_items, 32, 64, seed)) for seed in seeds
        ]
        stacked = jax.tree.map(lambda *leaves: np.stack(leaves, 1), *batches)
        began = time.perf_counter()
        state, losses = call(state, stacked)
        found.append(float(np.mean(np.asarray(losses))))
        times.append((time.perf_counter() - began) / steps_per_call)
    return {
        "items": num_items,
        "table_gb": round(num_items * WIDTH * 4 / 1e9, 2),
        "peak_gb": round(peak_resident_bytes() / 1e9, 2),
        "step_ms": round(float(np.median(times[1:])) * 1e3, 1),
        "loss": round(found[-1], 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=9, help="interleaved turns of each way")
    parser.add_argument(
        "--items", type=int, help="train a whole model on a catalogue of this size instead"
    )
    options = parser.parse_args()
    results = huge(options.items) if options.items else steps(options.repeats)
    for name, value in results.items():
        print(f"{name:18s} {value}")
    print(json.dumps({"benchmark": "embeddings", "results": results, "environment": environment()}))


if __name__ == "__main__":
    main()
