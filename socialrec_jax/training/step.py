"""One optimiser step: model -> losses as sums -> gradients -> sums over devices -> one division -> update."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import struct

from socialrec_jax import parallel
from socialrec_jax.batch import Batch, Columns, Slots, Sums
from socialrec_jax.config import Config
from socialrec_jax.data.batches import fill
from socialrec_jax.models.layers import Noise
from socialrec_jax.models.recommender import RecommenderModel, fixed_variables
from socialrec_jax.shapes import Array, Floats, Ints
from socialrec_jax.training import losses

_FINE_TUNING_SHARE = 0.25  # of the peak learning rate


class TrainState(struct.PyTreeNode):
    """Everything that a step changes; the same on all devices."""

    step: Ints[Array, ""]
    params: dict
    average: dict  # exponential moving average of params: what is evaluated and served
    opt_state: optax.OptState


def warmup_cosine(peak: float, num_steps: int, warmup_share: float) -> optax.Schedule:
    """The learning rate of each of num_steps: linear up to the peak, then half a cosine down to zero."""
    warmup = max(1, int(num_steps * warmup_share))
    return optax.warmup_cosine_decay_schedule(0.0, peak, warmup, max(num_steps, warmup + 1))


def adam(schedule: optax.Schedule) -> optax.GradientTransformation:
    return optax.adam(schedule, b1=0.9, b2=0.98)


def fresh(params: dict, optimizer: optax.GradientTransformation) -> TrainState:
    """The state before the first step, on all local devices."""
    state = TrainState(jnp.zeros((), jnp.int32), params, params, optimizer.init(params))
    return parallel.replicate(jax.tree.map(np.asarray, state))


def updated(
    state: TrainState, gradients: dict, optimizer: optax.GradientTransformation, ema_decay: float
) -> TrainState:
    """The state after one step along gradients; the average starts faster than ema_decay, or it would keep the init."""
    updates, opt_state = optimizer.update(gradients, state.opt_state, state.params)
    params = jax.tree.map(jnp.add, state.params, updates)
    decay = jnp.minimum(ema_decay, (1 + state.step) / (10 + state.step))
    average = jax.tree.map(lambda new, old: old + (1 - decay) * (new - old), params, state.average)
    return TrainState(state.step + 1, params, average, opt_state)


@dataclasses.dataclass(frozen=True)
class Trainer:
    """Builds the state and the compiled call of one training."""

    config: Config
    model: RecommenderModel
    num_steps: int  # of the whole training
    item_counts: np.ndarray  # [V] training events of each item: half of the negatives follow them
    texts: np.ndarray | None = None  # [V, F] the items' fixed vectors, for models that know them
    horizon: int | None = None  # steps of the learning-rate schedule, where training ends before it
    focus: tuple[int, ...] = ()  # event types that are learnt; all when empty
    start: dict | None = None  # parameters to fine-tune
    columns: Columns | None = None  # events that lie on the devices: batches arrive as Slots then

    @property
    def schedule(self) -> optax.Schedule:
        t = self.config.train
        peak = t.learning_rate * (_FINE_TUNING_SHARE if self.start is not None else 1)
        return warmup_cosine(peak, self.horizon or self.num_steps, t.warmup_share)

    @property
    def optimizer(self) -> optax.GradientTransformation:
        return adam(self.schedule)

    def init(self, example: Batch | Slots) -> TrainState:
        """A fresh state on all local devices; example is one batch of rows [B, T]."""
        if self.start is not None:
            return fresh(self.start, self.optimizer)
        key, batch = jax.random.key(self.config.seed), _batch(example, self.columns)
        params: dict = jax.jit(self.model.init)(key, batch)["params"]
        return fresh(params, self.optimizer)

    def compile(self):
        """The call (state, batches [P, K, B, T]) -> (state, losses [K])."""
        return parallel.scan_steps(self._step, (self.fixed, self.columns))

    @property
    def fixed(self) -> dict:
        """The model's variables that no step changes."""
        return {} if self.texts is None else fixed_variables(self.texts, self.known)

    @property
    def known(self) -> np.ndarray:
        """Items [V] bool whose ids are learnt."""
        return self.item_counts > 0

    def _step(
        self, state: TrainState, shared: tuple[dict, Columns | None], given: Batch | Slots
    ) -> tuple[TrainState, Floats[Array, ""]]:
        fixed, batch = shared[0], _batch(given, shared[1])

        def local_loss(params, part: Batch):
            item_loss, type_loss = self.loss_sums({"params": params} | fixed, part, state.step)
            return item_loss.total + self.config.train.type_weight * type_loss.total, item_loss

        gradient_of = jax.grad(local_loss, has_aux=True)
        found = summed_over_parts(gradient_of, state.params, batch, self.config.train.accumulation)
        gradients, item_loss = parallel.sum_over_devices(found)
        gradients = jax.tree.map(lambda g: g / jnp.maximum(item_loss.weight, 1), gradients)
        return updated(state, gradients, self.optimizer, self.config.train.ema_decay), item_loss.mean()

    def loss_sums(self, variables: dict, batch: Batch, step: Array) -> tuple[Sums, Sums]:
        """Losses of the local rows: the next item; its event type, with the item known and without."""
        keys = jax.random.split(jax.random.fold_in(jax.random.key(self.config.seed), step))
        noise = Noise(jax.random.bits(keys[0]), batch.row_ids)
        model = self.model.bind(variables)
        users = model.encode_users(batch, noise)
        users, targets, weights = (
            users.reshape(-1, users.shape[-1]),
            batch.targets.reshape(-1),
            self._weights(batch).reshape(-1),
        )
        item_loss = self._item_loss(users, model.encode_items(noise), targets, weights, keys[1])
        if self.model.num_event_types == 1:
            return item_loss, Sums(jnp.zeros(()), jnp.zeros(()))
        types = batch.target_types.reshape(-1)
        given_item = losses.next_type(model.type_logits(users, targets), types, weights)
        alone = losses.next_type(model.action_logits(users), types, weights)
        return item_loss, jax.tree.map(jnp.add, given_item, alone)

    def _weights(self, batch: Batch) -> Array:
        if not self.focus:
            return jnp.asarray(batch.weights)
        return batch.weights * jnp.isin(batch.target_types, jnp.asarray(self.focus))

    def _item_loss(self, users: Array, catalogue: Array, targets: Array, weights: Array, key: Array) -> Sums:
        M, V = self.config.train.negatives, len(catalogue)
        temperature = self.config.model.temperature
        if not M:
            return losses.full_softmax(users, catalogue, targets, weights, temperature)
        chances = losses.negative_chances(self.item_counts)
        negatives = jnp.searchsorted(jnp.cumsum(chances), jax.random.uniform(key, (M,))).clip(0, V - 1)
        expected = jnp.log(M * chances[negatives])
        return losses.sampled_softmax(
            users, catalogue[targets], catalogue[negatives], targets, negatives, expected, weights, temperature
        )


def summed_over_parts(function: Callable, params: dict, rows: Any, parts: int) -> Any:
    """function(params, rows [B, ...]), which is a sum over rows, in so many parts of equal size, one after the other.

    Only one part's activations exist at a time; the sums are those of the whole but for the order of addition.
    """
    if parts == 1:
        return function(params, rows)
    rows = jax.tree.map(lambda leaf: leaf.reshape(parts, -1, *leaf.shape[1:]), rows)
    zeros = jax.tree.map(jnp.zeros_like, jax.eval_shape(function, params, jax.tree.map(lambda leaf: leaf[0], rows)))
    return jax.lax.scan(lambda sums, part: (jax.tree.map(jnp.add, sums, function(params, part)), None), zeros, rows)[0]


def _batch(given: Batch | Slots, columns: Columns | None) -> Batch:
    """What was sent, with the events filled in where they lie on the device."""
    if isinstance(given, Batch):
        return given
    assert columns is not None, "slots need the events: see residence.placed"
    return fill(given, columns)
