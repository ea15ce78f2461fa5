"""Training of the language model of product texts: next-token prediction."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

from socialrec_jax.batch import Sums, TextBatch
from socialrec_jax.config import Config
from socialrec_jax.models.gpt2 import GPT2
from socialrec_jax.runtime import parallel
from socialrec_jax.training import guard
from socialrec_jax.training.guard import StepReport
from socialrec_jax.training.losses import next_token
from socialrec_jax.training.state import (
    TrainState,
    WarmupCosine,
    adam,
    drawn,
    initial_state,
    update_state,
    warmup_cosine,
)

# Shares of --train.learning-rate, so that lowering it also helps a text training that diverged.
_RATE_SHARE = 0.5
_RATE_SHARE_PRETRAINED = 0.025  # low, to keep what was learnt from much more text


@dataclasses.dataclass(frozen=True)
class TextTrainer:
    """Builds the state and the compiled call; start: parameters to continue from, if any."""

    config: Config
    model: GPT2
    num_steps: int
    start: dict | None = None

    @property
    def schedule(self) -> WarmupCosine:
        t = self.config.train
        share = _RATE_SHARE if self.start is None else _RATE_SHARE_PRETRAINED
        return warmup_cosine(share * t.learning_rate, self.num_steps, t.warmup_share)

    def init(self, example: TextBatch) -> TrainState:
        """The state before the first step on all local devices; example is one batch [B, L]."""
        params = self.start
        if params is None:
            init = jax.jit(self.model.init)
            params = drawn(init, self.config.seed, example.tokens, example.segments)
        return initial_state(params, adam(self.schedule))

    def compile(self):
        """The call (state, batches [P, K, B, L]) -> (state, losses [K])."""
        return guard.losses_only(self.compile_guarded())

    def compile_guarded(self):
        """The call (state, batches [P, K, B, L], limits) -> (state, StepReport [K])."""
        return guard.GuardedSteps(parallel.compiled_steps(self._step), self.schedule)

    def _step(
        self, state: TrainState, shared: tuple[WarmupCosine, guard.Limits], batch: TextBatch
    ) -> tuple[TrainState, StepReport]:
        schedule, limits = shared

        def local_loss(params):
            loss = text_loss(self.model, params, batch)
            return loss.total, loss

        local = jax.grad(local_loss, has_aux=True)(state.params)
        gradients, loss = parallel.sum_over_devices(local)
        # A device's rows may hold few tokens: divide by the tokens of all devices, once.
        weight = jnp.maximum(loss.weight, 1)
        gradients = jax.tree.map(lambda g: g / weight, gradients)
        report = guard.checked(loss.mean(), gradients, limits)
        ema_decay = self.config.train.ema_decay
        state = update_state(state, gradients, adam(schedule), ema_decay, report.is_skipped)
        return state, report


def text_loss(model: GPT2, params: dict, batch: TextBatch) -> Sums:
    """Cross-entropy of each token but the first of its text, given those before it."""
    hidden = model.bind({"params": params})(batch.tokens, batch.segments)
    # The last token of a text has no target, nor has padding.
    targets = jnp.roll(batch.tokens, -1, axis=1)
    next_segments = jnp.roll(batch.segments, -1, axis=1).at[:, -1].set(0)
    has_next = (batch.segments == next_segments) & (batch.segments > 0)
    weights = has_next.astype(jnp.float32)
    table = params["wte"]["embedding"]
    hidden = hidden.reshape(-1, hidden.shape[-1])
    return next_token(hidden, table, targets.reshape(-1), weights.reshape(-1), model.dtype)
