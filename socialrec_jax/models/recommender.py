"""The composition: what a user did, as one vector; what a product is, as another; how well they go
together.
"""

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


class RecommenderModel(nn.Module):
    """Two towers that meet in a cosine; friends enter the user's."""

    config: ModelConfig
    num_items: int
    num_event_types: int
    num_users: int = 0  # whom the friend graph knows; 0 = a model without friends
    text_width: int = 0  # F of the items' fixed vectors; 0 = items are known by their events alone

    def setup(self):
        c = self.config
        self.items = ItemTower(self.num_items, c.width, self.text_width)
        self.behavior = BehaviorTransformer(c, self.num_event_types)
        self.types = TypeHead(self.num_event_types)
        self.actions = ActionHead(self.num_event_types)
        if self.num_users:
            self.social = SocialState(
                self.num_users, c.width, AGGREGATORS[c.social_aggregation], c.dropout or 0.0
            )

    def encode_users(
        self, batch: Batch, dropout_rng: DropoutRng | None = None
    ) -> Floats[Array, "B T D"]:
        """The user's state after each event; friends are part of it where the batch asks for
        them.
        """
        states = jnp.asarray(
            self.behavior(batch, self.items(batch.items, dropout_rng), dropout_rng)
        )
        if batch.social_positions is None or batch.friends is None:
            return states
        chosen = jnp.take_along_axis(states, batch.social_positions[..., None], axis=1)
        rows = jnp.arange(len(states))[:, None]
        return states.at[rows, batch.social_positions].set(
            self.join_friends(chosen, batch.friends, dropout_rng), unique_indices=True
        )

    def join_friends(
        self,
        states: Floats[Array, "*S D"],
        trees: FriendTrees,
        dropout_rng: DropoutRng | None = None,
    ) -> Floats[Array, "*S D"]:
        """Users' states with what their friends did."""
        # Products learn from who takes them, not from being looked at by a friend: a gradient
        # through all of these lookups would cost more than the rest of the friends.
        items = jax.lax.stop_gradient(self.items(trees.items))
        return normalise(states + self.social(trees, items, dropout_rng))

    def encode_items(self, dropout_rng: DropoutRng | None = None) -> Floats[Array, "V D"]:
        """The catalogue."""
        return self.items.catalogue(dropout_rng)

    def type_logits(
        self, users: Floats[Array, "*S D"], items: Ints[Array, "*S"]
    ) -> Floats[Array, "*S A"]:
        """How the user would act on each item, given that it is the next one."""
        return self.types(users, self.items(items))

    def action_logits(self, users: Floats[Array, "*S D"]) -> Floats[Array, "*S A"]:
        """What the user will do next, whatever it is with."""
        return self.actions(users)

    def __call__(self, batch: Batch) -> Floats[Array, "B T A"]:
        """Touches every parameter: for `init`."""
        users = self.encode_users(batch)
        return self.type_logits(users, batch.targets) + self.action_logits(users)


def fixed_variables(texts: Floats[Array, "V F"], known: Bools[Array, "V"]) -> dict:
    """What `RecommenderModel.bind` takes besides parameters: the items' fixed vectors, and which
    ids were learnt.
    """
    return {"fixed": {"items": {"texts": texts, "known": known}}} if texts.shape[1] else {}


class TypeHead(nn.Module):
    """One logit an event type from the user, the item and their product."""

    num_event_types: int

    @nn.compact
    @typed
    def __call__(
        self, users: Floats[Array, "*S D"], items: Floats[Array, "*S D"]
    ) -> Floats[Array, "*S A"]:
        scale = users.shape[-1] ** 0.5  # unit vectors would start with tiny logits
        together = jnp.concatenate([users, items, users * items * scale], axis=-1) * scale
        return nn.Dense(self.num_event_types)(together)


class ActionHead(nn.Module):
    """One logit an event type from the user alone."""

    num_event_types: int

    @nn.compact
    @typed
    def __call__(self, users: Floats[Array, "*S D"]) -> Floats[Array, "*S A"]:
        hidden = nn.silu(nn.Dense(users.shape[-1])(users * users.shape[-1] ** 0.5))
        return nn.Dense(self.num_event_types)(hidden)
