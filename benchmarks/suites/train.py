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
    sequences = workloads.sized(("sasrec-ml1m", "beauty-packed", "dlrmv4-mini"), tiny)
    text, graph = workloads.sized(("gpt2-small", "gcn-1m-10m"), tiny)
    (catalogue,) = workloads.sized(("catalogue-1m",), tiny)
    # Beauty is the workload with a graph of friends.
    beauty = sequences[1]
    return [
        *(Case("behavior", name, partial(behavior, name)) for name in sequences),
        *(Case("step", name, partial(step, name)) for name in sequences),
        Case("step with friends", beauty, partial(step, beauty, friends=10)),
        Case("social", graph, partial(convolution, graph)),
        Case("text", text, partial(text_step, text)),
        Case("ranker", catalogue, partial(rankers.learning, catalogue)),
        *_embedding_cases(tiny),
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
