"""How long do raw tables take to become a World, and how long does appending 1% take?"""

from __future__ import annotations

from functools import partial

from benchmarks.harness.cases import Case
from benchmarks.work.appending import append_tables
from benchmarks.work.preparation import prepare_tables


def cases(tiny: bool) -> list[Case]:
    cases = []
    for users in (500, 2_000) if tiny else (10_000, 100_000, 1_000_000):
        preset = f"{users} users"
        # A size is a group of its own: large ones need all of the memory.
        cases.append(Case("prepare", preset, partial(prepare_tables, users), preset))
        cases.append(Case("append 1%", preset, partial(append_tables, users), preset))
    return cases
