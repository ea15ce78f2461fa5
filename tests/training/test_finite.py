"""Steps that are not finite, or spikes, change nothing; no state that is not finite is saved."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import numpy as np
import pytest

from socialrec_jax.errors import TrainingDiverged
from socialrec_jax.runtime import parallel
from socialrec_jax.runtime.checkpoint import Checkpoints
from socialrec_jax.runtime.run import RunDirectory
from socialrec_jax.training.guard import (
    MOST_IN_A_ROW,
    NO_LIMITS,
    SkippedSteps,
    StepReport,
    limits_of,
)
from socialrec_jax.training.loop import StageProgress, _Loop, fit
from socialrec_jax.training.state import TrainState
from tests.training.line import CONFIG, STEPS, LineTrainer, Rows, weights

NOTHING: Any = None


class NeverSaved:  # in place of a Saver, and of its Checkpoints
    def save(self, *_, **__):
        raise AssertionError("saved")

    def wait(self):
        pass

    @property
    def checkpoints(self):
        return self

    def steps(self):
        return [4]


def bad_steps(run: RunDirectory) -> list[int]:
    return [json.loads(line)["step"] for line in run.bad_steps.read_text().splitlines()]


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e25])
def test_a_step_that_is_not_finite_changes_nothing_and_is_written_down(tmp_path, value):
    call, trainer = LineTrainer().compile_guarded(), LineTrainer()

    def after(values: list[float]) -> TrainState:
        rows = np.stack([np.full(3, v, np.float32) for v in values])
        rows = rows.reshape(1, len(values), 1, 3)
        return call(trainer.init(None), rows, NO_LIMITS)[0]

    with_bad, without = after([1, value, 1, 1]), after([1, 1, 1])
    # The same model as if the batch did not exist. The average's decay follows the step's number.
    without_average = [state.replace(average={}) for state in (with_bad, without)]
    assert weights(without_average[0]) == weights(without_average[1])
    assert (int(with_bad.step), int(without.step)) == (4, 3)
    only_bad = call(trainer.init(None), np.full((1, 4, 1, 3), value, np.float32), NO_LIMITS)[0]
    assert weights(only_bad) == weights(trainer.init(None))

    run = RunDirectory(tmp_path)
    _, progress = fit(run, "line", trainer, Rows({5: value, 21: value}), None)
    assert progress.skipped == 2
    assert bad_steps(run) == [5, 21]
    lines = [json.loads(line) for line in run.metrics.read_text().splitlines()]
    assert all(np.isfinite(line["loss"]) for line in lines)


def test_many_in_a_row_end_the_run_and_a_lower_rate_goes_on(tmp_path):
    run = RunDirectory(tmp_path)
    bad = Rows(dict.fromkeys(range(24, 24 + MOST_IN_A_ROW), np.nan))
    expected = r"10 steps in a row .* lower --train.learning-rate goes on from step 16"
    with pytest.raises(TrainingDiverged, match=expected):
        fit(run, "line", LineTrainer(), bad, None)
    # Nothing was saved while steps were skipped.
    assert Checkpoints(run.checkpoints / "line").steps() == [16]

    lower = dataclasses.replace(CONFIG.train, learning_rate=1e-3)
    trainer = LineTrainer(dataclasses.replace(CONFIG, train=lower))
    state, progress = fit(run, "line", trainer, Rows({}), None)
    assert (int(state.step), progress.skipped) == (STEPS, 0)
    assert bad_steps(run) == []  # what was trained again is not counted twice


def test_spikes_are_skipped_where_the_setting_says_so(tmp_path):
    rows = Rows({70: 100.0})
    found = []
    for deviations in (0.0, 20.0):
        train = dataclasses.replace(CONFIG.train, spike_deviations=deviations)
        config = dataclasses.replace(CONFIG, train=train)
        trainer = LineTrainer(config, num_steps=80)
        found.append(fit(RunDirectory(tmp_path / str(deviations)), "line", trainer, rows, None)[1])
    assert [progress.skipped for progress in found] == [0, 1]
    assert found[0].recent == []
    assert limits_of([[1.0, 2.0]] * 10, 5) == NO_LIMITS


def test_table_rows_that_messages_had_no_room_for_are_warned_of(tmp_path, caplog):
    steps, zeros = SkippedSteps(RunDirectory(tmp_path), "line", CONFIG), np.zeros(2)
    for lost in (0, 3):
        assert "no room" not in caplog.text
        report = StepReport(zeros, zeros, zeros > 0, np.array([0, lost]))
        steps.add(StageProgress(), 0, report)
    assert "line: 3 table rows found no room" in caplog.text


def test_a_saved_state_that_is_not_finite_is_not_gone_on_from(tmp_path):
    run, trainer = RunDirectory(tmp_path), LineTrainer()
    whole, _ = fit(run, "line", trainer, Rows({}), None)
    checkpoints = Checkpoints(run.checkpoints / "line")
    broken = whole.replace(
        params={"w": np.array([1, np.nan, 1], np.float32)}, step=np.int32(STEPS + 4)
    )
    progress = dataclasses.asdict(StageProgress(best_step=STEPS + 4, finished=True))
    checkpoints.save(STEPS + 4, parallel.replicate(broken), progress, keep=set())
    again, _ = fit(run, "line", trainer, Rows({}), None)
    assert weights(again) == weights(whole)
    assert STEPS + 4 not in checkpoints.steps()


@pytest.mark.parametrize("part", ["params", "average", "opt_state"])
def test_a_state_that_is_not_finite_is_never_saved(part):
    whole = {name: {"w": np.ones(3, np.float32)} for name in ("params", "average", "opt_state")}
    broken = whole | {part: {"w": np.array([1, np.nan, 1], np.float32)}}
    step: Any = np.int32(8)
    state = TrainState(step=step, **broken)
    saver: Any = NeverSaved()
    parts = ("stage", NOTHING, NOTHING, None, saver, NOTHING, StageProgress(), NOTHING)
    loop = _Loop(*parts)
    with pytest.raises(TrainingDiverged, match=r"not finite at step 8; .*learning-rate"):
        loop._save(8, state)
    with pytest.raises(AssertionError, match="saved"):
        loop._save(8, TrainState(step=step, **whole))
