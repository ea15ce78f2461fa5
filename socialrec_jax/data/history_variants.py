"""Queries of the same users with another history, which lacks some of their events."""

from __future__ import annotations

import dataclasses

import numpy as np

from socialrec_jax.data.csr import offsets_of, ranges
from socialrec_jax.data.joined_columns import events_at
from socialrec_jax.data.query import Query
from socialrec_jax.data.world import Events


def without_items(query: Query, rows: np.ndarray, items: np.ndarray) -> Query:
    """Queries [n]: those at rows [n] of a query, without item items[i] in the history of query i.

    All visible events of the user with this item are left out. Times and friends stay, and so do
    the events of everybody else. The users have numbers of their own, after those of all users.
    """
    users = query.users[rows]
    histories = _other_histories(query, rows, items)
    # Batches are cut out of these columns, so that they are copied.
    events = _concatenated(query.events, histories)
    first_variant = query.events.num_users
    variants = first_variant + np.arange(len(rows))
    history_ends = events.offsets[1:][variants]

    sampler = query.friend_sampler
    if sampler is not None:
        sampler = sampler.with_variants(histories, users)
    part = query.part(rows)
    return dataclasses.replace(
        part, events=events, users=variants, history_ends=history_ends, friend_sampler=sampler
    )


def _other_histories(query: Query, rows: np.ndarray, items: np.ndarray) -> Events:
    """The histories of the queries at rows [n], each without its item of items [n]."""
    starts = query.events.offsets[query.users[rows]]
    lengths = query.history_ends[rows] - starts
    visible = ranges(starts, lengths)
    variant = np.repeat(np.arange(len(rows)), lengths)
    stays = query.events.items[visible] != items[variant]
    return events_at(query.events, visible[stays], offsets_of(variant[stays], len(rows)))


def _concatenated(events: Events, histories: Events) -> Events:
    """The events of more users, those of the histories after the others."""

    def extended(name: str) -> np.ndarray:
        return np.concatenate([getattr(events, name), getattr(histories, name)])

    return Events(
        offsets=np.concatenate([events.offsets, events.offsets[-1] + histories.offsets[1:]]),
        items=extended("items"),
        times=extended("times"),
        types=extended("types"),
        values=extended("values"),
    )
