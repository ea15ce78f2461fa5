"""The item tower: a product's vector on the unit sphere."""

import jax.numpy as jnp
from flax import linen as nn

from socialrec_jax.shapes import Array, Floats, Ints, typed


class ItemTower(nn.Module):
    """L2-normalised id embeddings."""

    num_items: int
    width: int

    def setup(self):
        self.ids = self.param("ids", nn.initializers.normal(self.width**-0.5), (self.num_items, self.width))

    @typed
    def __call__(self, items: Ints[Array, "*S"]) -> Floats[Array, "*S D"]:
        """Vectors of some items."""
        return normalise(jnp.take(self.ids, items, axis=0))

    def catalogue(self) -> Floats[Array, "V D"]:
        """Vectors of all items."""
        return normalise(self.ids)


def normalise(x: Floats[Array, "*S D"]) -> Floats[Array, "*S D"]:
    """x on the unit sphere, in float32; zero stays zero, with a finite gradient."""
    x = x.astype(jnp.float32)
    return x / jnp.sqrt(jnp.sum(jnp.square(x), -1, keepdims=True) + 1e-12)
