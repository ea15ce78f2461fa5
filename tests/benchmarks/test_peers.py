"""What the systems exchange and report, and socialrec_jax's tasks on small inputs."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.output.studies import peers_table
from benchmarks.suites import peers
from benchmarks.work import peer_data, peer_graph, peer_tasks
from tests.worlds import random_world


def test_peers_train_on_the_training_part_and_are_evaluated_on_the_event_after_it(tmp_path):
    world = random_world(tmp_path, 20)
    events = world.events
    peer_data.write_sequences(world, tmp_path / "sequences.npz")
    with np.load(tmp_path / "sequences.npz") as columns:
        offsets, items, held_out = (columns[name] for name in ("offsets", "items", "held_out"))
    history_ends, next_ends = world.history_ends(BEFORE_VALIDATION), world.history_ends(BEFORE_TEST)
    for user, start in enumerate(events.starts):
        end = history_ends[user]
        exchanged = items[offsets[user] : offsets[user + 1]]
        assert exchanged.tolist() == events.items[start:end].tolist()
        assert held_out[user] == (events.items[end] if next_ends[user] > end else -1)


def test_the_goal_is_what_the_first_curve_reached_at_best():
    rows = [
        {"curve": [[1, 1, 0.2], [2, 2, 0.5], [3, 3, 0.4]]},
        {"curve": [[7, 9, 0.3], [8, 10, 0.6]]},
        {"system": "x"},
    ]
    first, second, without = peers.with_seconds_to_goal(rows)
    assert (first["seconds_to_goal"], second["seconds_to_goal"]) == (2, 8)
    assert "seconds_to_goal" not in without


def test_a_peer_that_is_not_installed_is_a_row_that_says_why(tmp_path):
    setting = peers.Setting(Path(sys.executable), tmp_path, tmp_path, epochs=1)
    row = peers.run_peer(setting, "rectools_sasrec.py", data=tmp_path / "nothing.npz")
    assert row["status"] == "not run"
    assert row["reason"]
    assert "rectools_sasrec" in peers_table([{"task": "sequences"} | row]).markdown()


def test_everybody_runs_on_the_device_that_was_chosen(tmp_path, monkeypatch):
    started = []

    def run(command, variables, system):
        started.append((command, variables.get("JAX_PLATFORMS")))
        return {}

    monkeypatch.setattr(peers, "_last_line", run)
    setting = peers.Setting(Path("python"), tmp_path, tmp_path, epochs=1, device="cuda")
    peers.run_peer(setting, "pyg_gcn.py", repeats=1)
    peers.run_socialrec(setting, "graph", repeats=1)
    (peer_command, _), (_, platforms) = started
    assert peer_command[-2:] == ["--device", "cuda"]
    assert platforms == "cuda"


@pytest.mark.parametrize("num_edges", [1, 500])
def test_both_convolutions_are_timed_and_agree(tmp_path, num_edges):
    peer_data.write_graph(tmp_path / "graph.npz", 50, num_edges)
    row = peer_graph.graph(tmp_path / "graph.npz", width=8, repeats=1)
    assert all(rate > 0 for rate in row["edge_visits_per_second"].values())


def test_the_language_model_learns_in_the_task(tmp_path):
    tokens = tmp_path / "tokens.npy"
    np.save(tokens, np.random.default_rng(0).integers(0, 40, (8, 16)))
    row = peer_tasks.text(tokens, width=16, layers=1, heads=2, vocabulary=40, batch=4, steps=20)
    assert row["losses"][-1] < row["losses"][0]
