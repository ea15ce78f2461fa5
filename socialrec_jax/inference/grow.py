"""A trained model for a later generation of its World: new users and items get rows, nothing is
trained.

A new item starts from its text: the row of its id is zero, until training moves it. Where it has no
text, the row is random. Random rows are a function of the seed and the number of the row, so it
does not matter in how many steps a World grew. The row of a new user is zero.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
from scipy.special import ndtri

from socialrec_jax.config import Config
from socialrec_jax.data import counter_rng
from socialrec_jax.data.as_of import AsOf
from socialrec_jax.data.features.item_knn import ItemKNNSettings
from socialrec_jax.data.features.new_items import with_text_neighbours
from socialrec_jax.data.features.ranker_features import RankerFeatures
from socialrec_jax.data.text.tokenizer import product_texts
from socialrec_jax.data.text.whitening import Whitening, whiten_known
from socialrec_jax.data.world import NOW, Items, World
from socialrec_jax.errors import BadData
from socialrec_jax.inference.capacity import padded_rows
from socialrec_jax.inference.load import Loaded, items_with_events, model_for
from socialrec_jax.inference.text_encoder import TEXT_WHITENING, VECTOR_WHITENING, TextEncoder
from socialrec_jax.models.embedding_tables import merge_tables, split_tables


def grow(loaded: Loaded, world: World, texts: np.ndarray, as_of: AsOf = NOW) -> Loaded:
    """A model of `load_run` for a later generation of its World; features are still to be counted.

    texts [V, F]: vectors of the grown World's items, see `grown_texts`. as_of: until when the model
    has learnt. BadData where the World has event types that no model has learnt.
    """
    _check_event_types(loaded.world, world)
    config = _with_parts_of(loaded)
    return dataclasses.replace(
        loaded,
        world=world,
        config=config,
        model=model_for(config, world, texts.shape[1]),
        params=_grown_params(loaded, world, texts),
        texts=texts,
        known=items_with_events(world, world.history_ends(as_of)),
        features=None,
    )


def with_counts(
    grown: Loaded, settings: ItemKNNSettings | None, history_ends: np.ndarray, known_items: int
) -> Loaded:
    """The model with what its ranker reads, counted from the events before history_ends [U].

    settings: of the features of the model before; None for a model without ranker. known_items: of
    the World before; later ones without events get the counts of similar texts.
    """
    if settings is None:
        return grown
    features = RankerFeatures.fit(grown.world, history_ends, settings)
    features = with_text_neighbours(features, known_items)
    return dataclasses.replace(grown, features=features)


def item_knn_settings(loaded: Loaded) -> ItemKNNSettings | None:
    """The settings of a model's features; None for a model without ranker."""
    return loaded.features and loaded.features.settings


def _check_event_types(known: World, world: World) -> None:
    """BadData where the grown World has event types that no model has learnt."""
    new = world.event_types[len(known.event_types) :]
    if new:
        raise BadData(
            f"events: the model does not know the event type {new[0]}, only "
            f"{', '.join(known.event_types)}: rename it in the tables, or train a new --run"
        )


def _with_parts_of(loaded: Loaded) -> Config:
    """The configuration of a model that gets no part for friends if it had none."""
    if loaded.model.num_users:
        return loaded.config
    # With friendships in the grown World, this part would begin without any training.
    model = dataclasses.replace(loaded.config.model, social_queries=0)
    return dataclasses.replace(loaded.config, model=model)


# ---- Tables


def _grown_params(loaded: Loaded, world: World, texts: np.ndarray) -> dict:
    """Parameters whose tables have a row for each item and user of the World."""
    names = ("items", "users") if loaded.model.num_users else ("items",)
    params, tables = split_tables(loaded.params, names)
    # Deviations are those of the model's own initialisers.
    width = loaded.config.model.width
    items = _start_rows(world.num_items, width, width**-0.5, loaded.config.seed)
    # Zero and a text make the same vector as the text alone.
    items[texts.any(axis=1)] = 0
    # Ids without events were never trained, so these items start now, too.
    learnt = np.flatnonzero(loaded.known)
    items[learnt] = np.asarray(tables["items"])[learnt]
    grown = {"items": items}
    if loaded.model.num_users:
        # As for users whom no World knows: what says something of them is their events.
        grown["users"] = padded_rows(np.asarray(tables["users"]), world.num_users)
    return merge_tables(params, grown)


def _start_rows(num_rows: int, width: int, deviation: float, seed: int) -> np.ndarray:
    """Normal numbers [num_rows, width] float32, each a function of (seed, row, column)."""
    rows, columns = np.arange(num_rows)[:, None], np.arange(width)[None]
    # Half a step away from 0, where the normal quantile is infinite.
    uniform = counter_rng.uniform(seed, rows, columns) + 2.0**-54
    return (deviation * ndtri(uniform)).astype(np.float32)


# ---- Texts


def grown_texts(folder: Path, known: np.ndarray, items: Items) -> np.ndarray:
    """Vectors [V, F] of the items of a grown World, from those [v, F] of the known ones.

    folder: of the run's text encoder. Items that had a vector keep it; the others get one in the
    same space, if they have a text or a fixed vector now.
    """
    num_new = len(items.ids) - len(known)
    vectors = np.pad(known, ((0, num_new), (0, 0)))
    if not vectors.shape[1]:
        return vectors
    # Texts come first in a row, then fixed vectors: each part has its own space.
    whitening = Whitening.load(folder / VECTOR_WHITENING)
    text_width = vectors.shape[1] - len(whitening.scales)
    _fill_texts(vectors[:, :text_width], folder, items)
    _fill_fixed_vectors(vectors[:, text_width:], whitening, items)
    return vectors


def _fill_texts(vectors: np.ndarray, folder: Path, items: Items) -> None:
    """Write the vectors of texts into the rows of zeros."""
    has_encoder = (folder / TEXT_WHITENING).exists()
    rows = np.flatnonzero(~vectors.any(axis=1))
    texts = product_texts(items) if has_encoder else []
    rows = np.array([row for row in rows if has_encoder and texts[row]], np.int64)
    if len(rows):
        vectors[rows] = TextEncoder.load(folder).encode([texts[row] for row in rows])


def _fill_fixed_vectors(vectors: np.ndarray, whitening: Whitening, items: Items) -> None:
    rows = np.flatnonzero(~vectors.any(axis=1))
    fixed = np.asarray(items.vectors[rows], np.float32)
    if fixed.size:
        vectors[rows] = whiten_known(whitening, fixed, np.abs(fixed).sum(axis=1) > 0)
