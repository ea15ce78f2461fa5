"""The local vocabulary of a batch: its items and users numbered 0..U-1, in place of the whole
catalogue.

The model that trains on it is the same class with smaller tables, so gradients come out as rows.
Fixed vectors of the items travel along. Tables that are trained as a whole keep their numbers.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from socialrec_jax.batch import Batch, FriendTrees
from socialrec_jax.models.recommender import RecommenderModel
from socialrec_jax.shapes import Array
from socialrec_jax.training.negatives import Negatives
from socialrec_jax.training.row_adagrad import Lookup, Table, initial_table, look_up

DENSE_BYTES = 1 << 30  # a table that costs less on a device is trained as a whole
_COPIES = 5  # of a table trained as a whole: parameters, average, gradient and Adam's two moments


class LocalVocabulary(struct.PyTreeNode):
    """A device's batch in local numbers, with the rows of the tables that it needs."""

    batch: Batch
    negatives: Negatives | None
    fixed: dict  # variables of the model besides parameters
    lookups: dict[str, Lookup]
    num_items: Array | None = None  # of a catalogue whose table is padded

    def model(self, model: RecommenderModel) -> RecommenderModel:
        """The model with tables of this size."""
        sizes = {name: len(lookup.ids) for name, lookup in self.lookups.items()}
        return resized(model, sizes)

    @property
    def rows(self) -> dict[str, Array]:
        """The tables [U, D] in local numbers."""
        return {name: lookup.rows for name, lookup in self.lookups.items()}

    @property
    def lost(self) -> Array:
        """Number of rows that found no room in messages."""
        total = jnp.zeros((), jnp.int32)
        for lookup in self.lookups.values():
            total = total + lookup.lost
        return total


def resized(model: RecommenderModel, rows: dict[str, int]) -> RecommenderModel:
    """The same model with other numbers of rows in its tables."""
    num_items = rows.get("items", model.num_items)
    num_users = rows.get("users", model.num_users)
    return model.clone(num_items=num_items, num_users=num_users)


def initial_tables(model: RecommenderModel, names: tuple[str, ...], seed: int) -> dict[str, Table]:
    """The tables of these names, as the model's own initialisers would make them."""
    width = model.config.width
    deviations = {"items": width**-0.5, "users": 0.1 * width**-0.5}
    sizes = {"items": model.num_items, "users": model.num_users}
    tables = {}
    for name in names:
        table_key = jax.random.fold_in(jax.random.key(seed), sizes[name])
        tables[name] = initial_table(sizes[name], width, deviations[name], table_key)
    return tables


def big_tables(model: RecommenderModel, num_negatives: int) -> tuple[str, ...]:
    """Names of the tables that are trained row by row: those whose dense training takes more than
    DENSE_BYTES on a device.

    A softmax over the whole catalogue touches every item anyway.
    """
    # Tables differ in what a step touches: of users only the nodes of friend trees.
    width = model.config.width
    names = []
    if num_negatives and dense_bytes(model.num_items, width) > DENSE_BYTES:
        names.append("items")
    if dense_bytes(model.num_users, width) > DENSE_BYTES:
        names.append("users")
    return tuple(names)


def describe(model: RecommenderModel, num_negatives: int) -> str:
    """How each table is trained, and why: a line for people."""
    big = big_tables(model, num_negatives)
    rows = {"items": model.num_items, "users": model.num_users}
    parts = [
        _describe_table(name, dense_bytes(number, model.config.width), name in big)
        for name, number in rows.items()
        if number
    ]
    return "  ".join(parts)


def _describe_table(name: str, cost: int, row_by_row: bool) -> str:
    way = "row by row" if row_by_row else "as a whole"
    reason = f", limit {DENSE_BYTES / 1e9:.2f} GB"
    if cost > DENSE_BYTES and not row_by_row:
        reason = ", which a full softmax needs"
    return f"{name} {way} ({cost / 1e9:.2f} GB as a whole{reason})"


def dense_bytes(num_rows: int, width: int) -> int:
    """What a table trained as a whole takes on every device."""
    return _COPIES * num_rows * width * np.dtype(np.float32).itemsize


def gather(
    tables: dict[str, Table], batch: Batch, negatives: Negatives | None, fixed: dict
) -> LocalVocabulary:
    """The local vocabulary of this device's batch. Inside a step."""
    vocabulary = LocalVocabulary(batch, negatives, fixed, {})
    if "items" in tables:
        vocabulary = _with_items(vocabulary, tables["items"])
    if "users" in tables and batch.friends is not None:
        vocabulary = _with_users(vocabulary, tables["users"])
    return vocabulary


def _with_items(vocabulary: LocalVocabulary, table: Table) -> LocalVocabulary:
    """Local numbers for inputs, targets, negatives and friends' items."""
    batch, negatives, friends = vocabulary.batch, vocabulary.negatives, vocabulary.batch.friends
    assert negatives is not None, "a full softmax trains the items as a whole"
    # One lookup for all of them: an item that occurs several times travels once.
    ids = [batch.items, batch.targets, negatives.ids]
    if friends is not None:
        ids.append(friends.items)
    flat = [part.reshape(-1) for part in ids]
    lookup = look_up(table, jnp.concatenate(flat))

    items, targets, negative_ids, *friends_items = _split_like(lookup.places, ids)
    if friends is not None:
        friends = friends.replace(items=friends_items[0])
    return LocalVocabulary(
        batch=batch.replace(items=items, targets=targets, friends=friends),
        negatives=negatives.replace(ids=negative_ids),
        fixed=_fixed_of(vocabulary.fixed, lookup.ids),
        lookups=vocabulary.lookups | {"items": lookup},
    )


def _with_users(vocabulary: LocalVocabulary, table: Table) -> LocalVocabulary:
    """Local numbers for the nodes of the friend trees; -1 stays absent."""
    friends = vocabulary.batch.friends
    assert isinstance(friends, FriendTrees)
    ids = jnp.maximum(friends.users, 0)  # absent nodes look up row 0 and do not use it
    lookup = look_up(table, ids.reshape(-1))
    places = lookup.places.reshape(friends.users.shape)
    users = jnp.where(friends.users < 0, -1, places)
    # -1 marks a place in a tree where nobody is, and must not become the first user.
    friends = friends.replace(users=users)
    return vocabulary.replace(
        batch=vocabulary.batch.replace(friends=friends),
        lookups=vocabulary.lookups | {"users": lookup},
    )


def _split_like(values: Array, arrays: list[Array]) -> list[Array]:
    """Values [N] in parts of the arrays' shapes."""
    sizes = [array.size for array in arrays]
    boundaries = np.cumsum(sizes)[:-1]
    parts = jnp.split(values, boundaries)
    pairs = zip(parts, arrays, strict=True)
    return [part.reshape(array.shape) for part, array in pairs]


def _fixed_of(fixed: dict, ids: Array) -> dict:
    """The fixed variables of some items, and their numbers in the whole catalogue."""
    if not fixed:
        return {}
    some = {}
    for name, column in fixed["fixed"]["items"].items():
        some[name] = jnp.take(column, ids, axis=0, mode="clip")
    # For id dropout: see `ItemTower`.
    some["numbers"] = ids.astype(jnp.uint32)
    return {"fixed": {"items": some}}
