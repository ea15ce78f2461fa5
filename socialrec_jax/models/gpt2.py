"""Product text: GPT-2 over packed texts, parameter for parameter the one of Hugging Face.

The parameters are those of `transformers`' GPT-2 under its own names (see `to_hugging_face`), so
that a model trained here opens there, and a published GPT-2 can be the start of one here.
"""

from __future__ import annotations

import dataclasses
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax.traverse_util import flatten_dict, unflatten_dict

from socialrec_jax.models.attention import attend
from socialrec_jax.models.layers import Dtype
from socialrec_jax.models.packing import positions
from socialrec_jax.models.stack import apply_layers
from socialrec_jax.shapes import Array, Floats, Ints, typed

_PREFIX = "transformer."  # of tensors in a GPT2LMHeadModel; a GPT2Model has none
_INITIAL = nn.initializers.normal(0.02)  # as GPT-2 was trained


@dataclasses.dataclass(frozen=True)
class GPT2Sizes:
    """The fields of a GPT-2's config.json that decide what it computes, under their names there."""

    vocab_size: int
    n_positions: int  # tokens of the longest text
    n_embd: int
    n_layer: int
    n_head: int
    n_inner: int | None = None  # width of the feed-forward, 4 * n_embd by default
    layer_norm_epsilon: float = 1e-5


class Attention(nn.Module):
    """Causal multi-head attention within each text."""

    num_heads: int
    dtype: Dtype = jnp.float32

    @nn.compact
    @typed
    def __call__(
        self, x: Floats[Array, "N D"], segments: Ints[Array, "B L"]
    ) -> Floats[Array, "N D"]:
        N, D = x.shape
        B, L = segments.shape
        # c_attn holds all queries, then all keys, then all values.
        qkv = nn.Dense(3 * D, kernel_init=_INITIAL, dtype=self.dtype, name="c_attn")(x)
        parts = jnp.split(qkv, 3, -1)
        query, key, value = (part.reshape(B, L, self.num_heads, -1) for part in parts)
        attended = attend(query, key, value, segments)
        out = nn.Dense(D, kernel_init=_INITIAL, dtype=self.dtype, name="c_proj")
        return out(attended.reshape(N, D))


class FeedForward(nn.Module):
    """Two layers around GPT-2's tanh approximation of GELU."""

    width: int
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        widen = nn.Dense(self.width, kernel_init=_INITIAL, dtype=self.dtype, name="c_fc")
        narrow = nn.Dense(x.shape[-1], kernel_init=_INITIAL, dtype=self.dtype, name="c_proj")
        hidden = nn.gelu(widen(x), approximate=True)
        return narrow(hidden)


class Block(nn.Module):
    """Pre-norm attention and feed-forward; x: the stream as rows [B L, D], as in `layers`."""

    sizes: GPT2Sizes
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Array, segments: Array) -> Array:
        s, dtype = self.sizes, self.dtype
        attention = Attention(s.n_head, dtype, name="attn")
        norm = nn.LayerNorm(s.layer_norm_epsilon, dtype, name="ln_1")
        x = x + attention(norm(x), segments)

        feed_forward = FeedForward(s.n_inner or 4 * s.n_embd, dtype, name="mlp")
        norm = nn.LayerNorm(s.layer_norm_epsilon, dtype, name="ln_2")
        return x + feed_forward(norm(x))


class GPT2(nn.Module):
    """Hidden states of packed texts; `logits` scores the next token with the embedding table.

    dtype: arithmetic of the blocks; parameters and hidden states are float32.
    """

    sizes: GPT2Sizes
    dtype: Dtype = jnp.float32

    def setup(self) -> None:
        # Attributes are named as Hugging Face's tensors are.
        s = self.sizes
        self.wte = nn.Embed(s.vocab_size, s.n_embd, embedding_init=_INITIAL)
        self.wpe = nn.Embed(s.n_positions, s.n_embd, embedding_init=_INITIAL)
        self.h = [Block(s, self.dtype) for _ in range(s.n_layer)]
        self.ln_f = nn.LayerNorm(s.layer_norm_epsilon)

    @typed
    def __call__(
        self, tokens: Ints[Array, "B L"], segments: Ints[Array, "B L"]
    ) -> Floats[Array, "B L D"]:
        """segments: 1.. number of the text in its row, 0 = padding."""
        x = self.wte(tokens) + self.wpe(positions(segments))
        rows = x.reshape(-1, x.shape[-1]).astype(self.dtype)
        rows = self._blocks(rows, segments)
        return self.ln_f(rows.astype(jnp.float32)).reshape(x.shape)

    def _blocks(self, x: Array, segments: Array) -> Array:
        # As in `layers.Blocks`.
        if self.is_initializing():
            for block in self.h:
                x = block(x, segments)
            return x
        layers = range(self.sizes.n_layer)
        params = [self.variables["params"][f"h_{layer}"] for layer in layers]
        # Not a part of this module: its parameters are passed to it.
        block = Block(self.sizes, self.dtype, parent=None)

        def layer(params: dict, x: Array) -> Array:
            return jnp.asarray(block.apply({"params": params}, x, segments))

        return apply_layers(layer, params, x, [()] * len(params), self.dtype)

    def logits(self, hidden: Array) -> Array:
        """Scores [..., vocabulary] of the next token."""
        return self.wte.attend(hidden)


def from_hugging_face(tensors: dict[str, np.ndarray]) -> dict:
    """Parameters from the tensors of a GPT2LMHeadModel or GPT2Model.

    Its Conv1D kernels are (in, out) already. Attention masks that old files carry are constants,
    and the head is the embedding table: neither is a parameter.
    """
    dropped = (".attn.bias", ".attn.masked_bias", "lm_head.weight")
    by_path = {
        _path(name.removeprefix(_PREFIX)): tensor
        for name, tensor in tensors.items()
        if not name.endswith(dropped)
    }
    return unflatten_dict(by_path)


def to_hugging_face(params: dict) -> dict[str, np.ndarray]:
    """The tensors of a GPT2LMHeadModel, the inverse of from_hugging_face."""
    leaves = _leaves(params)
    return {_name(path): np.asarray(leaf) for path, leaf in leaves.items()}


def tensor_shapes(sizes: GPT2Sizes) -> dict[str, tuple[int, ...]]:
    """The shape of each of Hugging Face's tensors by its name; nothing is computed."""
    tokens = jax.ShapeDtypeStruct((1, sizes.n_positions), jnp.int32)
    variables: dict = jax.eval_shape(GPT2(sizes).init, jax.random.key(0), tokens, tokens)
    params = variables["params"]
    return {_name(path): leaf.shape for path, leaf in _leaves(params).items()}


def _leaves(params: dict) -> dict[tuple[str, ...], Any]:
    return cast(dict, flatten_dict(params))


def _path(name: str) -> tuple[str, ...]:
    """Flax' path of a tensor: h.0.ln_1.weight -> (h_0, ln_1, scale)."""
    *modules, leaf = name.split(".")
    if modules[0] == "h":
        modules = [f"h_{modules[1]}", *modules[2:]]
    if leaf == "weight":
        leaf = _weight_name(modules[-1])
    return *modules, leaf


def _weight_name(module: str) -> str:
    """What Flax calls the weight of a module."""
    if module in ("wte", "wpe"):
        return "embedding"
    return "scale" if module.startswith("ln_") else "kernel"


def _name(path: tuple[str, ...]) -> str:
    """The inverse of _path."""
    *modules, leaf = path
    if leaf != "bias":
        leaf = "weight"
    tensor = ".".join([*modules, leaf])
    return _PREFIX + tensor.replace("h_", "h.", 1)
