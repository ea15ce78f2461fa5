"""train.py whose text model and ranker make a few small steps, for tests that need no good ones,
and whose pages have no figures.

python -m tests.pipeline.short_run OPTIONS OF train.py

Both make at least some hundred steps however small a shop is. Programs of tests are not optimised,
so this would take most of the time of a run. A page's figures take a second, and are tested in
tests/reports.
"""

from __future__ import annotations

import sys

import pytest

from socialrec_jax.inference import candidates
from socialrec_jax.pipeline import ranker as ranker_stage
from socialrec_jax.pipeline import text as text_stage
from socialrec_jax.reports import figures
from socialrec_jax.training import ranker as ranker_training
from tests.short_calls import shorten_calls

TINY = (
    *("--preset", "tiny", "--model.width", 16, "--model.num-layers", 1),
    *("--text.width", 16, "--text.num-layers", 1, "--text.epochs", 1),
    *("--train.epochs", 4, "--train.evaluations", 2, "--train.steps-per-call", 2),
)
NEWCOMER = "newcomer-1"  # a user whose first events are those that an append brings
FEW_PASSES = ("--update.epochs", 1, "--update.max-rate", 1000, "--update.no-ranker")


# The first has the whole catalogue of a tiny shop already.
_SHORT_LISTS = candidates.PER_LIST | {"bought together": 12, "friends": 8, "trending": 4}


def shorten_training(patch: pytest.MonkeyPatch, num_steps: int = 16) -> None:
    """Of the text model and the ranker, in this process, as long as the patch holds; no figures."""
    patch.setattr(text_stage, "_LEAST_STEPS", num_steps)
    patch.setattr(ranker_training, "steps_for", lambda num_queries: num_steps)
    patch.setattr(ranker_training, "QUERIES_PER_STEP", 64)
    patch.setattr(ranker_stage, "_EVALUATIONS", 1)
    patch.setattr(figures, "_svg_text", lambda figure: '<svg viewBox="0 0 1 1"></svg>')
    patch.setattr(candidates, "PER_LIST", _SHORT_LISTS)
    shorten_calls(patch)


def main(num_steps: int = 16) -> None:
    import train

    with pytest.MonkeyPatch.context() as patch:
        shorten_training(patch, num_steps)
        train.main(sys.argv[1:])


if __name__ == "__main__":
    main()
