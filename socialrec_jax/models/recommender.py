"""The retriever: a user tower and an item tower whose cosine is the score."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import linen as nn

from socialrec_jax.batch import Batch, FriendTrees
from socialrec_jax.config import ModelConfig
from socialrec_jax.models.dropout import DropoutRng
from socialrec_jax.models.items import ItemTower, normalise
from socialrec_jax.models.sequence import BehaviorTransformer
from socialrec_jax.models.social import AGGREGATORS, SocialState
from socialrec_jax.shapes import Array, Bools, Floats, Ints, typed

# Checkpoints carry it. A change of names, shapes or meaning of parameters needs the next number.
PARAMETERS_VERSION = 1


class RecommenderModel(nn.Module):
    """Two towers; friends are a part of the user's."""

    config: ModelConfig
    num_items: int
    num_event_types: int
    num_users: int = 0  # of the friend graph; 0 = a model without friends
    text_width: int = 0  # F of the items' fixed vectors; 0 = items are their ids alone

    def setup(self):
        c = self.config
        self.items = ItemTower(self.num_items, c.width, self.text_width)
        self.behavior = BehaviorTransformer(c, self.num_event_types)
        self.types = TypeHead(self.num_event_types)
        self.actions = ActionHead(self.num_event_types)
        if self.num_users:
            aggregate = AGGREGATORS[c.social_aggregation]
            self.social = SocialState(self.num_users, c.width, aggregate, c.dropout or 0.0)

    def encode_users(
        self, batch: Batch, dropout_rng: DropoutRng | None = None
    ) -> Floats[Array, "B T D"]:
        """The user's state after each event, with friends at the batch's social positions."""
        items = self.items(batch.items, dropout_rng)
        states = jnp.asarray(self.behavior(batch, items, dropout_rng))
        if batch.social_positions is None or batch.friends is None:
            return states
        chosen = jnp.take_along_axis(states, batch.social_positions[..., None], axis=1)
        with_friends = self.join_friends(chosen, batch.friends, dropout_rng)
        # Positions of a row are distinct, so each state is written once.
        rows = jnp.arange(len(states))[:, None]
        return states.at[rows, batch.social_positions].set(with_friends, unique_indices=True)

    def join_friends(
        self,
        states: Floats[Array, "*S D"],
        trees: FriendTrees,
        dropout_rng: DropoutRng | None = None,
    ) -> Floats[Array, "*S D"]:
        """Users' states, length 1, with what their friends' recent items add."""
        # Without a gradient to the items: through so many lookups it would cost more than all else
        # that friends cost.
        items = jax.lax.stop_gradient(self.items(trees.items))
        return normalise(states + self.social(trees, items, dropout_rng))

    def encode_items(self, dropout_rng: DropoutRng | None = None) -> Floats[Array, "V D"]:
        """The vectors of the whole catalogue."""
        return self.items.catalogue(dropout_rng)

    def type_logits(
        self, users: Floats[Array, "*S D"], items: Ints[Array, "*S"]
    ) -> Floats[Array, "*S A"]:
        """Logits of the event type, given that the next event is on this item."""
        return self.types(users, self.items(items))

    def action_logits(self, users: Floats[Array, "*S D"]) -> Floats[Array, "*S A"]:
        """Logits of the event type of the next event, whatever its item."""
        return self.actions(users)

    def __call__(self, batch: Batch) -> Floats[Array, "B T A"]:
        """Uses every parameter: for `init`."""
        users = self.encode_users(batch)
        return self.type_logits(users, batch.targets) + self.action_logits(users)


def fixed_variables(texts: Floats[Array, "V F"], known: Bools[Array, "V"]) -> dict:
    """What `RecommenderModel.bind` takes besides parameters: the items' fixed vectors, and which
    items have events and so a learnt id.
    """
    if not texts.shape[1]:
        return {}
    return {"fixed": {"items": {"texts": texts, "known": known}}}


class TypeHead(nn.Module):
    """One logit an event type from the user, the item and their product."""

    num_event_types: int

    @nn.compact
    @typed
    def __call__(
        self, users: Floats[Array, "*S D"], items: Floats[Array, "*S D"]
    ) -> Floats[Array, "*S A"]:
        scale = users.shape[-1] ** 0.5  # unit vectors would start with tiny logits
        product = users * items * scale
        features = jnp.concatenate([users, items, product], axis=-1) * scale
        return nn.Dense(self.num_event_types)(features)


class ActionHead(nn.Module):
    """One logit an event type from the user alone."""

    num_event_types: int

    @nn.compact
    @typed
    def __call__(self, users: Floats[Array, "*S D"]) -> Floats[Array, "*S A"]:
        width = users.shape[-1]
        hidden = nn.silu(nn.Dense(width)(users * width**0.5))
        return nn.Dense(self.num_event_types)(hidden)
