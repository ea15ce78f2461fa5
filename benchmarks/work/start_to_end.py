"""`train.py` from start to end, as a person runs it: a process of its own, imports and all."""

from __future__ import annotations

import atexit
import functools
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.harness.cases import NotRun, Work, WrongResult
from socialrec_jax.data.synthetic import write_tables

PROGRAM = Path(__file__).parents[2] / "train.py"
# Of Amazon Beauty, the smallest data set that people compare systems on.
_USERS, _ITEMS = 22_363, 12_101
_TINY_USERS, _TINY_ITEMS = 60, 40


def train(data: Path | None, tiny: bool, is_warm: bool) -> Work:
    """One run of `train.py` on a folder of tables, or on a made-up shop of Beauty's size.

    The first, cold run begins with an empty compilation cache. A warm one finds what the cold one
    has compiled; it is another run in another folder.
    """
    folder = _working_folder()
    cache = folder / "cache"
    if is_warm and not cache.exists():
        raise NotRun("the warm run comes after the cold one, in the same call of the suite")
    tables = data or _made_up_shop(folder, tiny)
    run = folder / ("warm" if is_warm else "cold")
    command = [sys.executable, str(PROGRAM), "--data", str(tables), "--run", str(run)]
    if tiny:
        command += ["--preset", "tiny"]
    # This process holds most of the device's memory already.
    variables = {
        "JAX_COMPILATION_CACHE_DIR": str(cache),
        "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
    }

    def call(_: Any) -> None:
        cache.mkdir(exist_ok=True)
        _run_to_the_end(command, os.environ | variables)

    return Work(
        call=call,
        carry=None,
        check=lambda _: _accuracy(run),
        unit="runs",
        units_per_call=1,
        on_host=True,
    )


@functools.cache
def _working_folder() -> Path:
    """One for the cold run and the warm one; it is removed when the process ends."""
    folder = tempfile.mkdtemp(prefix="start-to-end-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


def _made_up_shop(folder: Path, tiny: bool) -> Path:
    tables = folder / "tables"
    if not tables.exists():
        users, items = (_TINY_USERS, _TINY_ITEMS) if tiny else (_USERS, _ITEMS)
        write_tables(tables, num_users=users, num_items=items)
    return tables


def _run_to_the_end(command: list[str], variables: dict[str, str]) -> None:
    done = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["it said nothing"]
        raise RuntimeError(f"train.py ended with {done.returncode}: {lines[-1]}")


def _accuracy(run: Path) -> str:
    """The test figures of a finished run; raises WrongResult where it has none."""
    file = run / "report.json"
    if not file.exists():
        raise WrongResult("the run left no report.json")
    test = json.loads(file.read_text())["test"]
    model = "ranker" if "ranker" in test else "retriever"
    metrics = test[model]
    return f"test HR@10 {metrics['hr@10']:.4f}, NDCG@10 {metrics['ndcg@10']:.4f} of the {model}"
