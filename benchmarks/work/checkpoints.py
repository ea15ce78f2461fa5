"""Saving and loading a training state."""

from __future__ import annotations

import tempfile
from pathlib import Path

import jax
import numpy as np

from benchmarks.harness.cases import Work, WrongResult
from benchmarks.harness.workloads import SEQUENCES
from benchmarks.work.steps import trainer_of
from socialrec_jax.runtime.checkpoint import Checkpoints
from socialrec_jax.training.state import TrainState


def save(name: str) -> Work:
    """Arrays, manifest and checksums, and the removal of old steps."""
    state, checkpoints = _fresh_state(name), _empty_checkpoints()

    def call(step: int) -> int:
        checkpoints.save(step, state, {}, keep=set())
        # Each save is a new step, as in training.
        return step + 1

    return Work(
        call=call,
        carry=0,
        check=lambda _: _expect_equal(checkpoints.restore(state), state),
        unit="bytes",
        units_per_call=_num_bytes(state),
        on_host=True,
    )


def load(name: str) -> Work:
    """Checksums, then the arrays back on the devices."""
    state, checkpoints = _fresh_state(name), _empty_checkpoints()
    # Written once; only reading is timed.
    checkpoints.save(0, state, {}, keep=set())
    return Work(
        call=lambda _: checkpoints.restore(state),
        carry=None,
        check=lambda restored: _expect_equal(restored, state),
        unit="bytes",
        units_per_call=_num_bytes(state),
        on_host=True,
    )


def _fresh_state(name: str) -> TrainState:
    workload = SEQUENCES[name]
    batches = workload.batches()
    trainer = trainer_of(workload, batches.item_counts(workload.items))
    return trainer.init(batches.at(0))


def _empty_checkpoints() -> Checkpoints:
    return Checkpoints(Path(tempfile.mkdtemp(prefix="checkpoints-")))


def _num_bytes(state: TrainState) -> int:
    return sum(leaf.nbytes for leaf in jax.tree.leaves(state))


def _expect_equal(restored: tuple[TrainState, dict] | None, state: TrainState) -> None:
    """Raise WrongResult unless both are equal bit for bit."""
    if restored is None:
        raise WrongResult("nothing was restored")
    leaves, expected_leaves = jax.tree.leaves(restored[0]), jax.tree.leaves(state)
    for actual, expected in zip(leaves, expected_leaves, strict=True):
        # Bytes, so that even the kind of a NaN must be the same.
        if np.asarray(actual).tobytes() != np.asarray(expected).tobytes():
            raise WrongResult("what was restored is not what was saved")
