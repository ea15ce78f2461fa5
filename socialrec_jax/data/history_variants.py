"""Queries of the same users with another history, which lacks some of their events."""

from __future__ import annotations

import dataclasses

import numpy as np

from socialrec_jax.data.csr import ranges
from socialrec_jax.data.query import Query
from socialrec_jax.data.world import Events


def without_items(query: Query, rows: np.ndarray, items: np.ndarray) -> Query:
    """Queries [n]: those at rows [n] of a query, without item items[i] in the history of query i.

    All visible events of the user with this item are left out. Times and friends stay, and so do
    the events of everybody else. The users have numbers of their own, after those of all users.
    """
    users = query.users[rows]
    kept, lengths = _other_events(query, rows, items)
    events = _with_histories(query.events, kept, lengths)
    first_variant = query.events.num_users
    variants = first_variant + np.arange(len(rows))
    history_ends = events.offsets[1:][variants]

    sampler = query.friend_sampler
    if sampler is not None:
        ends = np.concatenate([sampler.history_ends, history_ends])
        sampler = sampler.with_variants(events, ends, users)
    part = query.part(rows)
    return dataclasses.replace(
        part, events=events, users=variants, history_ends=history_ends, friend_sampler=sampler
    )


def _other_events(
    query: Query, rows: np.ndarray, items: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """(rows of the events that stay, variant by variant; their number for each variant [n])."""
    starts = query.events.offsets[query.users[rows]]
    lengths = query.history_ends[rows] - starts
    visible = ranges(starts, lengths)
    variant = np.repeat(np.arange(len(rows)), lengths)
    stays = query.events.items[visible] != items[variant]
    return visible[stays], np.bincount(variant[stays], minlength=len(rows))


def _with_histories(events: Events, rows: np.ndarray, lengths: np.ndarray) -> Events:
    """Events with more users, whose histories are copies of rows, lengths [n] of them each."""
    offsets = events.offsets[-1] + np.cumsum(lengths)

    def extended(column: np.ndarray) -> np.ndarray:
        return np.concatenate([column, column[rows]])

    return Events(
        offsets=np.concatenate([events.offsets, offsets]),
        items=extended(events.items),
        times=extended(events.times),
        types=extended(events.types),
        values=extended(events.values),
    )
