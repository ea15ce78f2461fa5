"""A state that is not finite is never saved."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from socialrec_jax.errors import TrainingDiverged
from socialrec_jax.training.loop import StageProgress, _Loop
from socialrec_jax.training.state import TrainState

NOTHING: Any = None


class NeverSaved:
    def save(self, *_, **__):
        raise AssertionError("saved")


@pytest.mark.parametrize("part", ["params", "average", "opt_state"])
def test_a_state_that_is_not_finite_is_never_saved(part):
    whole = {name: {"w": np.ones(3, np.float32)} for name in ("params", "average", "opt_state")}
    broken = whole | {part: {"w": np.array([1, np.nan, 1], np.float32)}}
    state: Any = TrainState(step=np.int32(8), **broken)
    loop = _Loop("stage", NOTHING, NOTHING, None, NeverSaved(), NOTHING, StageProgress())
    with pytest.raises(TrainingDiverged, match=r"not finite at step 8; .*learning-rate"):
        loop._save(8, state)
    with pytest.raises(AssertionError, match="saved"):
        loop._save(8, TrainState(step=np.int32(8), **whole))
