"""The composition: what a user did, as one vector; what a product is, as another; how well they go together."""

from __future__ import annotations

import jax.numpy as jnp
from flax import linen as nn

from socialrec_jax.batch import Batch
from socialrec_jax.config import ModelConfig
from socialrec_jax.models.behavior import BehaviorTransformer
from socialrec_jax.models.items import ItemTower
from socialrec_jax.models.layers import Noise
from socialrec_jax.shapes import Array, Floats, Ints, typed


class RecommenderModel(nn.Module):
    """Two towers that meet in a cosine."""

    config: ModelConfig
    num_items: int
    num_event_types: int

    def setup(self):
        self.items = ItemTower(self.num_items, self.config.width)
        self.behavior = BehaviorTransformer(self.config, self.num_event_types)
        self.types = TypeHead(self.num_event_types)

    def encode_users(self, batch: Batch, noise: Noise | None = None) -> Floats[Array, "B T D"]:
        """The user's state after each event."""
        return self.behavior(batch, self.items(batch.items), noise)

    def encode_items(self) -> Floats[Array, "V D"]:
        """The catalogue."""
        return self.items.catalogue()

    def type_logits(self, users: Floats[Array, "*S D"], items: Ints[Array, "*S"]) -> Floats[Array, "*S A"]:
        """How the user would act on each item, given that it is the next one."""
        return self.types(users, self.items(items))

    def __call__(self, batch: Batch) -> Floats[Array, "B T A"]:
        """Touches every parameter: for `init`."""
        return self.type_logits(self.encode_users(batch), batch.targets)


class TypeHead(nn.Module):
    """One logit an event type from the user, the item and their product."""

    num_event_types: int

    @nn.compact
    @typed
    def __call__(self, users: Floats[Array, "*S D"], items: Floats[Array, "*S D"]) -> Floats[Array, "*S A"]:
        scale = users.shape[-1] ** 0.5  # unit vectors would start with tiny logits
        together = jnp.concatenate([users, items, users * items * scale], axis=-1) * scale
        return nn.Dense(self.num_event_types)(together)
