"""The past decides alone, packing and padding change nothing, and gradients stay finite."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from socialrec_jax.config import PRESETS, ModelConfig
from socialrec_jax.data.batching.layout import gather_rows, pack_windows
from socialrec_jax.models.recommender import RecommenderModel
from tests.parameters import perturbed
from tests.worlds import events_of

CONFIG = ModelConfig(width=16, num_layers=2, num_heads=2, history_length=8, dropout=0.0)
SEQUENCES = [[1, 2, 3, 4, 5], [6, 7, 8], [9, 10], [11, 12, 13, 14, 15, 16, 17]]


def batch_of(sequences, row_length=8, rows=None, gap=3600):
    events = events_of(sequences, gap=gap)
    layout, last = pack_windows(events.starts, np.diff(events.offsets), row_length)
    return gather_rows(events, layout, 0, np.arange(rows or len(layout.segments)), 0), last


@pytest.fixture(scope="module")
def model_and_params():
    model = RecommenderModel(CONFIG, num_items=20, num_event_types=2)
    params = jax.jit(model.init)(jax.random.key(0), batch_of(SEQUENCES)[0])["params"]
    # Biases start at zero: move every parameter, so that a leak through any of them shows.
    return model, perturbed(params)


@functools.partial(jax.jit, static_argnums=0)
def encode_users(model, params, batch):
    return model.bind({"params": params}).encode_users(batch)


def states(model, params, batch):
    return np.asarray(encode_users(model, params, batch))


def last_states(model, params, sequences, row_length=8):
    batch, last = batch_of(sequences, row_length)
    return states(model, params, batch).reshape(-1, CONFIG.width)[last]


def test_changing_the_future_moves_no_earlier_state(model_and_params):
    batch, _ = batch_of([[1, 2, 3, 4, 5, 6, 7, 8]])
    changed = batch.replace(
        items=batch.items.copy(), event_types=batch.event_types.copy(), times=batch.times.copy()
    )
    changed.items[0, 5:], changed.event_types[0, 5:] = 19, 1 - changed.event_types[0, 5:]
    changed.times[0, 5:] += 10_000_000
    before, after = states(*model_and_params, batch), states(*model_and_params, changed)
    np.testing.assert_array_equal(before[0, :5], after[0, :5])
    assert np.abs(before[0, 5:] - after[0, 5:]).max() > 1e-3


def test_the_target_and_its_time_are_not_seen(model_and_params):
    batch, _ = batch_of(SEQUENCES)
    other = batch.replace(
        targets=batch.targets * 0,
        target_types=batch.target_types * 0,
        request_times=batch.times + 9,
    )
    np.testing.assert_array_equal(
        states(*model_and_params, batch), states(*model_and_params, other)
    )


def test_request_time_is_read_where_it_is_set():
    model = RecommenderModel(dataclasses.replace(CONFIG, request_time=True), 20, 2)
    batch, _ = batch_of(SEQUENCES)
    params = perturbed(jax.jit(model.init)(jax.random.key(0), batch)["params"])
    later = batch.replace(request_times=batch.request_times + 10_000_000)
    assert np.abs(states(model, params, batch) - states(model, params, later)).max() > 1e-4


def test_packed_equals_alone_and_padding_changes_nothing(model_and_params):
    together = last_states(*model_and_params, SEQUENCES)
    alone = np.concatenate([last_states(*model_and_params, [sequence]) for sequence in SEQUENCES])
    wide = last_states(*model_and_params, SEQUENCES, row_length=16)
    np.testing.assert_allclose(together, alone, atol=1e-5)
    np.testing.assert_allclose(together, wide, atol=1e-5)


def test_users_and_items_are_unit_vectors(model_and_params):
    model, params = model_and_params
    catalogue = model.bind({"params": params}).encode_items()
    for vectors in (catalogue, states(model, params, batch_of(SEQUENCES)[0])):
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=-1), 1, rtol=1e-4)


def test_what_precedes_matters_by_type_order_and_age(model_and_params):
    def last(batch):
        return states(*model_and_params, batch)[0, 2]

    batch, _ = batch_of([[1, 2, 3]])
    swapped = batch.replace(items=batch.items[:, [1, 0, *range(2, 8)]])
    typed = batch.replace(event_types=1 - batch.event_types)
    slower, _ = batch_of([[1, 2, 3]], gap=90_000_000)
    for other in (swapped, typed, slower):
        assert np.abs(last(batch) - last(other)).max() > 1e-3


def test_gradients_are_finite_with_whole_rows_of_padding(model_and_params):
    model, params = model_and_params
    batch, _ = batch_of(SEQUENCES, rows=6)
    gradients = jax.grad(lambda p: encode_users(model, p, batch).sum())(params)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradients))


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_have_the_shapes_they_say(preset):
    config = dataclasses.replace(PRESETS[preset]().model, history_length=256)
    model = RecommenderModel(config, num_items=1000, num_event_types=4)
    batch, _ = batch_of(SEQUENCES, row_length=256)
    shapes = jax.eval_shape(model.init, jax.random.key(0), batch)["params"]
    out = jax.eval_shape(lambda p: model.bind({"params": p}).encode_users(batch), shapes)
    assert out.shape == (*batch.segments.shape, config.width)
    assert out.dtype == jnp.float32, "states are float32 whatever the blocks compute in"
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(shapes)), (
        "master weights are float32"
    )


def test_bfloat16_blocks_are_close_to_float32(model_and_params):
    model, params = model_and_params
    half = RecommenderModel(dataclasses.replace(CONFIG, compute_dtype="bfloat16"), 20, 2)
    batch, _ = batch_of(SEQUENCES)
    cosine = (states(model, params, batch) * states(half, params, batch)).sum(-1)
    assert cosine[batch.segments > 0].min() > 0.99
