"""On an accelerator the host saves and reports while the devices go on: the same bits come out."""

from __future__ import annotations

import json
import threading

import jax
import numpy as np
import pytest

from socialrec_jax.errors import DiskError
from socialrec_jax.runtime import parallel
from socialrec_jax.runtime.checkpoint import Checkpoints
from socialrec_jax.runtime.run import RunDirectory
from socialrec_jax.training.loop import fit
from socialrec_jax.training.saver import Saver
from tests.training.line import STEPS, LineTrainer, Rows, weights


@pytest.fixture
def accelerator(monkeypatch):
    monkeypatch.setattr(parallel, "has_accelerator", lambda: True)


def state_of(value: float):
    return parallel.replicate({"w": np.full(4, value, np.float32)})


def metrics(run: RunDirectory) -> list[dict]:
    """The logged lines without their times."""
    lines = [json.loads(line) for line in run.metrics.read_text().splitlines()]
    return [{k: v for k, v in line.items() if "time" != k != "events_per_second"} for line in lines]


def test_a_training_is_the_same_bit_for_bit(tmp_path, monkeypatch):
    found = []
    for is_accelerator in (False, True):
        monkeypatch.setattr(parallel, "has_accelerator", lambda answer=is_accelerator: answer)
        run = RunDirectory(tmp_path / str(is_accelerator))
        state, progress = fit(run, "line", LineTrainer(), Rows({5: np.nan}), None)
        checkpoints = Checkpoints(run.checkpoints / "line")
        saved, _ = checkpoints.restore(state) or (None, None)
        assert saved is not None
        assert weights(saved) == weights(state)
        found.append((weights(state), checkpoints.steps(), progress.skipped, metrics(run)))
    assert found[0] == found[1]
    assert found[0][1][-1] == STEPS


def test_a_save_takes_no_time_of_the_training_and_no_later_numbers(tmp_path, accelerator):
    checkpoints, may_write = Checkpoints(tmp_path), threading.Event()
    save = checkpoints.save

    def slow_save(*arguments):
        assert may_write.wait(60)
        save(*arguments)

    checkpoints.save = slow_save
    change = jax.jit(lambda tree: jax.tree.map(lambda leaf: leaf + 1, tree), donate_argnums=0)
    with Saver(checkpoints) as saver:
        state = state_of(1)
        saver.save(1, state, {}, set())
        assert checkpoints.steps() == []
        changed = change(state)  # in the memory of the state
        may_write.set()
    saved, _ = checkpoints.restore(changed) or (None, None)
    assert saved is not None
    np.testing.assert_array_equal(saved["w"], np.ones(4))
    np.testing.assert_array_equal(changed["w"], np.full(4, 2))


def test_an_error_of_saving_is_raised_by_the_next_save_or_at_the_end(tmp_path, accelerator):
    def full_disk(*_):
        raise DiskError("no space")

    checkpoints = Checkpoints(tmp_path)
    checkpoints.save = full_disk
    with Saver(checkpoints) as saver:
        saver.save(1, state_of(1), {}, set())
        with pytest.raises(DiskError, match="no space"):
            saver.save(2, state_of(2), {}, set())
    with pytest.raises(DiskError, match="no space"), Saver(checkpoints) as saver:
        saver.save(1, state_of(1), {}, set())


def test_on_cpus_a_state_is_saved_at_once(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    with Saver(checkpoints) as saver:
        saver.save(1, state_of(1), {}, set())
        assert checkpoints.steps() == [1]
