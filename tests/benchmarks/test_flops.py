"""The closed forms agree with XLA's count of unrolled models that compute every pair."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.harness import flops
from benchmarks.harness.workloads import EVENT_TYPES, SEQUENCES
from socialrec_jax.models.gpt2 import GPT2, GPT2Sizes
from socialrec_jax.models.ranker import HIDDEN, Ranker
from socialrec_jax.models.sequence import BehaviorTransformer
from socialrec_jax.models.social import SocialGCN

WIDTH, LAYERS, ROWS, LENGTH = 128, 2, 4, 64


def counted(function, *arguments) -> float:
    return jax.jit(function).lower(*arguments).compile().cost_analysis()["flops"]


def test_pairs_are_those_of_the_mask():
    from socialrec_jax.models.kernels.reference import causal_mask

    segments = np.array([[1, 1, 1, 2, 2, 0], [1, 2, 3, 4, 4, 4]])
    real = np.asarray(causal_mask(segments)) & (segments > 0)[:, :, None]
    assert flops.causal_pairs(segments) == real.sum()


def test_one_window_is_half_of_all_pairs():
    assert flops.causal_pairs(np.ones((1, 1000), int)) == pytest.approx(1000**2 / 2, rel=2e-3)


def test_behavior():
    import dataclasses

    workload = dataclasses.replace(
        SEQUENCES["beauty-packed-tiny"], width=WIDTH, layers=LAYERS, rows=ROWS, row_length=LENGTH
    )
    batch = workload.batches().at(0)
    model = BehaviorTransformer(workload.config().model, EVENT_TYPES)
    items = jnp.zeros((ROWS, LENGTH, WIDTH))
    params = jax.eval_shape(model.init, jax.random.key(0), batch, items)
    expected = flops.behavior(ROWS * LENGTH, ROWS * LENGTH**2, WIDTH, LAYERS)
    assert counted(model.apply, params, batch, items) == pytest.approx(expected, rel=0.1)


def test_gpt2_and_its_head():
    sizes = GPT2Sizes(512, LENGTH, WIDTH, LAYERS, 4)
    tokens = jnp.ones((ROWS, LENGTH), jnp.int32)
    model = GPT2(sizes)
    params = jax.eval_shape(model.init, jax.random.key(0), tokens, tokens)

    def logits(params, tokens):
        bound = model.bind(params)
        return bound.logits(bound(tokens, tokens))

    N = ROWS * LENGTH
    expected = flops.gpt2(N, ROWS * LENGTH**2, WIDTH, LAYERS) + flops.softmax(N, 512, WIDTH)
    assert counted(logits, params, tokens) == pytest.approx(expected, rel=0.1)


def test_convolution():
    from benchmarks.work.graphs import random_graph

    N, E = 500, 1000
    graph = random_graph(N, E, WIDTH, np.random.default_rng(0))
    model = SocialGCN(WIDTH)
    params = jax.eval_shape(model.init, jax.random.key(0), graph)
    assert counted(model.apply, params, graph) == pytest.approx(
        flops.convolution(N, E, WIDTH), rel=0.1
    )


def test_ranker():
    from benchmarks.harness.workloads import Catalogue
    from benchmarks.work.rankers import random_labelled_candidates
    from socialrec_jax.data.features.ranker_features import NAMES

    Q, C, I, V = 16, 50, 8, 300  # noqa: E741
    workload, rng = Catalogue("", V, WIDTH, Q), np.random.default_rng(0)
    candidates = random_labelled_candidates(Q, C, workload, rng).candidates
    ranker, catalogue = Ranker(EVENT_TYPES, I), jnp.zeros((V, WIDTH))

    def logits(ranker, candidates, catalogue):
        return ranker(candidates, ranker.project(catalogue))

    params = jax.eval_shape(
        lambda k: ranker.init(k, candidates, catalogue, method=logits), jax.random.key(0)
    )
    expected = flops.ranker(Q, C, V, WIDTH, (len(NAMES), I, HIDDEN, EVENT_TYPES))
    call = partial(ranker.apply, method=logits)
    assert counted(call, params, candidates, catalogue) == pytest.approx(expected, rel=0.15)


def test_bytes_that_devices_send():
    assert flops.all_reduce_bytes(10, 1) == flops.exchange_bytes(10, 8, 1) == 0
    assert flops.all_reduce_bytes(100, 2) == 400, (
        "a ring of two: half of the sums, then the other half"
    )
    assert flops.exchange_bytes(100, 8, 4) == 4 * 75 * (1 + 8 + 8), (
        "three quarters of the rows lie elsewhere"
    )


def test_rows_move_less_than_tables():
    assert flops.row_bytes(100, 64) < flops.adam_bytes(100 * 64)
