"""How fast does each part learn, and the whole step, against what the device could do?"""

from __future__ import annotations

from functools import partial

from benchmarks.harness import workloads
from benchmarks.harness.cases import Case
from benchmarks.harness.workloads import SEQUENCES
from benchmarks.work import rankers, updates
from benchmarks.work.epoch import Optimisations, single_calls
from benchmarks.work.graphs import convolution
from benchmarks.work.language_model import text_step
from benchmarks.work.steps import step
from benchmarks.work.transformer import behavior

# Four steps a call: fewer calls of a large program.
_BY_ROWS = Optimisations(packed=True, sampled=True, steps_per_call=4, tables=("items",))


def cases(tiny: bool) -> list[Case]:
    large, *smaller = workloads.sized(("dlrmv4-mini", "sasrec-ml1m", "beauty-packed"), tiny)
    text, graph = workloads.sized(("gpt2-small", "gcn-1m-10m"), tiny)
    (catalogue,) = workloads.sized(("catalogue-1m",), tiny)
    # Beauty is the workload with a graph of friends.
    beauty = smaller[-1]
    return [
        Case("behavior", large, partial(behavior, large)),
        Case("step", large, partial(step, large)),
        Case("text", text, partial(text_step, text)),
        *(Case("step", name, partial(step, name)) for name in smaller),
        *(Case("behavior", name, partial(behavior, name)) for name in smaller),
        Case("step with friends", beauty, partial(step, beauty, friends=10)),
        *_embedding_cases(tiny),
        Case("ranker", catalogue, partial(rankers.learning, catalogue)),
        Case("social", graph, partial(convolution, graph)),
    ]


def _embedding_cases(tiny: bool) -> list[Case]:
    """Updates of a table: does its size matter when rows alone are updated? And a whole model whose
    table is most of the memory.
    """
    small, large = workloads.sized(("catalogue-10k", "catalogue-1m"), tiny)
    (huge,) = workloads.sized(("beauty-10m",), tiny)
    group, by_rows = "embedding update", "embedding update by rows"
    return [
        Case("embedding update", large, partial(updates.whole_table, large), group),
        Case(by_rows, large, partial(updates.rows_alone, large), group),
        Case(by_rows, small, partial(updates.rows_alone, small), group),
        Case("step, table by rows", huge, partial(single_calls, SEQUENCES[huge], _BY_ROWS)),
    ]
