"""Which items occur together in histories."""

from __future__ import annotations

import scipy.sparse as sparse

from socialrec_jax.data.as_of import AsOf
from socialrec_jax.data.features.item_knn import ItemKNN, ItemKNNSettings
from socialrec_jax.inference.engine import Engine


def co_occurrence(engine: Engine, as_of: AsOf) -> sparse.csr_array:
    """Item-kNN similarities [V, V]: those of the run, or counted now in a run without ranker."""
    if engine.reranker is not None:
        return engine.reranker.generator.features.item_knn.similarity
    world = engine.world
    history_ends = world.history_ends(as_of)
    return ItemKNN.fit(world.events, history_ends, world.num_items, ItemKNNSettings()).similarity
