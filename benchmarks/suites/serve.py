"""How many users a second: search by size of the catalogue and k, ranking, and everything from
history to list.
"""

from __future__ import annotations

from functools import partial

from benchmarks.harness import workloads
from benchmarks.harness.cases import Case
from benchmarks.work.rankers import scoring
from benchmarks.work.search import search
from benchmarks.work.serving import end_to_end

_SEEN_ITEMS = 20  # of each user


def cases(tiny: bool) -> list[Case]:
    catalogues = workloads.sized(("catalogue-1m", "catalogue-10m"), tiny)
    users = 300 if tiny else 20_000
    return [
        *(case for name in catalogues for case in _search_cases(name)),
        Case("rank", catalogues[0], partial(scoring, catalogues[0])),
        Case("end to end", f"{users} users", partial(end_to_end, users)),
    ]


def _search_cases(name: str) -> list[Case]:
    without_seen = partial(search, name, 100, seen_per_user=_SEEN_ITEMS)
    return [
        Case("search k=10", name, partial(search, name, 10), name),
        Case("search k=100", name, partial(search, name, 100), name),
        Case(f"search k=100, {_SEEN_ITEMS} seen items left out", name, without_seen, name),
    ]
