"""The behavior model: from a user's events to the state that the next event is predicted from.

P(next = y | x_1..x_t) = exp(f(x_1..x_t) . v_y / temperature) / sum over the catalogue, f = this
transformer. An event is its item and type; how many events and how much time lie between two events
turns their queries and keys. Packed rows hold several windows, kept apart by segments.
"""

from __future__ import annotations

import jax.numpy as jnp
from flax import linen as nn

from socialrec_jax.batch import Batch
from socialrec_jax.config import ModelConfig, required
from socialrec_jax.models import attention
from socialrec_jax.models.dropout import Dropout, DropoutRng
from socialrec_jax.models.items import normalise
from socialrec_jax.models.layers import Blocks, RMSNorm
from socialrec_jax.models.rotations import Rotations, rotations
from socialrec_jax.shapes import Array, Floats, typed


class BehaviorTransformer(nn.Module):
    """Causal gated blocks over packed events."""

    config: ModelConfig
    num_event_types: int

    @nn.compact
    @typed
    def __call__(
        self, batch: Batch, items: Floats[Array, "B T D"], dropout_rng: DropoutRng | None = None
    ) -> Floats[Array, "B T D"]:
        """The user's state after each event, of length 1; items are the events' item vectors."""
        c, dtype = self.config, jnp.dtype(self.config.compute_dtype)
        dropout = c.dropout or 0.0
        x = items * c.width**0.5  # unit vectors: features of size about 1
        if self.num_event_types > 1:
            x = x + nn.Embed(self.num_event_types, c.width, name="event_types")(batch.event_types)
        x = Dropout(dropout)(x, dropout_rng).astype(dtype)
        x = x.reshape(-1, c.width)  # see layers.py

        blocks = Blocks(c.num_layers, c.num_heads, dropout, dtype, c.remat, name="blocks")
        x = blocks(x, batch.segments, self._rotations(batch), dropout_rng)
        states = nn.Dense(c.width, name="state")(RMSNorm()(x))
        return normalise(states).reshape(items.shape)

    def _rotations(self, batch: Batch) -> Rotations:
        c = self.config
        # In training the next event's time is known: only models with request_time may see it.
        query_times = batch.request_times if c.request_time else batch.times
        head_dim = c.width // c.num_heads
        history_length = required(c.history_length)
        return rotations(batch.times, query_times, batch.segments, head_dim, history_length)


def describe_attention(config: ModelConfig) -> str:
    """How this process computes the model's attention: a line for people."""
    head_width = config.width // config.num_heads
    shape = (1, required(config.history_length), config.num_heads, head_width)
    return attention.describe(config.compute_dtype, shape)
