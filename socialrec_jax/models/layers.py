"""Parts of the behavior transformer: norms, attention, feed-forward, the gated block, the stack.

Blocks keep their stream as rows [N, D], N = B T, and only attention looks at [B, T, ...]: in the
gradient of a product with a 3-D array, XLA's CPU compiler copies the array transposed first
(docs/results/training.md, "Rows, not blocks").
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from socialrec_jax.models.attention import attend
from socialrec_jax.models.dropout import Dropout, DropoutRng, rng_of_layer
from socialrec_jax.models.rotations import Angles, Rotations, rotate
from socialrec_jax.models.stack import apply_layers
from socialrec_jax.shapes import Array, Floats, Ints, typed

Dtype = jnp.dtype | type
# The normed stream -> (what is added to the stream, logits of its gate).
_Transform = Callable[[Array], tuple[Array, Array]]


class RMSNorm(nn.Module):
    """x / rms(x) times a learned scale; the mean square is computed in float32."""

    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        scale = self.param("scale", nn.initializers.ones, (x.shape[-1],))
        # Tests forbid implicit broadcasting between ranks.
        scale = scale.reshape((1,) * (x.ndim - 1) + (-1,))
        return _normalised(x, self.dtype) * scale.astype(self.dtype)


def _normalised(x: Array, dtype: Dtype) -> jax.Array:
    """x / rms(x) of each row."""
    inverse = jax.lax.rsqrt(_mean_square(x)).astype(dtype)
    # In the blocks' dtype: float32 factors would double what is read and written.
    return jnp.asarray(x.astype(dtype) * inverse)


def _mean_square(x: Array) -> jax.Array:
    """Of each row [..., 1] in float32; a little more than zero."""
    return jnp.mean(jnp.square(x.astype(jnp.float32)), -1, keepdims=True) + 1e-6


class Gate(nn.Module):
    """One factor in 0..1 for each feature of each event: sigmoid(rms(x) logits + a learned bias).

    logits: a product of the normed stream. Times the stream's root mean square they are a product
    of the stream x itself, because the norm's scale is one more factor of the kernel.
    """

    @nn.compact
    def __call__(self, logits: Array, x: Array) -> Array:
        bias = self.param("bias", nn.initializers.zeros, (logits.shape[-1],))
        bias = bias.astype(logits.dtype)
        rms = jnp.sqrt(_mean_square(x)).astype(logits.dtype)
        return nn.sigmoid(rms * logits + bias[None])


class JoinedDense(nn.Module):
    """Several products of one input, whose kernels lie side by side [D, sum of sizes].

    Accelerators compute one product. A CPU computes them one by one: to join the gradients of the
    parts would cost it more than one product saves (docs/results/accelerators.md).
    """

    sizes: tuple[int, ...]
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Sequence[Array]:
        shape = x.shape[-1], sum(self.sizes)
        kernel = self.param("kernel", nn.initializers.lecun_normal(), shape)
        kernel = kernel.astype(self.dtype)
        ends = np.cumsum(self.sizes)[:-1]
        if jax.default_backend() == "cpu":
            return [x @ part for part in jnp.split(kernel, ends, -1)]
        return jnp.split(_with_joined_gradient(x @ kernel), ends, -1)


@jax.custom_vjp
def _with_joined_gradient(x: Array) -> Array:
    """x itself, whose gradient is one array in memory.

    Two products read it, and XLA would join its parts anew for each of them
    (docs/results/accelerators.md).
    """
    return x


_with_joined_gradient.defvjp(
    lambda x: (x, None), lambda _, gradient: (jax.lax.optimization_barrier(gradient),)
)


class TurnedFeatures(nn.Module):
    """Queries or keys [B, T, H, K]: normalised, with a learned scale and offset, and turned.

    The norm keeps logits small however large the weights grow (QK-norm). The offsets of queries and
    keys give each head a preference for some distances, whatever the events are.

    num_offsets: features with an offset, from the first on. One of a key's feature that does not
    turn would add the same to all logits of a query: its gradient would be rounding errors.
    """

    num_offsets: int
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Array, angles: Angles) -> Array:
        H, K = x.shape[2:]
        scale = self.param("scale", nn.initializers.ones, (H, K))
        offset = self.param("offset", nn.initializers.normal(0.1), (H, self.num_offsets))
        # Of one shape, so that one pass adds up the gradients of both.
        offset = jnp.pad(offset, ((0, 0), (0, K - self.num_offsets)))
        scale, offset = (part.astype(self.dtype)[None, None] for part in (scale, offset))
        return rotate(_normalised(x, self.dtype) * scale + offset, angles)


class Attention(nn.Module):
    """Multi-head attention with normalised, turned queries and keys, and the logits of its gate."""

    num_heads: int
    dtype: Dtype = jnp.float32

    @nn.compact
    @typed
    def __call__(
        self, x: Floats[Array, "N D"], segments: Ints[Array, "B T"], rotations: Rotations
    ) -> tuple[Floats[Array, "N D"], Floats[Array, "N D"]]:
        N, D = x.shape
        B, T = segments.shape
        qkv, gate = JoinedDense((3 * D, D), self.dtype, name="in")(x)
        parts = jnp.split(qkv, 3, -1)
        query, key, value = (part.reshape(B, T, self.num_heads, -1) for part in parts)
        turned = 2 * rotations.key.cos.shape[-1]
        query = TurnedFeatures(D // self.num_heads, self.dtype, name="query")(
            query, rotations.query
        )
        key = TurnedFeatures(turned, self.dtype, name="key")(key, rotations.key)

        attended = attend(query, key, value, segments)
        out = nn.Dense(D, use_bias=False, dtype=self.dtype, name="out")
        return out(attended.reshape(N, D)), gate


class SwiGLU(nn.Module):
    """The feed-forward of Shazeer 2020, (silu(xW) * xV) U, and the logits of its gate."""

    expansion: int = 2
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> tuple[Array, Array]:
        D = x.shape[-1]
        hidden = self.expansion * D
        widened, gate = JoinedDense((2 * hidden, D), self.dtype, name="in")(x)
        inner_gate, up = jnp.split(widened, 2, -1)
        narrow = nn.Dense(D, use_bias=False, dtype=self.dtype, name="out")
        return narrow(nn.silu(inner_gate) * up), gate


class GatedBlock(nn.Module):
    """Pre-norm attention and feed-forward, each multiplied by a sigmoid gate of the stream (LiGR,
    Borisyuk et al. 2025).

    x: the stream as rows [B T, D].
    """

    num_heads: int
    dropout: float
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(
        self,
        x: Array,
        segments: Array,
        rotations: Rotations,
        dropout_rng: DropoutRng | None,
    ) -> Array:
        attention = Attention(self.num_heads, self.dtype, name="attention")
        attend_to = functools.partial(attention, segments=segments, rotations=rotations)
        x = self._add("attention", attend_to, x, dropout_rng)

        feed_forward = SwiGLU(dtype=self.dtype, name="feed_forward")
        return self._add("feed_forward", feed_forward, x, dropout_rng)

    def _add(
        self, name: str, transform: _Transform, x: Array, dropout_rng: DropoutRng | None
    ) -> Array:
        """x plus a gate times what transform makes of the normed stream."""
        normed = RMSNorm(self.dtype, name=f"{name}_norm")(x)
        transformed, logits = transform(normed)
        gate = Gate(name=f"{name}_gate")(logits, x)
        # Dropout masks go by the modules' names.
        dropout = Dropout(self.dropout, name=f"{name}_dropout")
        return x + gate * dropout(transformed, dropout_rng)


class Blocks(nn.Module):
    """Gated blocks; x: the stream as rows [B T, D]."""

    num_layers: int
    num_heads: int
    dropout: float
    dtype: Dtype = jnp.float32
    remat: bool = False

    @nn.compact
    def __call__(
        self, x: Array, segments: Array, rotations: Rotations, dropout_rng: DropoutRng | None
    ) -> Array:
        names = [f"block_{layer}" for layer in range(self.num_layers)]
        sizes = self.num_heads, self.dropout, self.dtype
        # Parameters are made by the blocks, and read by a stack that may be one loop.
        if self.is_initializing():
            for name in names:
                x = GatedBlock(*sizes, name=name)(x, segments, rotations, dropout_rng)
            return x

        params = [self.variables["params"][name] for name in names]
        rngs = [(rng_of_layer(dropout_rng, layer),) for layer in range(self.num_layers)]
        block = GatedBlock(*sizes, parent=None)

        def layer(params: dict, x: Array, dropout_rng: DropoutRng | None) -> Array:
            out = block.apply({"params": params}, x, segments, rotations, dropout_rng)
            return jnp.asarray(out)

        return apply_layers(layer, params, x, rngs, self.dtype, self.remat)
