"""One optimiser step: model -> losses as sums -> gradients -> sums over devices -> one division ->
update.

Tables too big to be touched as a whole are apart from the other parameters: see `embeddings` and
`small_world`.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax

from socialrec_jax.batch import Batch, Columns, PackedIndices, Sums
from socialrec_jax.config import Config
from socialrec_jax.data.batching.layout import gather_batch
from socialrec_jax.models.dropout import DropoutRng
from socialrec_jax.models.embedding_tables import put_in, take_out
from socialrec_jax.models.recommender import RecommenderModel, fixed_variables
from socialrec_jax.runtime import parallel
from socialrec_jax.shapes import Array
from socialrec_jax.training import local_vocabulary, losses, negatives, row_adagrad
from socialrec_jax.training.local_vocabulary import LocalVocabulary
from socialrec_jax.training.negatives import Negatives
from socialrec_jax.training.state import (
    _AXES,
    TrainState,
    adam,
    initial_state,
    summed_over_parts,
    update_state,
    warmup_cosine,
)

_TABLE_RATE = 10.0  # of the learning rate: Adagrad's steps shrink with every visit, Adam's do not
_FINE_TUNING_SHARE = 0.25  # of the peak learning rate


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
    tables: tuple[str, ...] | None = (
        None  # names of those trained row by row; what their sizes ask for by default
    )

    @property
    def schedule(self) -> optax.Schedule:
        t = self.config.train
        peak = t.learning_rate * (_FINE_TUNING_SHARE if self.start is not None else 1)
        return warmup_cosine(peak, self.horizon or self.num_steps, t.warmup_share)

    @property
    def optimizer(self) -> optax.GradientTransformation:
        return adam(self.schedule)

    @property
    def big_tables(self) -> tuple[str, ...]:
        """Names of the tables that are trained row by row."""
        if self.tables is not None:
            return self.tables
        return local_vocabulary.big_tables(self.model, self.config.train.negatives or 0)

    def init(self, example: Batch | PackedIndices) -> TrainState:
        """A fresh state on all local devices; example is one batch of rows [B, T]."""
        if self.start is not None:
            params, tables = take_out(self.start, self.big_tables)
            state = initial_state(params, self.optimizer)
            return state.replace(
                tables={name: row_adagrad.of_parameter(table) for name, table in tables.items()}
            )
        key, batch = jax.random.key(self.config.seed), _batch(example, self.columns)
        small = local_vocabulary.resized(self.model, dict.fromkeys(self.big_tables, 1))
        params: dict = jax.jit(small.init)(key, batch)["params"]
        params, _ = take_out(params, self.big_tables)
        return initial_state(params, self.optimizer).replace(tables=self._fresh_tables(key))

    def _fresh_tables(self, key: Array) -> dict[str, row_adagrad.Table]:
        """As the model's own initialisers would make them."""
        width = self.model.config.width
        deviations = {"items": width**-0.5, "users": 0.1 * width**-0.5}
        rows = {"items": self.model.num_items, "users": self.model.num_users}
        return {
            n: row_adagrad.initial_table(
                rows[n], width, deviations[n], jax.random.fold_in(key, rows[n])
            )
            for n in self.big_tables
        }

    def compile(self):
        """The call (state, batches [P, K, B, T]) -> (state, losses [K])."""
        steps = parallel.scan_steps(
            self._step, (self.fixed, self.columns, self.running_counts), _AXES
        )

        def call(state: TrainState, batches: Batch | PackedIndices):
            state, (losses, lost) = steps(
                state.replace(tables=parallel.as_shares(state.tables)), batches
            )
            if state.tables:
                row_adagrad.warn_of_lost(lost)
            return state.replace(tables=parallel.as_rows(state.tables)), losses

        return call

    @property
    def fixed(self) -> dict:
        """The model's variables that no step changes."""
        return {} if self.texts is None else fixed_variables(self.texts, self.known)

    @property
    def running_counts(self) -> np.ndarray:
        """What negatives are drawn by [V]: an argument of the step, since a constant of that size
        would be folded.
        """
        return negatives.running_counts(self.item_counts)

    @property
    def known(self) -> np.ndarray:
        """Items [V] bool whose ids are learnt."""
        return self.item_counts > 0

    def _step(self, state: TrainState, shared: tuple, given: Batch | PackedIndices):
        """(state, (loss, lost rows)) after one step."""
        fixed, columns, running_counts = shared
        dropout_seed, drawn = self.randomness(state.step, running_counts)
        world = local_vocabulary.gather(state.tables, _batch(given, columns), drawn, fixed)
        model = world.model(self.model)

        def local_loss(learnt: tuple, part: Batch):
            bound = model.bind({"params": put_in(*learnt)} | world.fixed)
            item_loss, type_loss = self.loss_sums(
                bound, world.replace(batch=part), DropoutRng(dropout_seed, part.row_ids)
            )
            return item_loss.total + self.config.train.type_weight * type_loss.total, item_loss

        gradient_of, learnt = jax.grad(local_loss, has_aux=True), (state.params, world.rows)
        found = summed_over_parts(gradient_of, learnt, world.batch, self.config.train.accumulation)
        (gradients, of_rows), item_loss = found
        gradients, item_loss = parallel.sum_over_devices((gradients, item_loss))
        weight = jnp.maximum(item_loss.weight, 1)
        gradients = jax.tree.map(lambda g: g / weight, gradients)
        rate = jnp.asarray(_TABLE_RATE * self.schedule(state.step))
        tables = {
            name: row_adagrad.update_rows(table, world.lookups[name], of_rows[name], weight, rate)
            for name, table in state.tables.items()
        }
        state = update_state(state, gradients, self.optimizer, self.config.train.ema_decay)
        return state.replace(tables=tables), (
            item_loss.mean(),
            parallel.sum_over_devices(world.lost),
        )

    def randomness(self, step: Array, running_counts: Array) -> tuple[Array, Negatives | None]:
        """What a step draws: the word that its dropout follows from, and its negatives, if there
        are any.
        """
        keys = jax.random.split(jax.random.fold_in(jax.random.key(self.config.seed), step))
        M = self.config.train.negatives
        return jax.random.bits(keys[0]), negatives.draw(keys[1], M, running_counts) if M else None

    def loss_sums(
        self, model: RecommenderModel, world: LocalVocabulary, dropout_rng: DropoutRng
    ) -> tuple[Sums, Sums]:
        """Losses of the local rows: the next item; its event type, with the item known and
        without.
        """
        batch = world.batch
        users = model.encode_users(batch, dropout_rng)
        users, targets, weights = (
            users.reshape(-1, users.shape[-1]),
            batch.targets.reshape(-1),
            self._weights(batch).reshape(-1),
        )
        item_loss = self._item_loss(
            users, model.encode_items(dropout_rng), targets, weights, world.negatives
        )
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

    def _item_loss(
        self,
        users: Array,
        catalogue: Array,
        targets: Array,
        weights: Array,
        negatives: Negatives | None,
    ) -> Sums:
        temperature = self.config.model.temperature
        if negatives is None:
            return losses.full_softmax(users, catalogue, targets, weights, temperature)
        positives, others = catalogue[targets], catalogue[negatives.ids]
        return losses.sampled_softmax(
            users,
            positives,
            others,
            targets,
            negatives.ids,
            negatives.log_expected,
            weights,
            temperature,
        )


def _batch(given: Batch | PackedIndices, columns: Columns | None) -> Batch:
    """What was sent, with the events filled in where they lie on the device."""
    if isinstance(given, Batch):
        return given
    assert columns is not None, "slots need the events: see residence.placed"
    return gather_batch(given, columns)
