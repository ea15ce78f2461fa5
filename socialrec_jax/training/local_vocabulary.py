"""A batch's own small world: the items and users it speaks of, numbered 0..U-1, in place of the
whole catalogue.

The model that trains on it is the same class with smaller tables, so gradients come out as rows.
Whatever else is known of items travels along. Tables that stay whole leave their numbers as they
are.
"""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from flax import struct

from socialrec_jax.batch import Batch
from socialrec_jax.models.recommender import RecommenderModel
from socialrec_jax.shapes import Array
from socialrec_jax.training.negatives import Negatives
from socialrec_jax.training.row_adagrad import Lookup, Table, look_up

DENSE_BYTES = 1 << 30  # a table that costs less on a device is trained as a whole
_COPIES = 5  # of a table trained as a whole: parameters, average, gradient and Adam's two moments


class LocalVocabulary(struct.PyTreeNode):
    batch: Batch
    negatives: Negatives | None
    fixed: dict
    lookups: dict[str, Lookup]

    def model(self, model: RecommenderModel) -> RecommenderModel:
        """The model with tables of this size."""
        return resized(model, {name: len(found.ids) for name, found in self.lookups.items()})

    @property
    def rows(self) -> dict[str, Array]:
        """The tables [U, D] of this world."""
        return {name: found.rows for name, found in self.lookups.items()}

    @property
    def lost(self) -> Array:
        """Rows that found no room on their way here."""
        return sum((found.lost for found in self.lookups.values()), jnp.zeros((), jnp.int32))


def resized(model: RecommenderModel, rows: dict[str, int]) -> RecommenderModel:
    """The same model with other numbers of rows in its tables."""
    return model.clone(
        num_items=rows.get("items", model.num_items), num_users=rows.get("users", model.num_users)
    )


def big_tables(model: RecommenderModel, num_negatives: int) -> tuple[str, ...]:
    """Which tables are trained row by row: those whose dense training takes more than DENSE_BYTES
    on a device.

    A softmax over the whole catalogue touches every item anyway.
    """
    sizes = {"items": model.num_items if num_negatives else 0, "users": model.num_users}
    return tuple(
        name for name, rows in sizes.items() if dense_bytes(rows, model.config.width) > DENSE_BYTES
    )


def describe(model: RecommenderModel, num_negatives: int) -> str:
    """Which way each table is trained and why: a line for people."""
    big, width = big_tables(model, num_negatives), model.config.width

    def one(name: str, rows: int) -> str:
        cost, way = dense_bytes(rows, width), "row by row" if name in big else "as a whole"
        forced = cost > DENSE_BYTES and name not in big
        why = ", which a full softmax needs" if forced else f", limit {DENSE_BYTES / 1e9:.2f} GB"
        return f"{name} {way} ({cost / 1e9:.2f} GB as a whole{why})"

    rows = {"items": model.num_items, "users": model.num_users}
    return "  ".join(one(name, number) for name, number in rows.items() if number)


def dense_bytes(num_rows: int, width: int) -> int:
    """What a table trained as a whole takes on every device."""
    return _COPIES * num_rows * width * np.dtype(np.float32).itemsize


def gather(
    tables: dict[str, Table], batch: Batch, negatives: Negatives | None, fixed: dict
) -> LocalVocabulary:
    """The small world of this device's batch. Inside a step."""
    lookups, friends = {}, batch.friends
    if "items" in tables:
        assert negatives is not None
        requested_ids = [batch.items, batch.targets, negatives.ids] + (
            [] if friends is None else [friends.items]
        )
        found = lookups["items"] = look_up(
            tables["items"], jnp.concatenate([ids.reshape(-1) for ids in requested_ids])
        )
        items, targets, ids, *theirs = _like(found.places, requested_ids)
        batch, negatives = batch.replace(items=items, targets=targets), negatives.replace(ids=ids)
        if friends is not None:
            friends = friends.replace(items=theirs[0])
        fixed = _facts(fixed, found.ids)
    if "users" in tables and friends is not None:
        found = lookups["users"] = look_up(
            tables["users"], jnp.maximum(friends.users, 0).reshape(-1)
        )
        places = found.places.reshape(friends.users.shape)
        friends = friends.replace(users=jnp.where(friends.users < 0, -1, places))
    return LocalVocabulary(batch.replace(friends=friends), negatives, fixed, lookups)


def _like(places: Array, requested_ids: list[Array]) -> list[Array]:
    """Places [N] in pieces of the shapes that were asked for."""
    ends = np.cumsum([ids.size for ids in requested_ids])[:-1]
    return [
        part.reshape(ids.shape)
        for part, ids in zip(jnp.split(places, ends), requested_ids, strict=True)
    ]


def _facts(fixed: dict, ids: Array) -> dict:
    """The fixed variables of some items, and the numbers that they have in the large world."""
    if not fixed:
        return {}
    facts = {
        name: jnp.take(column, ids, axis=0, mode="clip")
        for name, column in fixed["fixed"]["items"].items()
    }
    return {"fixed": {"items": facts | {"numbers": ids.astype(jnp.uint32)}}}
