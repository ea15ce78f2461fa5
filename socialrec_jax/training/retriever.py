"""Training of the retriever: model -> losses as sums -> gradients -> sums over devices -> one
division -> update.

Tables too big to be touched as a whole lie apart from the other parameters: see `row_adagrad` and
`local_vocabulary`.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from socialrec_jax.batch import Batch, Columns, PackedIndices, Sums
from socialrec_jax.config import UPDATE, Config
from socialrec_jax.data.batching.layout import as_batch
from socialrec_jax.models.dropout import DropoutRng
from socialrec_jax.models.embedding_tables import merge_tables, split_tables
from socialrec_jax.models.recommender import RecommenderModel, fixed_variables
from socialrec_jax.runtime import parallel
from socialrec_jax.shapes import Array
from socialrec_jax.training import guard, local_vocabulary, losses, negatives, row_adagrad
from socialrec_jax.training.local_vocabulary import LocalVocabulary
from socialrec_jax.training.negatives import Negatives
from socialrec_jax.training.state import (
    STATE_AXES,
    TrainState,
    WarmupCosine,
    accumulate,
    adam,
    drawn,
    initial_state,
    update_state,
    warmup_cosine,
)

_TABLE_RATE = 10.0  # of the learning rate: Adagrad's steps shrink with every visit, Adam's do not
_FINE_TUNING_SHARE = 0.25  # of the peak learning rate


@dataclasses.dataclass(frozen=True)
class RetrieverTrainer:
    """Builds the state and the compiled call of one training."""

    config: Config
    model: RecommenderModel
    num_steps: int  # of the whole training
    item_counts: np.ndarray  # [V] training events of each item: half of the negatives follow them
    texts: np.ndarray | None = None  # [V, F] the items' fixed vectors, for models that know them
    horizon: int | None = None  # steps of the learning-rate schedule, where training ends before it
    focus: tuple[int, ...] = ()  # event types that are learnt; all when empty
    start: dict | None = None  # parameters to fine-tune
    peak_share: float = _FINE_TUNING_SHARE  # of the peak learning rate, for fine-tuning
    columns: Columns | None = None  # events on the devices: batches are PackedIndices then
    tables: tuple[str, ...] | None = None  # names of those trained row by row; by default by size
    num_items: int | None = None  # of a catalogue whose table is padded, see `capacity`

    @property
    def schedule(self) -> WarmupCosine:
        t = self.config.train
        peak = t.learning_rate * (self.peak_share if self.start is not None else 1)
        return warmup_cosine(peak, self.horizon or self.num_steps, t.warmup_share)

    @property
    def big_tables(self) -> tuple[str, ...]:
        """Names of the tables that are trained row by row."""
        if self.tables is not None:
            return self.tables
        return local_vocabulary.big_tables(self.model, self.config.train.negatives or 0)

    @property
    def fixed(self) -> dict:
        """The model's variables that no step changes."""
        return {} if self.texts is None else fixed_variables(self.texts, self.known)

    @property
    def known(self) -> np.ndarray:
        """Items [V] bool with training events: their ids are learnt."""
        return self.item_counts > 0

    @property
    def running_counts(self) -> np.ndarray:
        """What negatives are drawn by [V]: an argument of the step, since XLA would fold a constant
        of that size.
        """
        return negatives.running_counts(self.item_counts)

    @property
    def _program(self) -> _Program:
        # The seed is an argument of the step, and settings of updates change no program.
        shared = dataclasses.replace(self.config, seed=0, update=UPDATE)
        return _Program(shared, self.model, self.focus, self.big_tables)

    @property
    def _shared(self) -> tuple:
        """All that differs between trainings of one program; no step changes it."""
        seed = np.uint32(self.config.seed % 2**32)
        num_items = None if self.num_items is None else np.int32(self.num_items)
        return self.fixed, self.columns, self.running_counts, self.schedule, seed, num_items

    def init(self, example: Batch | PackedIndices) -> TrainState:
        """The state before the first step on all local devices; example is one batch [B, T]."""
        if self.start is not None:
            return self._state_from(self.start)
        batch = as_batch(example, self.columns)
        # One compiled program: layer by layer, initialisation takes longer than many steps.
        params = drawn(_compiled_init(self._program), self.config.seed, batch)
        params, _ = split_tables(params, self.big_tables)
        state = initial_state(params, adam(self.schedule))
        tables = local_vocabulary.initial_tables(self.model, self.big_tables, self.config.seed)
        return state.replace(tables=tables)

    def _state_from(self, start: dict) -> TrainState:
        params, tables = split_tables(start, self.big_tables)
        tables = {name: row_adagrad.of_parameter(table) for name, table in tables.items()}
        return initial_state(params, adam(self.schedule)).replace(tables=tables)

    def compile(self):
        """The call (state, batches [P, K, B, T]) -> (state, losses [K])."""
        return guard.losses_only(self.compile_guarded())

    def compile_guarded(self):
        """The call (state, batches [P, K, B, T], limits) -> (state, StepReport [K])."""
        return _Call(guard.GuardedSteps(_compiled_steps(self._program), self._shared))

    def _step(self, state: TrainState, shared: tuple, given: Batch | PackedIndices):
        """(state, StepReport) after one step."""
        (fixed, columns, running_counts, schedule, seed, num_items), limits = shared
        dropout_seed, drawn = self.randomness(state.step, running_counts, seed)
        batch = as_batch(given, columns)
        vocabulary = local_vocabulary.gather(state.tables, batch, drawn, fixed)
        vocabulary = vocabulary.replace(num_items=num_items)
        local = self._gradients(state.params, vocabulary, dropout_seed)

        # Row gradients go to their owners in `update_rows`; all else is added over devices here.
        (gradients, row_gradients), item_loss = local
        gradients, item_loss = parallel.sum_over_devices((gradients, item_loss))
        weight = jnp.maximum(item_loss.weight, 1)  # a step may have no targets in focus
        gradients = jax.tree.map(lambda g: g / weight, gradients)
        rows_are_finite = row_adagrad.are_finite(row_gradients)
        report = guard.checked(item_loss.mean(), gradients, limits, rows_are_finite)

        # Rows whose gradient is zero stay as they are.
        row_gradients = jax.tree.map(lambda g: jnp.where(report.is_skipped, 0, g), row_gradients)
        rate = _TABLE_RATE * schedule(state.step)
        tables = row_adagrad.update_tables(
            state.tables, vocabulary.lookups, row_gradients, weight, rate
        )
        state = update_state(
            state, gradients, adam(schedule), self.config.train.ema_decay, report.is_skipped
        )
        lost_rows = parallel.sum_over_devices(vocabulary.lost)
        return state.replace(tables=tables), report._replace(lost_rows=lost_rows)

    def randomness(
        self, step: Array, running_counts: Array, seed: Array | int
    ) -> tuple[Array, Negatives | None]:
        """(seed of the step's dropout, its negatives or None with a full softmax)."""
        key = jax.random.fold_in(jax.random.key(seed), step)
        dropout_key, negatives_key = jax.random.split(key)
        num_negatives = self.config.train.negatives
        if not num_negatives:
            return jax.random.bits(dropout_key), None
        drawn = negatives.draw(negatives_key, num_negatives, running_counts)
        return jax.random.bits(dropout_key), drawn

    def _gradients(self, params: dict, vocabulary: LocalVocabulary, dropout_seed: Array):
        """((gradients of params, of table rows), item loss), sums over the local rows."""
        model = vocabulary.model(self.model)

        def local_loss(params_and_rows: tuple, part: Batch):
            variables = {"params": merge_tables(*params_and_rows)} | vocabulary.fixed
            dropout_rng = DropoutRng(dropout_seed, part.row_ids)
            item_loss, type_loss = self.loss_sums(
                model.bind(variables), vocabulary.replace(batch=part), dropout_rng
            )
            total = item_loss.total + self.config.train.type_weight * type_loss.total
            return total, item_loss

        # Sums, not means: devices and parts of a batch have different numbers of targets.
        gradient_of = jax.grad(local_loss, has_aux=True)
        parts = self.config.train.accumulation
        return accumulate(gradient_of, (params, vocabulary.rows), vocabulary.batch, parts)

    def loss_sums(
        self, model: RecommenderModel, vocabulary: LocalVocabulary, dropout_rng: DropoutRng
    ) -> tuple[Sums, Sums]:
        """Losses of the local rows: of the next item, and of its event type (with the item given
        plus without).
        """
        batch = vocabulary.batch
        users = model.encode_users(batch, dropout_rng)
        users = users.reshape(-1, users.shape[-1])
        targets, weights = batch.targets.reshape(-1), self._weights(batch).reshape(-1)
        # All items once a step: histories, targets and negatives read their vectors.
        catalogue = model.encode_items(dropout_rng)
        item_loss = self._item_loss(users, catalogue, targets, weights, vocabulary)
        if self.model.num_event_types == 1:
            return item_loss, Sums(jnp.zeros(()), jnp.zeros(()))

        types = batch.target_types.reshape(-1)
        # With the item: will they buy this? Without: what will they do next?
        given_item = losses.next_type(model.type_logits(users, targets), types, weights)
        without_item = losses.next_type(model.action_logits(users), types, weights)
        return item_loss, jax.tree.map(jnp.add, given_item, without_item)

    def _weights(self, batch: Batch) -> Array:
        """Weights [B, T] of the targets; 0 for event types that are not in focus."""
        if not self.focus:
            return jnp.asarray(batch.weights)
        return batch.weights * jnp.isin(batch.target_types, jnp.asarray(self.focus))

    def _item_loss(
        self,
        users: Array,
        catalogue: Array,
        targets: Array,
        weights: Array,
        vocabulary: LocalVocabulary,
    ) -> Sums:
        negatives, num_items = vocabulary.negatives, vocabulary.num_items
        temperature = self.config.model.temperature
        dtype = jnp.dtype(self.model.config.compute_dtype)
        if negatives is None:
            parts = users, catalogue, targets, weights
            return losses.full_softmax(*parts, temperature, dtype, num_items)
        return losses.sampled_softmax(
            users,
            catalogue[targets],
            catalogue[negatives.ids],
            targets,
            negatives.ids,
            negatives.log_expected,
            weights,
            temperature,
            dtype,
        )


class _Program(NamedTuple):
    """What the compiled functions of a training follow from; all else are their arguments.

    Trainings with the same one share what is compiled, as the refit and the evaluated training do.
    """

    config: Config
    model: RecommenderModel
    focus: tuple[int, ...]
    tables: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class _Call:
    """Checkpoints hold tables without an axis of devices; mapped steps need one."""

    steps: guard.GuardedSteps

    def __call__(
        self, state: TrainState, batches: Batch | PackedIndices, limits=guard.NO_LIMITS
    ) -> tuple[TrainState, guard.StepReport]:
        state, report = self.steps(_with_shards(state), batches, limits)
        return state.replace(tables=parallel.as_rows(state.tables)), report

    def compile(self, state: TrainState, batches: Batch | PackedIndices) -> None:
        """Compile the call for such arguments, and run nothing; the state's tables are donated."""
        self.steps.compile(_with_shards(state), batches)


def _with_shards(state: TrainState) -> TrainState:
    return state.replace(tables=parallel.as_shards(state.tables))


@functools.lru_cache(maxsize=2)
def _compiled_init(program: _Program) -> Callable:
    """(key, batch) -> the model's variables."""
    # Big tables are drawn by shards; one row of each is enough for the other shapes.
    small = local_vocabulary.resized(program.model, dict.fromkeys(program.tables, 1))
    return jax.jit(small.init)


@functools.lru_cache(maxsize=2)
def _compiled_steps(program: _Program) -> parallel.Steps:
    """(state, shared, batches) -> (state, outputs)."""
    config, model, focus, tables = program
    no_data = np.zeros(0, np.int64)
    trainer = RetrieverTrainer(config, model, 0, no_data, focus=focus, tables=tables)
    return parallel.compiled_steps(trainer._step, STATE_AXES)
