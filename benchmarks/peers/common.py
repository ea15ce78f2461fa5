"""What every peer's script shares: the exchanged sequences, clocks, ranking metrics, the JSON
line.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import resource
import sys
import time
from collections.abc import Callable

import numpy as np


@dataclasses.dataclass(frozen=True)
class Sequences:
    """Training histories of users with one held-out next item each."""

    offsets: np.ndarray  # [U + 1] int64
    items: np.ndarray  # [E] int32, 0 .. num_items - 1
    times: np.ndarray  # [E] int64 seconds since the first event
    held_out: np.ndarray  # [U] int32 the validation item, -1 for nobody to judge
    num_items: int

    @classmethod
    def read(cls, file: str) -> Sequences:
        with np.load(file) as columns:
            return cls(
                *(columns[name] for name in ("offsets", "items", "times", "held_out")),
                int(columns["num_items"]),
            )

    @property
    def num_targets(self) -> int:
        """Events that can be learnt: all but the first of each user."""
        return int(np.maximum(np.diff(self.offsets) - 1, 0).sum())

    def history(self, user: int) -> np.ndarray:
        return self.items[self.offsets[user] : self.offsets[user + 1]]


class Clock:
    """Wall and CPU seconds while it runs; pausing leaves validation out."""

    def __init__(self) -> None:
        self.wall = self.cpu = 0.0

    def __enter__(self) -> Clock:
        self._began = time.perf_counter(), time.process_time()
        return self

    def __exit__(self, *_) -> None:
        self.wall += time.perf_counter() - self._began[0]
        self.cpu += time.process_time() - self._began[1]


def ndcg_at_10(top: np.ndarray, held_out: np.ndarray) -> float:
    """Mean NDCG@10 of recommended items [Q, 10] for the one held-out item [Q]."""
    hits = top[:, :10] == held_out[:, None]
    return float(np.mean(np.where(hits.any(1), 1 / np.log2(2 + hits.argmax(1)), 0)))


def trained_to_its_best(
    train: Callable[[], None],
    recommend: Callable[[], np.ndarray],
    data: Sequences,
    epochs: int,
    patience: int = 3,
    goal: float = 0.0,
) -> dict:
    """Train epoch by epoch until the validation NDCG@10 passes `goal`, or is not better for
    `patience` epochs.

    recommend: top items [Q, 10] of the users who have a held-out item, in their order. The curve
    holds wall seconds and CPU seconds of training alone, and the NDCG.
    """
    evaluated = data.held_out[data.held_out >= 0]
    training, serving, curve = Clock(), Clock(), []
    for epoch in range(1, epochs + 1):
        with training:
            train()
        with serving:
            top = recommend()
        curve.append(
            [round(training.wall, 2), round(training.cpu, 2), round(ndcg_at_10(top, evaluated), 5)]
        )
        print(epoch, *curve[-1], flush=True)
        best = max(point[2] for point in curve)
        if 0 < goal <= best or best > max(point[2] for point in curve[-patience:]):
            break
    return {
        "trained_targets_per_second": data.num_targets * len(curve) / training.wall,
        "trained_targets_per_cpu_second": data.num_targets * len(curve) / training.cpu,
        "users_per_second": len(evaluated) * len(curve) / serving.wall,
        "validation_ndcg_10": max(point[2] for point in curve),
        "curve": curve,
    }


def arguments(description: str | None, **defaults) -> argparse.Namespace:
    """Command line of a script: one option a default."""
    parser = argparse.ArgumentParser(description=description)
    for name, value in defaults.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(value), default=value)
    return parser.parse_args()


def finish(**figures) -> None:
    """The last line: figures, peak memory in MB, and what ran."""
    scale = 1 if sys.platform == "darwin" else 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale / 1e6
    print(
        json.dumps(figures | {"peak_memory_mb": round(peak), "python": sys.version.split()[0]}),
        flush=True,
    )
