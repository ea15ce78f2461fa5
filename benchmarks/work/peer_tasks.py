"""socialrec_jax on the tasks of the suite `peers`, measured as the peers measure themselves.

    python -m benchmarks.work.peer_tasks sequences --shop RUN --width 64 --goal 0.06

The suite calls it. Each task is a process of its own, as the peers' are, so that memory and CPU
seconds are comparable. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.harness.memory import peak_resident_bytes
from benchmarks.work.ablations import behavior_alone
from benchmarks.work.peer_graph import graph
from benchmarks.work.search import search as exact_search
from socialrec_jax.batch import TextBatch
from socialrec_jax.config import Config, base
from socialrec_jax.data.batching.training_batches import TrainingBatches
from socialrec_jax.data.world import BEFORE_VALIDATION, VALIDATION, World
from socialrec_jax.evaluation import protocol
from socialrec_jax.evaluation.evaluator import evaluate_retriever
from socialrec_jax.inference.engine import Engine
from socialrec_jax.inference.load import RETRIEVER, about
from socialrec_jax.models.gpt2 import GPT2, GPT2Sizes
from socialrec_jax.pipeline.retriever import retriever_trainer, training_batches
from socialrec_jax.runtime.run import RunDirectory
from socialrec_jax.training.auto_config import auto_config
from socialrec_jax.training.device_data import placed
from socialrec_jax.training.loop import evaluation_interval, fit
from socialrec_jax.training.retriever import RetrieverTrainer
from socialrec_jax.training.text import TextTrainer

_EVALUATIONS = 60  # points of a curve


def sequences(shop: Path, width: int, goal: float) -> dict:
    """Train the retriever alone, without text or friends, as the preset says but for `width`; stop
    at `goal` if it is not 0.

    The curve holds wall and CPU seconds of all but validation: compilation, batches and saving
    count.
    """
    world = behavior_alone(World.open(shop / "world"))
    config = settings(world, width)
    batches = training_batches(world, config, world.history_ends(BEFORE_VALIDATION))
    # [V, 0]
    no_texts = np.zeros((world.num_items, 0), np.float32)
    trainer = retriever_trainer(world, config, batches, no_texts)
    engine_of = partial(Engine.create, world, config, trainer.model)
    curve = _Curve(engine_of, world, goal)
    _train(world, config, trainer, batches, curve)
    targets_per_step = batches.targets_per_epoch / batches.steps_per_epoch
    return {
        "system": f"socialrec_jax, width {width}",
        **curve.rates(trainer, targets_per_step),
        "real_positions": batches.fill_share,
        "users_per_second": _users_per_second(curve.engine),
        "validation_ndcg_10": max(point[2] for point in curve.points),
        "curve": curve.points,
    }


class _GoalReached(Exception):
    """The accuracy is reached that training should stop at."""


def _train(
    world: World, config: Config, trainer: RetrieverTrainer, batches: TrainingBatches, curve: _Curve
) -> None:
    """Train to the end or to the curve's goal, in a run directory that is thrown away."""
    with tempfile.TemporaryDirectory() as folder:
        run = RunDirectory(Path(folder) / "run")
        with run.lock(), contextlib.suppress(_GoalReached):
            # As in training, events lie on the device where they fit.
            trainer, device_batches = placed(trainer, batches)
            details = about(config, world)
            fit(run, RETRIEVER, trainer, device_batches, curve.validate, details)


def _clocks() -> np.ndarray:
    """Wall and CPU seconds."""
    return np.array([time.perf_counter(), time.process_time()])


class _Curve:
    """Validates, and keeps wall and CPU seconds without validation, and NDCG@10."""

    engine: Engine  # of the newest validation

    def __init__(self, engine_of: Callable[[dict], Engine], world: World, goal: float):
        self.engine_of, self.goal = engine_of, goal
        self.points: list[list[float]] = []
        self._queries = protocol.held_out(world, VALIDATION)
        self._start = _clocks()

    def validate(self, params: dict) -> dict[str, float]:
        """Metrics of the parameters; raises _GoalReached."""
        before = _clocks()
        self.engine = self.engine_of(params)
        metrics = evaluate_retriever(self.engine, self._queries).metrics
        spent = before - self._start
        self.points.append([*spent.round(2).tolist(), round(metrics["ndcg@10"], 5)])
        # The clocks stand still during validation.
        self._start += _clocks() - before
        # A rate needs a span of several points.
        if self.goal and metrics["ndcg@10"] >= self.goal and len(self.points) > 2:
            raise _GoalReached
        return metrics

    def rates(self, trainer: RetrieverTrainer, targets_per_step: float) -> dict[str, float]:
        """Targets a second from the first validation to the last, and thus without compilation."""
        settings = trainer.config.train
        interval = evaluation_interval(
            trainer.num_steps, settings.evaluations, settings.steps_per_call
        )
        # The last interval may be shorter.
        last_step = min(len(self.points) * interval, trainer.num_steps)
        targets = (last_step - interval) * targets_per_step
        first, last = self.points[0], self.points[-1]
        return {
            "trained_targets_per_second": targets / (last[0] - first[0]),
            "trained_targets_per_cpu_second": targets / (last[1] - first[1]),
        }


def settings(world: World, width: int) -> Config:
    """The base preset at this width, and what follows from the data."""
    preset = base()
    config = dataclasses.replace(
        preset,
        model=dataclasses.replace(preset.model, width=width),
        train=dataclasses.replace(preset.train, evaluations=_EVALUATIONS),
    )
    return auto_config(config, world)


def _users_per_second(engine: Engine) -> float:
    """Top 10 for everybody: histories read, encoded, seen items left out."""
    query = engine.query(np.arange(engine.world.num_users), BEFORE_VALIDATION)
    seconds = 0.0
    # The first time compiles; the second counts.
    for _ in range(2):
        start = time.perf_counter()
        for part in engine.recommend(query, k=10):
            del part
        seconds = time.perf_counter() - start
    return len(query) / seconds


def text(
    tokens: Path, width: int, layers: int, heads: int, vocabulary: int, batch: int, steps: int
) -> dict:
    """GPT-2 on rows without padding, by the text stage's own trainer: two calls of so many steps,
    the second timed.
    """
    rows = np.load(tokens).astype(np.int32)
    # As PyTorch's GPT-2 has it: bfloat16 on a GPU.
    dtype = jnp.float32 if jax.default_backend() == "cpu" else jnp.bfloat16
    model = GPT2(GPT2Sizes(vocabulary, rows.shape[1], width, layers, heads), jnp.dtype(dtype))
    trainer = TextTrainer(base(), model, num_steps=2 * steps)
    warm_up, timed = _text_calls(rows, batch, steps)
    example = jax.tree.map(lambda leaf: leaf[0, 0], warm_up)
    state, call = trainer.init(example), trainer.compile()
    state, losses = call(state, warm_up)
    all_losses = np.asarray(losses).tolist()
    start = time.perf_counter()
    _, losses = call(state, timed)
    # This waits for the call.
    all_losses += np.asarray(losses).tolist()
    seconds = time.perf_counter() - start
    return {
        "system": "socialrec_jax",
        "tokens_per_second": timed.tokens.size / seconds,
        "losses": all_losses,
    }


def _text_calls(rows: np.ndarray, batch: int, steps: int) -> list[TextBatch]:
    """Two device calls [1, steps, batch, L] of successive rows [R, L], which start over."""
    chosen = np.arange(2 * steps * batch) % len(rows)
    calls = rows[chosen].reshape(2, 1, steps, batch, -1)
    return [TextBatch(tokens=call, segments=np.ones_like(call)) for call in calls]


def search(catalogue: str, k: int, repeats: int) -> dict:
    """The best items of random users by the index that serves; the first search compiles."""
    work = exact_search(catalogue, k)
    lists = work.call(work.carry)
    work.check(lists)
    start = time.perf_counter()
    for _ in range(repeats):
        # The lists come to the host, so each search is waited for.
        work.call(work.carry)
    seconds = (time.perf_counter() - start) / repeats
    return {
        "system": "socialrec_jax",
        "users_per_second": {"float32": work.units_per_call / seconds},
    }


_TEXT_OPTIONS = dict.fromkeys(("width", "layers", "heads", "vocabulary", "batch", "steps"), int)
_TASKS = {
    sequences: {"shop": Path, "width": int, "goal": float},
    text: {"tokens": Path, **_TEXT_OPTIONS},
    graph: {"file": Path, "width": int, "repeats": int},
    search: {"catalogue": str, "k": int, "repeats": int},
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.work.peer_tasks")
    tasks = parser.add_subparsers(required=True)
    for function, options in _TASKS.items():
        task = tasks.add_parser(function.__name__)
        task.set_defaults(function=function)
        for name, kind in options.items():
            task.add_argument(f"--{name}", type=kind, required=True)
    options = vars(parser.parse_args())
    function = options.pop("function")
    figures = function(**options)
    print(json.dumps(figures | {"peak_memory_mb": round(peak_resident_bytes() / 1e6)}))


if __name__ == "__main__":
    main()
