"""What the races exchange and report, and our side of them on small inputs."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks import ours, race
from socialrec_jax.data.world import BEFORE_TEST, BEFORE_VALIDATION
from tests.worlds import random_world


def test_peers_train_on_the_training_part_and_are_judged_by_the_event_after_it(tmp_path):
    world = random_world(tmp_path, 20)
    race.write_sequences(world, tmp_path / "sequences.npz")
    with np.load(tmp_path / "sequences.npz") as columns:
        offsets, items, held_out = (columns[name] for name in ("offsets", "items", "held_out"))
    history_ends, stops = world.history_ends(BEFORE_VALIDATION), world.history_ends(BEFORE_TEST)
    for user, start in enumerate(world.events.starts):
        assert (
            items[offsets[user] : offsets[user + 1]].tolist()
            == world.events.items[start : history_ends[user]].tolist()
        )
        assert held_out[user] == (
            world.events.items[history_ends[user]] if stops[user] > history_ends[user] else -1
        )


def test_the_goal_is_what_the_first_curve_reached_at_best():
    rows = [
        {"curve": [[1, 1, 0.2], [2, 2, 0.5], [3, 3, 0.4]]},
        {"curve": [[7, 9, 0.3], [8, 10, 0.6]]},
        {"peer": "x"},
    ]
    first, second, without = race.with_seconds_to_goal(rows)
    assert (first["seconds_to_goal"], second["seconds_to_goal"]) == (2, 8)
    assert "seconds_to_goal" not in without


def test_a_peer_that_is_not_installed_is_a_row_that_says_why(tmp_path):
    row = race.theirs(Path(sys.executable), "rectools_sasrec.py", data=tmp_path / "nothing.npz")
    assert row["status"] == "not run"
    assert row["why"]
    assert "rectools_sasrec" in race.table([{"contest": "sequences"} | row])


@pytest.mark.parametrize("num_edges", [1, 500])
def test_both_of_our_convolutions_are_timed_and_agree(tmp_path, num_edges):
    race.write_graph(tmp_path / "graph.npz", 50, num_edges)
    row = ours.graph(tmp_path / "graph.npz", width=8, repeats=1)
    assert all(rate > 0 for rate in row["edge_visits_per_second"].values())


def test_our_language_model_learns_what_the_race_asks_for(tmp_path):
    np.save(tmp_path / "tokens.npy", np.random.default_rng(0).integers(0, 40, (8, 16)))
    row = ours.text(
        tmp_path / "tokens.npy", width=16, layers=1, heads=2, vocabulary=40, batch=4, steps=20
    )
    assert row["losses"][-1] < row["losses"][0]
