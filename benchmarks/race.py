"""The suite `peers`: other systems and ours on the same data and the same cores, in turns, in one
run.

    python3.11 -m venv .venv-peers && .venv-peers/bin/pip install -r requirements-peers.txt
    python -m benchmarks run --suite peers --data DIR --out OUT [--contests sequences text graph] [--epochs 30]

Three contests: next items from sequences (RecTools and RecBole SASRec, and our model in plain
PyTorch), product text (transformers' torch GPT-2), friends (PyTorch Geometric's GCN). Everybody is
a process of their own; peers get glibc's allocator as suits them best, since its default halves the
speed of their softmax.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from socialrec_jax.config import required
from socialrec_jax.data.world import BEFORE_TEST, BEFORE_VALIDATION, World

PEERS = Path(__file__).parent / "peers"
_ALLOCATOR = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "100000000000"}
_TEXT = {"width": 256, "layers": 4, "heads": 4, "vocabulary": 8192, "batch": 8, "steps": 16}
GRAPHS = {
    "gcn-7k-220k": (7_375, 223_562),
    "gcn-1m-10m": (1_000_000, 10_000_000),
}  # nodes, edges; Ciao's size first

Row = dict


def run(
    world: World, shop: Path, python: Path, folder: Path, contests: list[str], epochs: int
) -> list[Row]:
    """A row for each runner: {contest, peer, figures...}, or {contest, peer, status} of one that
    did not run.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for contest in contests:
        for row in CONTESTS[contest](world, shop, python, folder, epochs):
            rows.append({"contest": contest} | row)
            print(json.dumps(rows[-1]), flush=True)
    return rows


def sequences(world: World, shop: Path, python: Path, folder: Path, epochs: int):
    """SASRec by others, our model in PyTorch, and ours at their width and at the preset's."""
    file = folder / "sequences.npz"
    write_sequences(world, file)
    rectools = theirs(python, "rectools_sasrec.py", data=file, epochs=epochs)
    yield rectools
    goal = rectools.get("validation_ndcg_10", 0)
    yield ours("sequences", shop=shop, width=64, goal=goal)
    yield theirs(python, "recbole_sasrec.py", data=file, epochs=epochs, goal=goal)
    yield theirs(python, "torch_twin.py", data=file, **twin(world, 64))
    yield theirs(python, "torch_twin.py", data=file, **twin(world, 128))
    yield ours("sequences", shop=shop, width=128, goal=goal)


def twin(world: World, width: int) -> dict[str, float]:
    """What follows from the data for our model, and thus for its twin."""
    from benchmarks.ours import behavior_alone, settings

    config = settings(behavior_alone(world), width)
    m, negatives = config.model, config.train.negatives or 0
    return {
        "width": width,
        "length": required(m.history_length),
        "dropout": m.dropout or 0.0,
        "negatives": negatives,
    }


def text(world: World, shop: Path, python: Path, folder: Path, epochs: int):
    """GPT-2 at width 256, 4 layers, rows of 128 tokens without padding."""
    file = folder / "tokens.npy"
    np.save(
        file, np.random.default_rng(0).integers(0, _TEXT["vocabulary"], (64, 128)).astype(np.int32)
    )
    yield theirs(python, "torch_gpt2.py", tokens=file, **_TEXT)
    yield ours("text", tokens=file, **_TEXT)
    yield theirs(python, "torch_gpt2.py", tokens=file, **_TEXT, bf16=1)


def graph(world: World, shop: Path, python: Path, folder: Path, epochs: int):
    """A graph convolution of two layers, width 64, forward and backward, on two sizes of graph."""
    for name, (num_nodes, num_edges) in GRAPHS.items():
        file = folder / f"{name}.npz"
        write_graph(file, num_nodes, num_edges)
        repeats = 5 if num_edges < 1_000_000 else 2
        for row in (
            theirs(python, "pyg_gcn.py", graph=file, repeats=repeats),
            ours("graph", file=file, width=64, repeats=repeats),
        ):
            yield {"workload": name} | row


CONTESTS = {"sequences": sequences, "text": text, "graph": graph}


def write_sequences(world: World, file: Path) -> None:
    """What `peers.common.Sequences` reads: the training part, and each user's first validation
    event.
    """
    history_ends, stops = world.history_ends(BEFORE_VALIDATION), world.history_ends(BEFORE_TEST)
    lengths = history_ends - world.events.starts
    rows = np.arange(len(world.events.items)) < history_ends[world.events.owners]
    held_out = np.where(
        stops > history_ends, world.events.items[np.minimum(history_ends, len(rows) - 1)], -1
    )
    np.savez(
        file,
        offsets=np.concatenate([[0], np.cumsum(lengths)]),
        items=world.events.items[rows],
        times=world.events.times[rows] - world.first_time,
        held_out=held_out.astype(np.int32),
        num_items=world.num_items,
    )


def write_graph(file: Path, num_nodes: int, num_edges: int) -> None:
    """A graph whose nodes are known by a power law of others, sorted by receiver, weights 1 /
    sqrt(d d').
    """
    rng = np.random.default_rng(0)
    popularity = (rng.pareto(1.2, num_edges) * num_nodes / 2000).astype(np.int64) % num_nodes
    senders = rng.permutation(num_nodes)[popularity]
    receivers = np.sort(rng.integers(0, num_nodes, num_edges))
    degrees = [
        np.maximum(np.bincount(history_ends, minlength=num_nodes), 1)
        for history_ends in (senders, receivers)
    ]
    weights = 1 / np.sqrt(degrees[0][senders] * degrees[1][receivers])
    history_ends = {"senders": senders.astype(np.int32), "receivers": receivers.astype(np.int32)}
    np.savez(
        file,
        weights=weights.astype(np.float32),
        num_nodes=num_nodes,
        allow_pickle=False,
        **history_ends,
    )


def theirs(python: Path, script: str, **options: object) -> Row:
    """What a peer's script found."""
    command = [str(python), str(PEERS / script), *_arguments(options)]
    return _last_line(command, os.environ | _ALLOCATOR) | {"script": script}


def ours(contest: str, **options: object) -> Row:
    return _last_line(
        [sys.executable, "-m", "benchmarks.ours", contest, *_arguments(options)], dict(os.environ)
    )


def _arguments(options: dict[str, object]) -> list[str]:
    return [part for name, value in options.items() for part in (f"--{name}", str(value))]


def _last_line(command: list[str], variables: dict[str, str]) -> Row:
    """The JSON object that a process ends with; a process that fails is a row that says so."""
    try:
        done = subprocess.run(command, env=variables, capture_output=True, text=True, check=True)
        return json.loads(done.stdout.strip().splitlines()[-1])
    except (OSError, subprocess.CalledProcessError, ValueError, IndexError) as error:
        output = (getattr(error, "stderr", None) or str(error)).strip().splitlines()
        return {
            "peer": Path(command[1]).stem,
            "status": "not run",
            "why": output[-1] if output else str(error),
        }


def table(rows: list[Row]) -> str:
    """Markdown of what can be compared within each contest."""
    columns = {
        "trained_targets_per_second": "targets/s",
        "trained_targets_per_cpu_second": "targets/CPU s",
        "real_positions": "real positions",
        "validation_ndcg_10": "validation NDCG@10",
        "seconds_to_goal": "s to the first one's best",
        "users_per_second": "users/s",
        "tokens_per_second": "tokens/s",
        "edge_visits_per_second": "edge visits/s",
        "peak_memory_mb": "peak MB",
    }
    lines = [
        "| contest | who | " + " | ".join(columns.values()) + " |",
        "|---" * (len(columns) + 2) + "|",
    ]
    for row in rows:
        cells = [_cell(row.get(name, "")) for name in columns]
        who = row["peer"] + (f" ({row['why']})" if "why" in row else "")
        lines.append(
            f"| {row.get('workload', row['contest'])} | {who} | " + " | ".join(cells) + " |"
        )
    return "\n".join(lines)


def _cell(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_cell(v)}" for name, v in value.items())
    if isinstance(value, float):
        return f"{value:,.0f}" if value > 10 else f"{value:.4f}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def with_seconds_to_goal(rows: list[Row]) -> list[Row]:
    """Beside each curve the wall seconds after which it passed the first curve's best."""
    curves = [row["curve"] for row in rows if "curve" in row]
    goal = max((point[2] for point in curves[0]), default=0.0) if curves else 0.0
    found = []
    for row in rows:
        reached = [point[0] for point in row.get("curve", []) if point[2] >= goal]
        found.append(row | ({"seconds_to_goal": float(reached[0])} if reached else {}))
    return found
