"""A stack of layers gives the same states and gradients whichever way it is computed."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import pallas
from jax.extend.core import jaxprs_in_params

from socialrec_jax.models import stack
from socialrec_jax.models.dropout import DropoutRng, rng_of_layer
from socialrec_jax.models.gpt2 import GPT2, GPT2Sizes
from socialrec_jax.models.layers import Blocks, GatedBlock
from socialrec_jax.models.rotations import rotations
from tests.parameters import perturbed

B, T, D, H, LAYERS = 3, 9, 16, 2, 2
_rng = np.random.default_rng(0)
SEGMENTS = np.sort(_rng.integers(0, 3, (B, T)), axis=1).astype(np.int32)
TIMES = np.sort(_rng.integers(0, 10**6, (B, T)), axis=1).astype(np.int32)
TOKENS = _rng.integers(0, 50, (B, T)).astype(np.int32)
DROPOUT_RNG = DropoutRng(jnp.uint32(5), jnp.arange(B))


def packing() -> tuple:
    """Segments, and what queries and keys are turned by."""
    return SEGMENTS, rotations(TIMES, TIMES + 9, SEGMENTS, D // H, T)


def stream() -> np.ndarray:
    return np.random.default_rng(2).normal(size=(B * T, D)).astype(np.float32)


@functools.cache
def params_of_blocks():
    blocks = Blocks(LAYERS, H, 0.0)
    init = jax.jit(lambda key: blocks.init(key, stream(), *packing(), None))
    return perturbed(init(jax.random.key(0))["params"], 0.1)


def gated_blocks(dtype=jnp.float32, remat=False, rate=0.3):
    """(parameters, a loss of them and of the stream) of a stack of gated blocks."""
    blocks = Blocks(LAYERS, H, rate, dtype, remat)

    def loss(params, x):
        states = blocks.apply({"params": params}, x.astype(dtype), *packing(), DROPOUT_RNG)
        return jnp.mean(jnp.square(jnp.asarray(states, jnp.float32)))

    return params_of_blocks(), loss


@functools.cache
def params_of_gpt2():
    model = GPT2(GPT2Sizes(50, T, D, LAYERS, H), jnp.float32)
    return perturbed(jax.jit(model.init)(jax.random.key(0), TOKENS, SEGMENTS)["params"], 0.1)


def gpt2(dtype=jnp.float32):
    """(parameters, a loss of them and of the parameters' scale) of a GPT-2."""
    model = GPT2(GPT2Sizes(50, T, D, LAYERS, H), dtype)
    directions = np.random.default_rng(5).normal(size=(B, T, D)).astype(np.float32)

    def loss(params, x):
        hidden = jnp.asarray(model.apply({"params": params}, TOKENS, SEGMENTS))
        return jnp.mean(jnp.square(jnp.sum(hidden * directions, -1))) + 0 * jnp.sum(x)

    return params_of_gpt2(), loss


@functools.cache
def values_and_gradients(model, dtype=jnp.float32, max_unrolled=LAYERS, **options):
    """Of the loss of a model; several tests compare the same ones."""
    params, loss = model(dtype, **options)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stack, "MAX_UNROLLED", max_unrolled)
        # A function of its own: what is traced depends on more than the arguments.
        compute = jax.jit(lambda *inputs: jax.value_and_grad(loss, argnums=(0, 1))(*inputs))
        return compute(params, stream())


def expect_close(one, other, rtol, atol):
    assert jax.tree.structure(one) == jax.tree.structure(other)
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=atol)


@pytest.mark.parametrize("model", [gated_blocks, gpt2])
def test_a_loop_equals_layers_one_after_the_other(model):
    unrolled = values_and_gradients(model)
    looped = values_and_gradients(model, max_unrolled=1)
    expect_close(looped, unrolled, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("max_unrolled", [LAYERS, 1])
def test_computing_layers_once_more_changes_nothing(max_unrolled):
    kept = values_and_gradients(gated_blocks, max_unrolled=max_unrolled)
    again = values_and_gradients(gated_blocks, max_unrolled=max_unrolled, remat=True)
    expect_close(again, kept, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("max_unrolled", [LAYERS, 1])
@pytest.mark.parametrize("model", [gated_blocks, gpt2])
def test_bfloat16_has_the_same_loss(model, max_unrolled):
    value, _ = values_and_gradients(model, max_unrolled=max_unrolled)
    rounded, (gradients, _) = values_and_gradients(model, jnp.bfloat16, max_unrolled)
    np.testing.assert_allclose(rounded, value, rtol=1e-2)
    assert {leaf.dtype for leaf in jax.tree.leaves(gradients)} == {jnp.dtype("float32")}


@pytest.mark.parametrize("remat", [False, True])
@pytest.mark.parametrize("max_unrolled", [LAYERS, 1])
def test_each_kernel_is_cast_once(max_unrolled, remat, monkeypatch):
    monkeypatch.setattr(stack, "MAX_UNROLLED", max_unrolled)
    params, loss = gated_blocks(jnp.bfloat16, remat)
    jaxpr = jax.make_jaxpr(jax.grad(loss))(params, stream())
    kernels = [leaf for leaf in jax.tree.leaves(params) if leaf.ndim == 2]
    shapes = {kernel.shape for kernel in kernels}
    casts = [shape for shape in casts_in(jaxpr.jaxpr) if shape in shapes]
    assert len(casts) == len(kernels)


def casts_in(jaxpr) -> list[tuple[int, ...]]:
    """Shapes that are cast from float32 to bfloat16, in loops and checkpoints as well."""
    shapes = []
    for equation in jaxpr.eqns:
        if equation.primitive.name == "convert_element_type":
            source, target = equation.invars[0].aval, equation.outvars[0].aval
            if (source.dtype, target.dtype) == (jnp.float32, jnp.bfloat16):
                shapes.append(target.shape)
        for inner in jaxprs_in_params(equation.params):
            shapes += casts_in(inner)
    return shapes


def test_a_loop_keeps_no_logits_for_the_backward_pass(monkeypatch):
    """Only what products with parameters give: it has no axis of keys."""
    monkeypatch.setattr(stack, "MAX_UNROLLED", 1)
    params, loss = gated_blocks()
    backward = jax.eval_shape(lambda *inputs: jax.vjp(loss, *inputs)[1], params, stream())
    kept = [leaf for leaf in jax.tree.leaves(backward) if leaf.ndim and leaf.shape[0] == LAYERS]
    activations = [leaf for leaf in kept if leaf.size >= LAYERS * B * T * D]
    assert activations
    assert all(leaf.shape[-2:] != (T, T) for leaf in kept)


def test_layers_drop_independently():
    block, inputs = GatedBlock(H, 0.5), (stream(), *packing())

    @jax.jit
    def larger_with_dropout(key):
        params = block.init(key, *inputs, None)
        whole = block.apply(params, *inputs, None)
        rngs = [rng_of_layer(DROPOUT_RNG, layer) for layer in range(2)]
        return [block.apply(params, *inputs, rng) > whole for rng in rngs]

    masks = larger_with_dropout(jax.random.key(0))
    agreement = np.mean(masks[0] == masks[1])
    assert 0.3 < agreement < 0.9


@pytest.mark.parametrize(("remat", "calls"), [(False, 1), (True, 2)])
def test_a_loop_computes_attention_kernels_once(remat, calls, monkeypatch):
    """Unless it computes whole layers again."""
    monkeypatch.setattr(stack, "MAX_UNROLLED", 1)
    kernels = {"kernel": jnp.eye(4)}

    def layer(params, x):
        return x + fused_tanh(x @ params["kernel"])

    def loss(x):
        inputs = [()] * LAYERS
        return jnp.sum(stack.apply_layers(layer, [kernels] * LAYERS, x, inputs, remat=remat))

    jaxpr = jax.make_jaxpr(jax.grad(loss))(jnp.ones((4, 4)))
    assert primitives_in(jaxpr.jaxpr).count("pallas_call") == calls


def tanh_kernel(x):
    """A kernel with a gradient of its own, in place of attention."""

    def kernel(source, target):
        target[...] = jnp.tanh(source[...])

    return pallas.pallas_call(kernel, jax.ShapeDtypeStruct(x.shape, x.dtype), interpret=True)(x)


fused_tanh = jax.custom_vjp(tanh_kernel)


def tanh_and_residual(x):
    y = tanh_kernel(x)
    return y, y


def tanh_gradient(y, gradient):
    return (gradient * (1 - y**2),)


fused_tanh.defvjp(tanh_and_residual, tanh_gradient)


def primitives_in(jaxpr) -> list[str]:
    """Names of all operations, those of loops and checkpoints included."""
    names = []
    for equation in jaxpr.eqns:
        names.append(equation.primitive.name)
        for inner in jaxprs_in_params(equation.params):
            names += primitives_in(inner)
    return names
