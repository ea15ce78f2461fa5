"""Padding of the tables of a World that has grown, for rows to come.

A compiled program belongs to the shapes of its arguments, and each append has some new items and
users. So tables of a grown World get more rows than there are items and users, and the programs of
one append serve the next ones too. Rows without an item or user are zeros, are read by nobody, and
a model that is opened has none. A World that was never appended to has no such rows, nor has one
whose model was trained from nothing: sums over padded rows differ in their last bits.
"""

from __future__ import annotations

import numpy as np

from socialrec_jax.data.world import World
from socialrec_jax.models.embedding_tables import PATHS, merge_tables, split_tables
from socialrec_jax.models.recommender import RecommenderModel, fixed_variables

_LEAST_STEP = 64  # rows


def capacity(num_rows: int) -> int:
    """num_rows rounded up: by less than a quarter, so that a few sizes cover a growing table."""
    below = 1 << max(num_rows.bit_length() - 1, 0)  # the power of two at num_rows or below
    step = max(_LEAST_STEP, below // 4)
    return -(-num_rows // step) * step


def has_room(world: World) -> bool:
    """Whether tables of its models are padded. Generations of older programs do not say it, and
    are.
    """
    return bool(world.manifest.get("room", world.manifest.get("lineage")))


def padded_model(model: RecommenderModel, world: World) -> RecommenderModel:
    """The model with padded tables, if the World has room."""
    if not has_room(world):
        return model
    # Zero users means a model without friends.
    num_users = capacity(model.num_users) if model.num_users else 0
    return model.clone(num_items=capacity(model.num_items), num_users=num_users)


def padded_params(params: dict, model: RecommenderModel) -> dict:
    """The parameters with tables as long as those of the model."""
    rest, tables = split_tables(params, _tables_of(model))
    sizes = {"items": model.num_items, "users": model.num_users}
    padded = {name: padded_rows(tables[name], sizes[name]) for name in tables}
    return merge_tables(rest, padded)


def padded_variables(
    params: dict, texts: np.ndarray, known: np.ndarray, model: RecommenderModel
) -> dict:
    """All variables of a model whose tables may be padded."""
    return {"params": padded_params(params, model)} | padded_fixed(texts, known, model)


def padded_fixed(texts: np.ndarray, known: np.ndarray, model: RecommenderModel) -> dict:
    """The fixed variables of a model, whose tables may be padded, from those of the items."""
    size = model.num_items
    return fixed_variables(padded_rows(texts, size), padded_rows(known, size))


def without_padding(params: dict, model: RecommenderModel) -> dict:
    """The inverse of `padded_params`; model: without padding."""
    rest, tables = split_tables(params, _tables_of(model))
    sizes = {"items": model.num_items, "users": model.num_users}
    trimmed = {name: _first_rows(tables[name], sizes[name]) for name in tables}
    return merge_tables(rest, trimmed)


def padded_rows(rows: np.ndarray, size: int) -> np.ndarray:
    """Rows [n, ...] and zeros [size - n, ...] after them."""
    missing = size - len(rows)
    if not missing:
        return rows
    return np.pad(np.asarray(rows), [(0, missing)] + [(0, 0)] * (rows.ndim - 1))


def _first_rows(rows: np.ndarray, size: int) -> np.ndarray:
    # On the host: a slice on devices is a program for each shape.
    return rows if len(rows) == size else np.asarray(rows)[:size]


def _tables_of(model: RecommenderModel) -> tuple[str, ...]:
    return tuple(PATHS) if model.num_users else ("items",)
