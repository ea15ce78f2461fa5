"""What tests of whole runs share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.pipeline.short_run import shorten_training


@pytest.fixture(scope="module")
def short_ranker_training() -> Iterator[None]:
    """Runs in this process train a text model and a ranker that need not be good: see there."""
    with pytest.MonkeyPatch.context() as patch:
        shorten_training(patch)
        yield
