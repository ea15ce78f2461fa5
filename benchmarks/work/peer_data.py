"""The files that other systems and socialrec_jax read in the suite `peers`."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from socialrec_jax.data.world import BEFORE_TEST, BEFORE_VALIDATION, World

_NODE_SHARE = 2000  # the typical sender of a graph is among the first 1 / 2000 of the nodes


def write_sequences(world: World, file: Path) -> None:
    """What `peers.common.Sequences` reads: the training part, and each user's first validation
    event.
    """
    events = world.events
    history_ends, next_ends = world.history_ends(BEFORE_VALIDATION), world.history_ends(BEFORE_TEST)
    num_events = len(events.items)
    in_training = events.visible(history_ends)
    first_held_out = events.items[np.minimum(history_ends, num_events - 1)]
    # -1: this user has no validation event.
    held_out = np.where(next_ends > history_ends, first_held_out, -1)
    np.savez(
        file,
        offsets=np.concatenate([[0], np.cumsum(history_ends - events.starts)]),
        items=events.items[in_training],
        times=events.times[in_training] - world.first_time,
        held_out=held_out.astype(np.int32),
        num_items=world.num_items,
    )


def write_tokens(file: Path, vocabulary: int, row_length: int) -> None:
    """64 rows of random tokens."""
    tokens = np.random.default_rng(0).integers(0, vocabulary, (64, row_length))
    np.save(file, tokens.astype(np.int32))


def write_graph(file: Path, num_nodes: int, num_edges: int) -> None:
    """A graph whose senders follow a power law, sorted by receiver, with weights 1 / sqrt(d d')."""
    rng = np.random.default_rng(0)
    # Ranks of the senders; the largest of them start over.
    popularity = rng.pareto(1.2, num_edges) * num_nodes / _NODE_SHARE
    senders = rng.permutation(num_nodes)[popularity.astype(np.int64) % num_nodes]
    receivers = np.sort(rng.integers(0, num_nodes, num_edges))
    # A node without edges would divide by zero.
    out_degrees = np.maximum(np.bincount(senders, minlength=num_nodes), 1)
    in_degrees = np.maximum(np.bincount(receivers, minlength=num_nodes), 1)
    weights = 1 / np.sqrt(out_degrees[senders] * in_degrees[receivers])
    np.savez(
        file,
        senders=senders.astype(np.int32),
        receivers=receivers.astype(np.int32),
        weights=weights.astype(np.float32),
        num_nodes=num_nodes,
    )
