"""What every peer's script shares: the sequences, clocks, ranking metrics, the JSON line."""

from __future__ import annotations

import argparse
import dataclasses
import json
import resource
import sys
import time
from collections.abc import Callable

import numpy as np
import torch

DEVICES = ("cpu", "cuda")


@dataclasses.dataclass(frozen=True)
class Sequences:
    """Training histories of users, with one held-out next item each."""

    offsets: np.ndarray  # [U + 1] int64
    items: np.ndarray  # [E] int32, 0 .. num_items - 1
    times: np.ndarray  # [E] int64 seconds since the first event
    held_out: np.ndarray  # [U] int32 the validation item, -1 for a user who has none
    num_items: int

    @classmethod
    def read(cls, file: str) -> Sequences:
        with np.load(file) as columns:
            return cls(
                columns["offsets"],
                columns["items"],
                columns["times"],
                columns["held_out"],
                int(columns["num_items"]),
            )

    @property
    def num_targets(self) -> int:
        """Events that can be learnt: all but the first of each user."""
        return int(np.maximum(np.diff(self.offsets) - 1, 0).sum())

    def history(self, user: int) -> np.ndarray:
        return self.items[self.offsets[user] : self.offsets[user + 1]]


def use_best_settings(device: str, threads: int) -> None:
    """Products of float32 in TF32 on a GPU, as JAX has them by default; so many threads on a
    CPU.
    """
    torch.set_num_threads(threads)
    if device == "cuda":
        torch.set_float32_matmul_precision("high")


def mixed_precision(device: str, is_on: bool) -> torch.autocast:
    """Products in bfloat16, sums and parameters in float32."""
    return torch.autocast(device, torch.bfloat16, enabled=is_on)


class Clock:
    """Wall and CPU seconds of the blocks that it is around."""

    def __init__(self, device: str = "cpu") -> None:
        self.device = device
        self.wall = self.cpu = 0.0

    def __enter__(self) -> Clock:
        self._wait()
        self._start = time.perf_counter(), time.process_time()
        return self

    def __exit__(self, *_: object) -> None:
        self._wait()
        wall, cpu = self._start
        self.wall += time.perf_counter() - wall
        self.cpu += time.process_time() - cpu

    def _wait(self) -> None:
        # A GPU works on after the call has returned.
        if self.device == "cuda":
            torch.cuda.synchronize()


def ndcg_at_10(top: np.ndarray, held_out: np.ndarray) -> float:
    """Mean NDCG@10 of recommended items [Q, 10] for the one held-out item [Q]."""
    hits = top[:, :10] == held_out[:, None]
    gains = 1 / np.log2(2 + hits.argmax(1))
    return float(np.mean(np.where(hits.any(1), gains, 0)))


@dataclasses.dataclass(frozen=True)
class Stopping:
    """When training ends: after so many epochs, when the validation NDCG@10 passes `goal` (if it is
    not 0), or when it was not better for `patience` epochs.
    """

    epochs: int
    patience: int = 3
    goal: float = 0.0

    def is_over(self, ndcg: list[float]) -> bool:
        """ndcg: of each epoch so far."""
        # Better than all recent epochs: an older epoch was the best.
        best, recent = max(ndcg), max(ndcg[-self.patience :])
        return len(ndcg) >= self.epochs or 0 < self.goal <= best or best > recent


def train_to_best(
    train: Callable[[], None],
    recommend: Callable[[], np.ndarray],
    data: Sequences,
    stopping: Stopping,
    device: str = "cpu",
) -> dict:
    """Train epoch by epoch, and evaluate after each.

    recommend: top items [Q, 10] of the users who have a held-out item, in their order. The curve
    holds wall seconds and CPU seconds of training alone, and the NDCG@10.
    """
    held_out = data.held_out[data.held_out >= 0]
    training, serving = Clock(device), Clock(device)
    curve: list[list[float]] = []
    while not curve or not stopping.is_over([point[2] for point in curve]):
        # Validation is not part of the training time.
        with training:
            train()
        with serving:
            top = recommend()
        ndcg = ndcg_at_10(top, held_out)
        curve.append([round(training.wall, 2), round(training.cpu, 2), round(ndcg, 5)])
        print(len(curve), *curve[-1], flush=True)
    targets = data.num_targets * len(curve)
    return {
        "trained_targets_per_second": targets / training.wall,
        "trained_targets_per_cpu_second": targets / training.cpu,
        "users_per_second": len(held_out) * len(curve) / serving.wall,
        "validation_ndcg_10": max(point[2] for point in curve),
        "curve": curve,
    }


def arguments(description: str | None, **defaults: object) -> argparse.Namespace:
    """Command line of a script: one option for each default, and the device."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--device", choices=DEVICES, default="cpu")
    for name, value in defaults.items():
        option = f"--{name.replace('_', '-')}"
        parser.add_argument(option, type=type(value), default=value)
    return parser.parse_args()


def finish(device: str = "cpu", **figures: object) -> None:
    """Print the last line: figures, peak memory in MB, and what ran."""
    # macOS counts bytes, Linux kilobytes.
    unit = 1 if sys.platform == "darwin" else 1024
    peak_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    record = figures | {
        "peak_memory_mb": round(peak_bytes / 1e6),
        "device": device,
        "python": sys.version.split()[0],
    }
    if device == "cuda":
        record["device"] = torch.cuda.get_device_name()
        record["peak_device_memory_mb"] = round(torch.cuda.max_memory_allocated() / 1e6)
    print(json.dumps(record), flush=True)
