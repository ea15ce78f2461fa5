"""The item tower: from an item's id and text to its vector of length 1."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import linen as nn

from socialrec_jax.models.dropout import DropoutRng
from socialrec_jax.models.hashing import hash32
from socialrec_jax.shapes import Array, Floats, Ints, typed

ID_DROPOUT = 0.1  # share of the ids that are dropped at a training step


class ItemTower(nn.Module):
    """An embedding of the id plus a projection of the item's fixed vector (text, image), scaled to
    length 1.

    In training the ids of some items are dropped at every step, and those of items without events
    always. Then the text is all there is, as it is for cold items when serving. (As in DropoutNet,
    Volkovs et al. 2017.)
    """

    num_items: int
    width: int
    text_width: int = 0

    def setup(self):
        shape = (self.num_items, self.width)
        initial = nn.initializers.normal(self.width**-0.5)  # vectors of length about 1
        self.ids = self.param("ids", initial, shape)
        if self.text_width:
            texts_shape = (self.num_items, self.text_width)
            self.texts = self.variable("fixed", "texts", jnp.zeros, texts_shape)
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
        use_id = jnp.take(self._use_id(dropout_rng), items)
        texts = jnp.take(self.texts.value, items, axis=0)
        return normalise(self._add_texts(ids, use_id, texts))

    def catalogue(self, dropout_rng: DropoutRng | None = None) -> Floats[Array, "V D"]:
        """Vectors of all items."""
        if not self.text_width:
            return normalise(self.ids)
        use_id = self._use_id(dropout_rng)
        return normalise(self._add_texts(self.ids, use_id, self.texts.value))

    def _add_texts(self, ids: Array, use_id: Array, texts: Array) -> Array:
        ids = jnp.where(use_id[..., None], ids, 0)
        return ids + self.gate * self.project(texts)

    def _use_id(self, dropout_rng: DropoutRng | None) -> Array:
        """Whether each item's id is used [V] bool."""
        if dropout_rng is None:
            return self.known.value
        # Items of a local vocabulary (training/local_vocabulary.py) are dropped by their numbers in
        # the whole catalogue, so that both give the same loss.
        own_numbers = jax.lax.iota(jnp.uint32, self.num_items)
        numbers = self.get_variable("fixed", "numbers", own_numbers)
        random = hash32(numbers ^ hash32(dropout_rng.seed))
        is_kept = random >= jnp.uint32(ID_DROPOUT * 2.0**32)
        return self.known.value & is_kept


def normalise(x: Floats[Array, "*S D"]) -> Floats[Array, "*S D"]:
    """x scaled to length 1, in float32; zero stays zero, with a finite gradient."""
    x = x.astype(jnp.float32)
    square = jnp.sum(jnp.square(x), -1, keepdims=True)
    # Inside of the root: its gradient at zero would be infinite.
    return x / jnp.sqrt(square + 1e-12)
