"""Why an item is recommended: the recent item of the user's history that is most similar to it."""

from __future__ import annotations

import numpy as np

from socialrec_jax.data.query import Query

_RECENT_EVENTS = 10  # that may be named as the reason


def similar_recent_items(vectors: np.ndarray, query: Query, items: np.ndarray) -> np.ndarray:
    """The recent item of each user that is most similar to each recommended item [q, k].

    vectors [V, D]: the catalogue; similarity is their inner product. -1 for users without history.
    """
    recent, valid = _recent_items(query)
    similarity = vectors[items] @ vectors[recent].swapaxes(1, 2)
    # A short history is padded with events that are not its own.
    similarity = np.where(valid[:, None], similarity, -np.inf)
    most_similar = np.take_along_axis(recent, similarity.argmax(axis=-1), axis=1)
    has_history = valid.any(axis=-1, keepdims=True)
    return np.where(has_history, most_similar, -1)


def _recent_items(query: Query) -> tuple[np.ndarray, np.ndarray]:
    """(items [q, n] of the last events, newest first; where there is one [q, n])."""
    events = query.events
    rows = query.history_ends[:, None] - 1 - np.arange(_RECENT_EVENTS)
    valid = np.asarray(rows >= events.offsets[query.users][:, None])
    # Without any event, not even row 0 can be read.
    if not len(events.items):
        return np.zeros(rows.shape, np.int32), valid
    rows = np.where(valid, rows, 0)
    return events.items[rows], valid
