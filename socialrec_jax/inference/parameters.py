"""Whether saved parameters are those of a model: their names and shapes, without computing any."""

from __future__ import annotations

from typing import Any, cast

import jax
import numpy as np
from flax.traverse_util import flatten_dict

from socialrec_jax.batch import Batch, FriendTrees
from socialrec_jax.models.recommender import RecommenderModel

Shapes = dict[str, tuple[int, ...]]


def shapes_of(params: dict) -> Shapes:
    """The shape of each parameter by its name."""
    leaves = cast(dict[tuple[str, ...], Any], flatten_dict(params))
    return {"/".join(path): tuple(leaf.shape) for path, leaf in leaves.items()}


def parameter_shapes(model: RecommenderModel) -> Shapes:
    """The same for the parameters that a model has. It traces the model once."""
    variables: dict = jax.eval_shape(model.init, jax.random.key(0), _example(model))
    return shapes_of(variables["params"])


def _example(model: RecommenderModel) -> Batch:
    """A batch of one event, and of one user with friends where the model has them."""
    one = np.zeros((1, 1), np.int32)
    batch = Batch(
        row_ids=one[0],
        segments=one,
        items=one,
        event_types=one,
        times=one,
        request_times=one,
        targets=one,
        target_types=one,
        weights=one.astype(np.float32),
    )
    if not model.num_users:
        return batch
    return batch.replace(social_positions=one, friends=_tree())


def _tree() -> FriendTrees:
    """One user with one friend, who has one friend."""
    num_nodes, fan_out = 3, (1, 1)
    items = np.zeros((1, 1, num_nodes, 1), np.int32)
    edges = np.zeros((1, 1, num_nodes - 1), np.float32)
    users = items[..., 0]
    return FriendTrees(users, items, items, items.astype(bool), edges, fan_out)
