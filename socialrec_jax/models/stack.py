"""A stack of equal layers: parameters are cast once, and deep stacks are compiled once.

The parameters of each layer are a dict of their own, so that their names do not depend on how the
stack is computed: one layer after the other, or all by one compiled loop.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from socialrec_jax.shapes import Array

# Deeper stacks are a loop: its body is compiled once, and each layer's activations are copied into
# arrays of all layers (docs/results/accelerators.md).
MAX_UNROLLED = 12

# Primitives of fused attention: their results are kept for the backward pass, as products' are.
_ATTENTION_KERNELS = ("pallas_call", "dot_product_attention_fwd_wrapper")


def apply_layers(
    layer: Callable[..., Array],
    params: Sequence[dict],
    x: Array,
    inputs: Sequence[tuple],
    dtype: jnp.dtype | type = jnp.float32,
    remat: bool = False,
) -> Array:
    """layer(params[i], x, *inputs[i]) for each layer i in turn; params are cast to dtype.

    remat: compute each layer once more in the backward pass. Otherwise a loop keeps the results of
    products and of attention kernels, and computes only elementwise operations again.
    """

    def step(x, params_and_inputs):
        layer_params, layer_inputs = params_and_inputs
        return layer(layer_params, x, *layer_inputs)

    params = jax.tree.map(lambda leaf: leaf.astype(dtype), list(params))
    layers = list(zip(params, inputs, strict=True))
    if len(layers) > MAX_UNROLLED:
        return _scan(step, x, layers, None if remat else _keeps_products)
    return _one_after_the_other(jax.checkpoint(step) if remat else step, x, layers)


def _one_after_the_other(layer: Callable, x: Array, layers: list) -> Array:
    for params_and_inputs in layers:
        x = layer(x, params_and_inputs)
    return x


def _scan(layer: Callable, x: Array, layers: list, policy: Callable | None) -> Array:
    """All layers by one loop, whose backward pass finds what the policy keeps."""
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *layers)
    # A loop is a border for the compiler already.
    layer = jax.checkpoint(layer, prevent_cse=False, policy=policy)
    x, _ = jax.lax.scan(lambda x, one: (layer(x, one), None), x, stacked)
    return x


def _keeps_products(primitive: Any, *arguments: Any, **parameters: Any) -> bool:
    """Whether a result is dear to compute again: products with parameters, attention kernels."""
    is_product = jax.checkpoint_policies.dots_with_no_batch_dims_saveable
    if primitive.name in _ATTENTION_KERNELS:
        return True
    return bool(is_product(primitive, *arguments, **parameters))
