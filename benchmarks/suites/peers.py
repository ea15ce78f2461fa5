"""Other systems and socialrec_jax on the same data and the same device, in turns, in one run.

    python3.11 -m venv .venv-peers && .venv-peers/bin/pip install -r requirements-peers.txt
    python -m benchmarks run --suite peers --data DIR --out OUT
        [--tasks sequences text graph search] [--epochs 30] [--device cpu|cuda]

Four tasks: next items from sequences (RecTools' and RecBole's SASRec, and our model in plain
PyTorch, eager and compiled), product text (transformers' GPT-2 in PyTorch), friends (PyTorch
Geometric's GCN), exact search (a product and `topk` in PyTorch). Every system is a process of its
own, at its best settings: on a GPU all of them multiply in bfloat16 or TF32, but for exact search.
"""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.harness.workloads import CATALOGUES
from benchmarks.work.ablations import behavior_alone
from benchmarks.work.peer_data import write_graph, write_sequences, write_tokens
from socialrec_jax.config import required
from socialrec_jax.data.world import World

SCRIPTS = Path(__file__).parents[1] / "peers"
# glibc's allocator as it suits PyTorch on a CPU: its default halves the speed of a large softmax.
_ALLOCATOR = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "100000000000"}
# 1,024 tokens a step on a CPU; GPT-2 small, 8,192 tokens a step, on a GPU.
_TEXT = {"width": 256, "layers": 4, "heads": 4, "vocabulary": 8192, "batch": 8, "steps": 16}
_GPT2_SMALL = _TEXT | {"width": 768, "layers": 12, "heads": 12, "vocabulary": 50257}
_TEXTS = {"cpu": (_TEXT, 128), "cuda": (_GPT2_SMALL, 1024)}  # and tokens of a row
# Names of workloads, whose sizes PyTorch gets too.
_CATALOGUES = {"cpu": "catalogue-1m", "cuda": "catalogue-1m-many-users"}
_K, _SEARCHES = 100, 5
# (nodes, edges); the first is of the size of Ciao's graph of friends.
_GRAPHS = {"gcn-7k-220k": (7_375, 223_562), "gcn-1m-10m": (1_000_000, 10_000_000)}
_MANY_EDGES = 1_000_000

Row = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Setting:
    """Where and how long everybody runs."""

    python: Path  # of the environment in which the peers are installed
    folder: Path  # for the files that everybody reads
    shop: Path  # run directory with the World
    epochs: int  # of RecTools and RecBole at most
    device: str = "cpu"  # or cuda


def run(world: World, setting: Setting, tasks: list[str]) -> list[Row]:
    """A row for each run: {task, system, figures...}, or {task, system, status, reason} of one that
    did not run.
    """
    # The files that everybody reads lie there.
    setting.folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for task in tasks:
        for row in TASKS[task](world, setting):
            rows.append({"task": task} | row)
            print(json.dumps(rows[-1]), flush=True)
    return with_seconds_to_goal(rows)


def sequences(world: World, setting: Setting) -> Iterator[Row]:
    """SASRec of others, our model in PyTorch, and socialrec_jax at their width and at the
    preset's.
    """
    file = setting.folder / "sequences.npz"
    write_sequences(world, file)
    rectools = run_peer(setting, "rectools_sasrec.py", data=file, epochs=setting.epochs)
    yield rectools
    # Whoever trains faster stops when it is as good as RecTools at its best.
    goal = rectools.get("validation_ndcg_10", 0)
    yield run_socialrec(setting, "sequences", shop=setting.shop, width=64, goal=goal)
    yield run_peer(setting, "recbole_sasrec.py", data=file, epochs=setting.epochs, goal=goal)
    for width in (64, 128):
        options = twin_options(world, width)
        # On a CPU JAX multiplies in float32 as well.
        options["bf16"] = int(setting.device == "cuda")
        for is_compiled in (0, 1):
            yield run_peer(setting, "torch_twin.py", data=file, **options, compile=is_compiled)
    yield run_socialrec(setting, "sequences", shop=setting.shop, width=128, goal=goal)


def twin_options(world: World, width: int) -> dict[str, float]:
    """What follows from the data for our model, and thus for its PyTorch twin."""
    # It imports JAX's training, which only this task needs.
    from benchmarks.work.peer_tasks import settings

    config = settings(behavior_alone(world), width)
    return {
        "width": width,
        "length": required(config.model.history_length),
        "dropout": config.model.dropout or 0.0,
        "negatives": config.train.negatives or 0,
    }


def text(world: World, setting: Setting) -> Iterator[Row]:
    """GPT-2 on full rows of tokens: width 256 and 4 layers on a CPU, GPT-2 small on a GPU."""
    del world
    sizes, row_length = _TEXTS[setting.device]
    file = setting.folder / "tokens.npy"
    write_tokens(file, sizes["vocabulary"], row_length)
    yield run_peer(setting, "torch_gpt2.py", tokens=file, **sizes)
    yield run_socialrec(setting, "text", tokens=file, **sizes)
    for is_compiled in (0, 1):
        yield run_peer(setting, "torch_gpt2.py", tokens=file, **sizes, bf16=1, compile=is_compiled)


def graph(world: World, setting: Setting) -> Iterator[Row]:
    """A graph convolution of two layers, width 64, forward and backward, on two sizes of graph."""
    del world
    for name, (num_nodes, num_edges) in _GRAPHS.items():
        file = setting.folder / f"{name}.npz"
        write_graph(file, num_nodes, num_edges)
        # A pass over the large graph takes many seconds.
        repeats = 5 if num_edges < _MANY_EDGES else 2
        peer = run_peer(setting, "pyg_gcn.py", graph=file, repeats=repeats)
        yield {"workload": name} | peer
        socialrec = run_socialrec(setting, "graph", file=file, width=64, repeats=repeats)
        yield {"workload": name} | socialrec


def search(world: World, setting: Setting) -> Iterator[Row]:
    """The top 100 of a catalogue of a million items for each user."""
    del world
    name = _CATALOGUES[setting.device]
    sizes = CATALOGUES[name]
    options = {"items": sizes.items, "width": sizes.width, "users": sizes.queries}
    options |= {"k": _K, "repeats": _SEARCHES}
    yield {"workload": name} | run_peer(setting, "torch_search.py", **options)
    socialrec = run_socialrec(setting, "search", catalogue=name, k=_K, repeats=_SEARCHES)
    yield {"workload": name} | socialrec


TASKS = {"sequences": sequences, "text": text, "graph": graph, "search": search}


def run_peer(setting: Setting, script: str, **options: object) -> Row:
    """The figures of a peer's script."""
    arguments = _arguments(options | {"device": setting.device})
    command = [str(setting.python), str(SCRIPTS / script), *arguments]
    return _last_line(command, os.environ | _ALLOCATOR, script) | {"script": script}


def run_socialrec(setting: Setting, task: str, **options: object) -> Row:
    """The figures of socialrec_jax, on the device that the peers have."""
    command = [sys.executable, "-m", "benchmarks.work.peer_tasks", task, *_arguments(options)]
    return _last_line(command, os.environ | {"JAX_PLATFORMS": setting.device}, "socialrec_jax")


def _arguments(options: dict[str, object]) -> list[str]:
    return [part for name, value in options.items() for part in (f"--{name}", str(value))]


def _last_line(command: list[str], variables: dict[str, str], system: str) -> Row:
    """The JSON object that a process ends with; a process that fails is a row that says so."""
    try:
        done = subprocess.run(command, env=variables, capture_output=True, text=True, check=True)
        return json.loads(done.stdout.strip().splitlines()[-1])
    except (OSError, subprocess.CalledProcessError, ValueError, IndexError) as error:
        output = getattr(error, "stderr", None) or str(error)
        # The last line of a traceback is its message.
        lines = output.strip().splitlines() or [str(error)]
        return {"system": Path(system).stem, "status": "not run", "reason": lines[-1]}


def with_seconds_to_goal(rows: list[Row]) -> list[Row]:
    """Rows with the wall seconds after which each curve passed the best of the first curve."""
    curves = [row["curve"] for row in rows if "curve" in row]
    if not curves:
        return rows
    goal = max((point[2] for point in curves[0]), default=0.0)
    completed = []
    for row in rows:
        reached = [point[0] for point in row.get("curve", []) if point[2] >= goal]
        completed.append(row | {"seconds_to_goal": float(reached[0])} if reached else row)
    return completed
