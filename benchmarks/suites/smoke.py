"""Does everything still run, right and about as fast? Tiny presets, under a minute on two cores."""

from __future__ import annotations

from functools import partial

from benchmarks.harness.cases import Case
from benchmarks.suites import serve, train
from benchmarks.work import graphs, steps


def cases(tiny: bool) -> list[Case]:
    """Always tiny."""
    del tiny
    return [
        Case("step", "beauty-packed-tiny", partial(steps.step, "beauty-packed-tiny"), "all"),
        Case("social", "gcn-1m-10m-tiny", partial(graphs.convolution, "gcn-1m-10m-tiny"), "all"),
        Case("text", "gpt2-small-tiny", partial(train.text_step, "gpt2-small-tiny"), "all"),
        Case(
            "search k=10",
            "catalogue-1m-tiny",
            partial(serve.search, "catalogue-1m-tiny", 10),
            "all",
        ),
    ]
