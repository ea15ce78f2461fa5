"""The item tower: a product's vector on the unit sphere."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import linen as nn

from socialrec_jax.models.dropout import DropoutRng, hash32
from socialrec_jax.shapes import Array, Floats, Ints, typed

ID_DROPOUT = 0.1


class ItemTower(nn.Module):
    """An embedding of the id plus a projection of what the product is (text, image), on the unit
    sphere.

    In training the ids of some items are dropped at every step, and those of items without events
    always: their text has to do alone, as it has to for products that nobody has met yet.
    """

    num_items: int
    width: int
    text_width: int = 0

    def setup(self):
        shape = (self.num_items, self.width)
        self.ids = self.param("ids", nn.initializers.normal(self.width**-0.5), shape)
        if self.text_width:
            self.texts = self.variable(
                "fixed", "texts", jnp.zeros, (self.num_items, self.text_width)
            )
            self.known = self.variable("fixed", "known", jnp.ones, (self.num_items,), bool)
            self.project = nn.Dense(self.width, use_bias=False, name="project")
            self.gate = self.param("gate", nn.initializers.ones, ())

    @typed
    def __call__(
        self, items: Ints[Array, "*S"], dropout_rng: DropoutRng | None = None
    ) -> Floats[Array, "*S D"]:
        """Vectors of some items."""
        ids = jnp.take(self.ids, items, axis=0)
        if not self.text_width:
            return normalise(ids)
        trusted = jnp.take(self._trusted(dropout_rng), items)
        return normalise(self._join(ids, trusted, jnp.take(self.texts.value, items, axis=0)))

    def catalogue(self, dropout_rng: DropoutRng | None = None) -> Floats[Array, "V D"]:
        """Vectors of all items."""
        if not self.text_width:
            return normalise(self.ids)
        return normalise(self._join(self.ids, self._trusted(dropout_rng), self.texts.value))

    def _join(self, ids: Array, trusted: Array, texts: Array) -> Array:
        return jnp.where(trusted[..., None], ids, 0) + self.gate * self.project(texts)

    def _trusted(self, dropout_rng: DropoutRng | None) -> Array:
        """Whose id counts [V]."""
        if dropout_rng is None:
            return self.known.value
        # A batch's own small world (training/small_world.py) says how its items are numbered in the
        # large one.
        numbers = self.get_variable("fixed", "numbers", jax.lax.iota(jnp.uint32, self.num_items))
        seed = hash32(numbers ^ hash32(dropout_rng.key))
        return self.known.value & (seed >= jnp.uint32(ID_DROPOUT * 2.0**32))


def normalise(x: Floats[Array, "*S D"]) -> Floats[Array, "*S D"]:
    """x on the unit sphere, in float32; zero stays zero, with a finite gradient."""
    x = x.astype(jnp.float32)
    return x / jnp.sqrt(jnp.sum(jnp.square(x), -1, keepdims=True) + 1e-12)
