"""The optimiser step of the language model of product texts."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.harness import flops
from benchmarks.harness.cases import Work
from benchmarks.harness.workloads import TEXTS, Texts
from benchmarks.work.reduced_checks import checked_at_reduced_shape
from benchmarks.work.steps import STEPS, as_call, num_parameters, training_work
from socialrec_jax.batch import TextBatch
from socialrec_jax.config import Config
from socialrec_jax.models.gpt2 import GPT2, GPT2Sizes
from socialrec_jax.runtime import parallel
from socialrec_jax.shapes import Array
from socialrec_jax.training.text import TextTrainer, text_loss


def text_step(name: str) -> Work:
    """One step on full rows of random tokens."""
    return checked_at_reduced_shape(TEXTS[name], _text_step)


def _text_step(workload: Texts, has_reference: bool) -> Work:
    batch = _random_batch(workload)
    model = GPT2(_sizes(workload), jnp.dtype(workload.dtype))
    trainer = TextTrainer(Config(), model, STEPS)
    state, call = trainer.init(batch), trainer.compile()
    # The call donates the state, so the reference comes first.
    expected = _reference_loss(model, state.params, batch) if has_reference else None
    carry = call(state, as_call(batch))

    tokens, devices = batch.tokens.size, parallel.num_devices()
    parameters = num_parameters(carry[0].params)
    return training_work(
        call=lambda carry: call(carry[0], as_call(batch)),
        carry=carry,
        expected_loss=expected,
        unit="tokens",
        units_per_call=tokens,
        padding_share=0.0,
        flops=flops.TRAINING * _forward_flops(workload, batch),
        bytes=_traffic(workload, tokens, parameters),
        network_bytes=flops.all_reduce_bytes(parameters, devices),
        dtype=workload.dtype,
        devices=devices,
    )


def _random_batch(workload: Texts) -> TextBatch:
    shape = workload.rows, workload.row_length
    rng = np.random.default_rng(0)
    tokens = rng.integers(0, workload.vocabulary, shape).astype(np.int32)
    # One segment a row: no text ends within it.
    return TextBatch(tokens, np.ones(shape, np.int32))


def _sizes(workload: Texts) -> GPT2Sizes:
    return GPT2Sizes(
        vocab_size=workload.vocabulary,
        n_positions=workload.row_length,
        n_embd=workload.width,
        n_layer=workload.layers,
        n_head=workload.heads,
    )


def _reference_loss(model: GPT2, params: dict, batch: TextBatch) -> Array:
    """In float32 at full precision, outside of the timed call."""
    model = GPT2(model.sizes)
    with jax.default_matmul_precision("highest"):
        return jax.jit(lambda params: text_loss(model, params, batch).mean())(params)


def _traffic(workload: Texts, tokens: int, parameters: int) -> float:
    """Bytes of a step; each device updates parameters of its own."""
    updates = parallel.num_devices() * flops.adam_bytes(parameters)
    itemsize = jnp.dtype(workload.dtype).itemsize
    activations = flops.activation_bytes(tokens, workload.width, workload.layers, itemsize)
    return updates + activations


def _forward_flops(workload: Texts, batch: TextBatch) -> float:
    tokens, pairs = batch.tokens.size, flops.causal_pairs(batch.segments)
    trunk = flops.gpt2(tokens, pairs, workload.width, workload.layers)
    return trunk + flops.softmax(tokens, workload.vocabulary, workload.width)
