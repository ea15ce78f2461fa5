"""One suite a file.

A suite of cases has `cases(tiny) -> list[Case]`, which the runner times and checks. A study has
`run`: `quality` and `peers` train whole systems, and their figures (accuracy by seed, curves over
time) are no seconds of a call. `scale-host` gives the growth of costs.

A further suite is a file here and a name in the list.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

if TYPE_CHECKING:
    from benchmarks.harness.cases import Case

TimedSuite = Literal[
    "smoke",
    "accelerator",
    "train",
    "serve",
    "input",
    "scale",
    "checkpoint",
    "prepare",
    "ladder",
    "epoch",
    "microbenchmarks",
]
Study = Literal["quality", "peers", "scale-host"]
STUDIES: tuple[str, ...] = get_args(Study)


def cases_of(suite: str, tiny: bool, data: Path | None = None) -> list[Case]:
    """The cases of a timed suite, the most valuable first.

    tiny: the presets' twins for CPUs; data: raw tables, for the suite that trains on them.
    """
    # Imported late: a suite imports JAX, and `--help` need not wait for it.
    cases = importlib.import_module(f"benchmarks.suites.{suite}").cases
    return cases(tiny, data) if suite == "accelerator" else cases(tiny)
