"""Which part of each history an update learns from: new events, and old ones that are replayed.

A model that learns from new events alone forgets what it knew. So histories without new events are
replayed, recent ones more often than old ones.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from socialrec_jax.data import counter_rng
from socialrec_jax.data.world import Events


@dataclasses.dataclass(frozen=True)
class ReplaySettings:
    """How much is replayed, and what."""

    per_new_event: float  # replayed events for each new one
    half_life: float  # age at which a history is drawn half as often, in spans of all events
    row_length: int  # T, events of a window
    seed: int


def update_starts(
    events: Events, history_ends: np.ndarray, new_rows: np.ndarray, settings: ReplaySettings
) -> np.ndarray:
    """The row [U] from which each user's events up to history_ends [U] are learnt.

    A user with new events before the end learns these and one window before them. Of the other
    users some are drawn, whose last window is replayed. All others start at their end: they learn
    nothing.
    """
    new_rows = new_rows[new_rows < history_ends[events.owners[new_rows]]]
    first_new = np.array(history_ends)
    np.minimum.at(first_new, events.owners[new_rows], new_rows)
    has_new = first_new < history_ends

    starts = np.where(has_new, first_new, history_ends)
    drawn = _replayed_users(events, history_ends, has_new, len(new_rows), settings)
    # The window before gives the new events their context, and is replay itself.
    chosen = has_new.copy()
    chosen[drawn] = True
    context = np.maximum(starts - settings.row_length, events.starts)
    return np.where(chosen, context, history_ends)


def _replayed_users(
    events: Events,
    history_ends: np.ndarray,
    has_new: np.ndarray,
    num_new: int,
    settings: ReplaySettings,
) -> np.ndarray:
    """Users without new events, drawn until their last windows hold enough events.

    Drawn without replacement in proportion to their weights (Efraimidis & Spirakis 2006): users
    with the smallest of -log(uniform) / weight.
    """
    lengths = np.minimum(history_ends - events.starts, settings.row_length)
    users = np.flatnonzero(~has_new & (lengths > 1))
    if not len(users):
        return users
    # In spans of all events, so that one setting fits a shop of days and one of years.
    last_times = events.times[history_ends[users] - 1]
    span = max(1, int(events.times.max() - events.times.min()))
    age = (last_times.max() - last_times) / span
    weights = 0.5 ** np.minimum(age / settings.half_life, 1000)
    uniform = counter_rng.uniform(settings.seed, users)
    order = np.argsort(-np.log(1 - uniform) / weights, kind="stable")

    # Users in their random order, until they hold as many events as are needed.
    running = np.cumsum(lengths[users[order]])
    needed = settings.per_new_event * num_new
    return users[order[: np.searchsorted(running, needed)]]
