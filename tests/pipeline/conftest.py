"""What tests of whole runs share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from socialrec_jax.pipeline import ranker as ranker_stage
from socialrec_jax.training import ranker as ranker_training


@pytest.fixture(scope="module")
def short_ranker_training() -> Iterator[None]:
    """The ranker makes a few steps, for tests of runs in this process that need no good one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ranker_training, "steps_for", lambda num_queries: 16)
        patch.setattr(ranker_stage, "_EVALUATIONS", 1)
        yield
