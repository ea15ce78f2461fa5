"""The console scripts: train.py, serve.py and the benchmarks of an installed package.

In a checkout these programs lie at the root of the repository, where `python train.py` finds them.
A wheel carries them in `socialrec_jax/_programs`. They are imported from that folder, so that no
module called `train` or `serve` is installed for everybody.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

from socialrec_jax.runtime.memory import use_huge_pages
from socialrec_jax.runtime.signals import exit_at_once

_PACKAGE = Path(__file__).parent


def train() -> None:
    """`socialrec-train`: what `python train.py` does."""
    use_huge_pages()
    _run("train")


def serve() -> None:
    """`socialrec-serve`: what `python serve.py` does."""
    _run("serve")


def benchmark() -> None:
    """`socialrec-bench`: what `python -m benchmarks` does."""
    _run("benchmarks.__main__")


def _run(module: str) -> None:
    exit_at_once()
    installed = _PACKAGE / "_programs"
    folder = installed if installed.exists() else _PACKAGE.parent
    sys.path.insert(0, str(folder))
    importlib.import_module(module).main()
