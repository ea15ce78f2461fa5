"""What do several steps a call, and events that lie on the device, buy? Training against its own
plainer ways.

    python -m benchmarks.epoch --data DIR [--rounds 5] [--sizes full small]

full: the settings that train.py would use on this data, without texts. small: a model whose step is
cheaper than calling it. The ways take turns in one process; a ratio is the events/s of a way over
those of the plainest one.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from socialrec_jax.runtime import cli


@dataclasses.dataclass(frozen=True)
class Way:
    """How steps reach the device."""

    steps_per_call: int
    resident: bool
    prefetch: bool


WAYS = {
    "one step a call, host batches": Way(1, False, False),
    "one step a call, on device": Way(1, True, False),
    "8 steps a call, host batches": Way(8, False, True),
    "8 steps a call, on device": Way(8, True, True),  # what train.py does
}
STEPS = {"full": 8, "small": 400}  # in a turn of each way


def config_of(size: str, world):
    """The resolved configuration of a model size."""
    from socialrec_jax.config import ModelConfig, TrainConfig, base
    from socialrec_jax.training.auto_config import auto_config

    config = base()
    if size == "small":
        model = ModelConfig(
            width=16, num_layers=1, num_heads=1, history_length=32, dropout=0.1, social_queries=0
        )
        config = dataclasses.replace(
            config, model=model, train=TrainConfig(tokens_per_step=128, negatives=32)
        )
    return auto_config(config, world)


def turn_of(way: Way, trainer, batches, steps: int) -> Callable[[], float]:
    """A function that trains so many steps and returns the seconds; it has compiled already."""
    from socialrec_jax.runtime import parallel
    from socialrec_jax.training import device_data, loop

    if way.resident:
        trainer, batches = device_data.placed(trainer, batches)
    call, state = trainer.compile(), trainer.init(batches.at(0))

    def turn(number: int = steps) -> float:
        nonlocal state
        began = time.perf_counter()
        calls = loop.calls(batches, 0, number, way.steps_per_call, (0, 1))
        for given in parallel.prefetch(calls) if way.prefetch else calls:
            state, losses = call(state, given)
            np.asarray(losses)  # as the loop of training does, which looks at every loss
        return time.perf_counter() - began

    turn(8)
    turn(8)
    return turn


def host_milliseconds(batches) -> dict[str, float]:
    """What the host does for one step, and the kilobytes that it sends."""
    import jax

    from socialrec_jax.training.device_data import DeviceBatches

    found = {}
    for name, source in (("batch", batches), ("slots", DeviceBatches(batches))):
        times = []
        for step in range(50):
            began = time.perf_counter()
            sent = source.at(step)
            times.append(time.perf_counter() - began)
        found[f"{name}_ms"] = round(float(np.median(times)) * 1e3, 3)
        found[f"{name}_kb"] = round(sum(leaf.nbytes for leaf in jax.tree.leaves(sent)) / 1e3, 1)
    return found


def measure(size: str, world, rounds: int) -> dict:
    """Median events/s of every way, and the median and quartiles of its ratio to the first over the
    rounds.
    """
    from socialrec_jax.data.world import BEFORE_VALIDATION
    from socialrec_jax.pipeline.retriever import retriever_trainer, training_batches

    config = config_of(size, world)
    batches = training_batches(world, config, world.history_ends(BEFORE_VALIDATION))
    trainer = retriever_trainer(world, config, batches, np.zeros((world.num_items, 0), np.float32))
    turns = [turn_of(way, trainer, batches, STEPS[size]) for way in WAYS.values()]
    seconds = np.array([[turn() for turn in turns] for _ in range(rounds)])
    events = STEPS[size] * batches.targets_per_epoch / batches.steps_per_epoch
    rows = {}
    for number, name in enumerate(WAYS):
        low, ratio, high = np.quantile(seconds[:, 0] / seconds[:, number], [0.25, 0.5, 0.75])
        rate, step_ms = (
            events / np.median(seconds[:, number]),
            np.median(seconds[:, number]) / STEPS[size] * 1e3,
        )
        figures = {
            "events_per_second": rate,
            "step_ms": step_ms,
            "ratio": ratio,
            "p25": low,
            "p75": high,
        }
        rows[name] = {key: round(float(value), 2) for key, value in figures.items()}
    return {"ways": rows, "host": host_milliseconds(batches)}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--data", type=Path, help="raw tables; without them the embedded sample shop"
    )
    parser.add_argument("--rounds", type=int, default=5, help="turns of each way")
    parser.add_argument("--sizes", nargs="+", choices=sorted(STEPS), default=sorted(STEPS))
    parser.add_argument("--out", type=Path, default=Path(tempfile.gettempdir()) / "benchmark-epoch")
    options = parser.parse_args()
    cli.prepare_jax(options.out)
    from socialrec_jax.config import base
    from socialrec_jax.pipeline.run import open_world, sample_tables
    from socialrec_jax.runtime.environment import environment
    from socialrec_jax.runtime.run import RunDirectory

    run = RunDirectory(options.out)
    with run.lock():
        world = open_world(run, options.data or sample_tables(run, 0), base())
    results = {size: measure(size, world, options.rounds) for size in options.sizes}
    for size, found in results.items():
        print(f"{size}  host {found['host']}")
        for name, figures in found["ways"].items():
            print(f"  {name:32s} {figures}")
    print(json.dumps({"benchmark": "epoch", "results": results, "environment": environment()}))


if __name__ == "__main__":
    main()
