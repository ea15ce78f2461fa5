"""One suite a file; each is a function `cases(tiny) -> list[Case]`, and this is the list of
them.
"""

from __future__ import annotations

import importlib

from benchmarks.harness.cases import Case

# A later suite is one more file and one more name here.
SUITES = ("smoke", "train", "serve", "input", "scale", "checkpoint", "prepare", "ladder")


def cases_of(suite: str, tiny: bool) -> list[Case]:
    return importlib.import_module(f"benchmarks.suites.{suite}").cases(tiny)
