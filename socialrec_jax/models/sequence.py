"""The behavior model: what a shopper did -> what they are about to do.

P(next = y | x_1..x_t) = exp(f(x_1..x_t) . v_y / temperature) / sum over the catalogue, f = this
transformer. Event positions, ages and types come in as embeddings and attention biases; packed rows
are kept apart by segment.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax.numpy as jnp
from flax import linen as nn

from socialrec_jax.batch import Batch
from socialrec_jax.config import ModelConfig
from socialrec_jax.models.attention import causal_mask
from socialrec_jax.models.dropout import Dropout, DropoutRng
from socialrec_jax.models.items import normalise
from socialrec_jax.models.layers import GatedBlock, RelativeBias, RMSNorm
from socialrec_jax.shapes import Array, Floats, typed

TIME_BUCKETS = 32  # powers of two of seconds: one second to 68 years
POSITION_BUCKETS = 16


class BehaviorTransformer(nn.Module):
    config: ModelConfig
    num_event_types: int

    @nn.compact
    @typed
    def __call__(
        self, batch: Batch, items: Floats[Array, "B T D"], dropout_rng: DropoutRng | None = None
    ) -> Floats[Array, "B T D"]:
        """The unit-length state of the user after each event; items are the events' item
        vectors.
        """
        c, dtype = self.config, jnp.dtype(self.config.compute_dtype)
        x = items * c.width**0.5
        if self.num_event_types > 1:
            x = x + nn.Embed(self.num_event_types, c.width, name="event_types")(batch.event_types)
        x = Dropout(c.dropout or 0.0)(x, dropout_rng).astype(dtype)
        x, mask = x.reshape(-1, c.width), causal_mask(batch.segments)
        bias, block = self._bias(batch), nn.remat(GatedBlock) if c.remat else GatedBlock
        for layer in range(c.num_layers):
            x = block(c.num_heads, c.dropout or 0.0, dtype, name=f"block_{layer}")(
                x, mask, bias[layer], dropout_rng
            )
        return normalise(nn.Dense(c.width, name="state")(RMSNorm()(x))).reshape(items.shape)

    def _bias(self, batch: Batch) -> Sequence[Array]:
        """One attention bias [B, H, T, T] a layer, from how many events and how long ago the key
        was.
        """
        c = self.config
        query_times = batch.request_times if c.request_time else batch.times
        age = jnp.maximum(query_times[:, :, None] - batch.times[:, None, :], 0)
        place = jnp.arange(
            batch.items.shape[1], dtype=jnp.int32
        )  # windows are contiguous: columns count events
        steps = jnp.maximum(place[:, None] - place[None, :], 0)[None]
        heads = c.num_layers * c.num_heads
        both = RelativeBias(heads, TIME_BUCKETS, name="time_bias")(age)
        both = both + RelativeBias(heads, POSITION_BUCKETS, name="position_bias")(steps)
        return jnp.split(both, c.num_layers, axis=1)
