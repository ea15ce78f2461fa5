"""Does everything still run, right and about as fast? Tiny presets, under a minute on two cores."""

from __future__ import annotations

from functools import partial

from benchmarks.harness.cases import Case
from benchmarks.work.graphs import convolution
from benchmarks.work.language_model import text_step
from benchmarks.work.search import search
from benchmarks.work.steps import step


def cases(tiny: bool) -> list[Case]:
    """Always tiny; one group, so that all take turns."""
    del tiny
    # Each is compiled in seconds, and together they run most of the package.
    sequences, graph = "beauty-packed-tiny", "gcn-1m-10m-tiny"
    text, catalogue = "gpt2-small-tiny", "catalogue-1m-tiny"
    return [
        Case("step", sequences, partial(step, sequences), "all"),
        Case("social", graph, partial(convolution, graph), "all"),
        Case("text", text, partial(text_step, text), "all"),
        Case("search k=10", catalogue, partial(search, catalogue, 10), "all"),
    ]
