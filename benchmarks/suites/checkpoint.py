"""How long does training stand still for a checkpoint, and how long does a restart read one?"""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path

import jax
import numpy as np

from benchmarks.harness import workloads
from benchmarks.harness.cases import Case, Work, Wrong
from benchmarks.harness.workloads import SEQUENCES
from benchmarks.work import steps
from socialrec_jax.runtime.checkpoint import Checkpoints
from socialrec_jax.training.state import TrainState


def cases(tiny: bool) -> list[Case]:
    names = workloads.sized(("beauty-packed", "dlrmv4-mini"), tiny)
    return [
        Case(kind, name, partial(make, name), name)
        for name in names
        for kind, make in (("save", save), ("load", load))
    ]


def save(name: str) -> Work:
    """Arrays, manifest and checksums; the clean-up of old steps too."""
    state, checkpoints = _state(name), _checkpoints()

    def call(step: int) -> int:
        checkpoints.save(step, state, {}, keep=set())
        return step + 1

    return Work(
        call,
        0,
        lambda _: _same(checkpoints.restore(state), state),
        "bytes",
        _size(state),
        on_host=True,
    )


def load(name: str) -> Work:
    """Checksums, then the arrays back on the devices."""
    state, checkpoints = _state(name), _checkpoints()
    checkpoints.save(0, state, {}, keep=set())
    return Work(
        call=lambda _: checkpoints.restore(state),
        carry=None,
        check=lambda restored: _same(restored, state),
        unit="bytes",
        units_per_call=_size(state),
        on_host=True,
    )


def _state(name: str) -> TrainState:
    workload = SEQUENCES[name]
    batches = workload.batches()
    return steps.trainer_of(workload, batches.item_counts(workload.items)).init(batches.at(0))


def _checkpoints() -> Checkpoints:
    return Checkpoints(Path(tempfile.mkdtemp(prefix="checkpoints-")))


def _size(state: TrainState) -> int:
    return sum(leaf.nbytes for leaf in jax.tree.leaves(state))


def _same(restored: tuple[TrainState, dict] | None, state: TrainState) -> None:
    """Bit for bit."""
    if restored is None:
        raise Wrong("nothing was restored")
    for one, other in zip(jax.tree.leaves(restored[0]), jax.tree.leaves(state), strict=True):
        if np.asarray(one).tobytes() != np.asarray(other).tobytes():
            raise Wrong("what was restored is not what was saved")
