"""The first state, the steps and the learning rate are those of optax."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from socialrec_jax.training.ranker import _adamw
from socialrec_jax.training.state import (
    TrainState,
    adam,
    initial_state,
    update_state,
    warmup_cosine,
)


@pytest.mark.parametrize("num_steps", [1, 7, 240, 5000])
@pytest.mark.parametrize("warmup_share", [0.0, 0.1])
def test_the_learning_rate_is_a_linear_warmup_and_a_cosine(num_steps, warmup_share):
    rate = warmup_cosine(3e-3, num_steps, warmup_share)
    warmup = max(1, int(num_steps * warmup_share))
    end = max(num_steps, warmup + 1)
    expected = optax.warmup_cosine_decay_schedule(0.0, 3e-3, warmup, end)

    steps = np.linspace(0, num_steps + 5, 30).astype(int)
    expected_rates = jax.vmap(expected)(jnp.asarray(steps))
    on_device = jax.jit(jax.vmap(rate))(jnp.asarray(steps))
    on_host = [rate(int(step)) for step in steps]
    np.testing.assert_allclose(on_device, expected_rates, rtol=1e-5, atol=1e-9)
    np.testing.assert_allclose(on_host, expected_rates, rtol=1e-5, atol=1e-9)


def _adamw_of_optax(schedule):
    return optax.adamw(schedule, weight_decay=1e-4, mask={"standardise": False, "a": True})


@pytest.mark.parametrize(
    ("optimizer_of", "expected_of"),
    [(adam, lambda schedule: optax.adam(schedule, 0.9, 0.98)), (_adamw, _adamw_of_optax)],
)
def test_steps_are_those_of_optax_and_skipped_ones_change_nothing(optimizer_of, expected_of):
    schedule = warmup_cosine(3e-3, 100, 0.1)
    optimizer, expected = optimizer_of(schedule), expected_of(schedule)
    rng = np.random.default_rng(0)

    def drawn():
        return {name: rng.normal(size=4).astype(np.float32) for name in ("standardise", "a")}

    params = expected_params = drawn()
    state = TrainState(jnp.zeros((), jnp.int32), params, params, optimizer.init(params))
    expected_state = expected.init(params)
    update = jax.jit(lambda *arguments: update_state(*arguments[:2], optimizer, 0.9, arguments[2]))
    expected_update = jax.jit(expected.update)
    for is_skipped in (True, False, True, False, True, True, False):
        gradients, average = drawn(), state.average
        if is_skipped:
            gradients["a"][0] = np.nan
        state = update(state, gradients, is_skipped)
        if is_skipped:
            jax.tree.map(np.testing.assert_array_equal, state.average, average)
        else:
            updates, expected_state = expected_update(gradients, expected_state, expected_params)
            expected_params = optax.apply_updates(expected_params, updates)
        jax.tree.map(np.testing.assert_array_equal, state.opt_state, expected_state)
        jax.tree.map(np.testing.assert_array_equal, state.params, expected_params)
    assert int(state.step) == 7
    assert not np.array_equal(state.average["a"], params["a"])


@pytest.mark.parametrize("optimizer_of", [adam, _adamw])
def test_the_initial_state_is_that_of_the_optimiser(optimizer_of):
    optimizer = optimizer_of(warmup_cosine(3e-3, 100, 0.1))
    params = {"a": {"kernel": np.arange(6.0, dtype=np.float32).reshape(2, 3)}}
    state = initial_state(params, optimizer)
    expected = optimizer.init(params)
    assert jax.tree.structure(state.opt_state) == jax.tree.structure(expected)
    jax.tree.map(np.testing.assert_array_equal, state.opt_state, expected)
    jax.tree.map(np.testing.assert_array_equal, state.params, params)
    jax.tree.map(np.testing.assert_array_equal, state.average, params)


def test_the_learning_rate_is_an_argument_of_the_program():
    """Trainings of different lengths share what is compiled."""
    calls = []

    @jax.jit
    def rate(schedule, step):
        calls.append(step)
        return schedule(step)

    rates = [float(rate(warmup_cosine(1.0, steps, 0.1), 50)) for steps in (100, 200)]
    assert len(calls) == 1
    assert rates[0] < rates[1]
