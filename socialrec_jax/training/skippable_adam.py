"""Adam whose steps a compiled program can skip.

Updates follow from the moments that are kept. From moments that may be thrown away they would need
two of each at once, which XLA copies: that took longer than Adam itself (docs/results/reliability.md).

Source of the method: Kingma and Ba 2015, and Loshchilov and Hutter 2019 for the decay of weights.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from socialrec_jax.shapes import Array

_EPSILON = 1e-8  # optax's default


def skippable_adam(
    schedule: Callable, b1: float, b2: float, *decay: optax.GradientTransformation
) -> optax.GradientTransformationExtraArgs:
    """optax.adam, or optax.adamw with its decay of weights, bit for bit.

    `update` gets is_skipped besides: where it is true, the state stays as it is, and the updates
    mean nothing.
    """
    rate = optax.scale_by_learning_rate(schedule)
    all_parts = optax.chain(_scale_by_adam(b1, b2), *decay, rate)

    def update(updates, state, params=None, *, is_skipped=False):
        updates, new = all_parts.update(updates, state, params, is_skipped=is_skipped)
        # The moments are kept already, but not the steps that the schedule counts.
        new = jax.tree.map(
            lambda after, before: after if after.ndim else kept(after, before, is_skipped),
            new,
            state,
        )
        return updates, new

    return optax.GradientTransformationExtraArgs(all_parts.init, update)


def kept(new: Any, old: Any, is_skipped: Array | bool) -> Any:
    """The new numbers, or the old ones where the step is skipped."""
    # A choice of numbers, not of programs: `lax.cond` is no faster.
    return jax.tree.map(lambda n, o: jnp.where(is_skipped, o, n), new, old)


def _scale_by_adam(b1: float, b2: float) -> optax.GradientTransformationExtraArgs:
    """optax.scale_by_adam, whose moments are kept before the updates follow from them."""

    def update(updates, state, params=None, *, is_skipped=False):
        del params
        mu = optax.tree.update_moment(updates, state.mu, b1, 1)
        nu = optax.tree.update_moment_per_elem_norm(updates, state.nu, b2, 2)
        mu = kept(mu, state.mu, is_skipped)
        nu = kept(nu, state.nu, is_skipped)

        count = optax.safe_increment(state.count)
        mean = optax.tree.bias_correction(mu, b1, count)
        square = optax.tree.bias_correction(nu, b2, count)
        updates = jax.tree.map(lambda m, s: m / (jnp.sqrt(s) + _EPSILON), mean, square)
        return updates, optax.ScaleByAdamState(count, mu, nu)

    init = optax.scale_by_adam(b1, b2, _EPSILON).init
    return optax.GradientTransformationExtraArgs(init, update)
