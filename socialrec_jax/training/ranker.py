"""Training of the ranker on held-out events, which the retriever did not learn from.

Three rankers of one shape are trained side by side. Number 0 learns from all held-out events and is
the one that serves. Numbers 1 and 2 each learn from half of the users, so that every user can be
evaluated by a ranker that did not learn from them (cross-validation with two folds). Otherwise the
figures on the validation part would be those of training data.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax

from socialrec_jax.batch import Candidates, LabelledCandidates, Sums
from socialrec_jax.config import Config
from socialrec_jax.models.ranker import Ranker, scores
from socialrec_jax.runtime import parallel
from socialrec_jax.shapes import Array
from socialrec_jax.training import guard, losses
from socialrec_jax.training.guard import StepReport
from socialrec_jax.training.state import (
    TrainState,
    WarmupCosine,
    adam,
    drawn,
    initial_state,
    update_state,
    warmup_cosine,
)

MEMBERS = 3
QUERIES_PER_STEP = 256
# Not --train.learning-rate: the ranker is small and learns from few queries.
_LEARNING_RATE = 3e-3
_WEIGHT_DECAY = 1e-4
_CALIBRATION_WEIGHT = 0.2  # of the binary losses beside the listwise one: docs/results/accuracy.md


def member_weights(users: np.ndarray, seed: int) -> np.ndarray:
    """How much the query of each user [Q] counts for each ranker [Q, MEMBERS]."""
    folds = fold_of(users, seed)
    weights = np.stack([np.ones(len(users)), folds != 1, folds != 2], axis=1)
    return weights.astype(np.float32)


def fold_of(users: np.ndarray, seed: int) -> np.ndarray:
    """The ranker [Q], 1 or 2, that does not learn from each user [Q]: a function of user and
    seed.
    """
    num_users = int(users.max(initial=0)) + 1
    rng = np.random.default_rng(seed)
    # Drawn for all users up to the largest, so that a user's fold depends on no other user.
    folds = rng.integers(1, MEMBERS, num_users)
    return folds[users]


def interactions_for(num_queries: int) -> int:
    """Rank of the bilinear form: one for every thousand queries; more would overfit
    (docs/results/accuracy.md).
    """
    return int(np.clip(num_queries // 1000, 1, 16))


def steps_for(num_queries: int) -> int:
    """Eight epochs, within bounds."""
    return int(np.clip(8 * num_queries // QUERIES_PER_STEP, 240, 2000))


@dataclasses.dataclass(frozen=True)
class RankerBatches:
    """All training steps over labelled candidates [Q, ...], as a function of (seed, step)."""

    labelled: LabelledCandidates
    seed: int

    @property
    def targets_per_epoch(self) -> int:
        return len(self.labelled.weights)

    @property
    def steps_per_epoch(self) -> int:
        return -(-self.targets_per_epoch // self.queries_per_step)

    @property
    def queries_per_step(self) -> int:
        """A multiple of the number of devices."""
        devices = parallel.num_devices()
        queries = min(QUERIES_PER_STEP, self.targets_per_epoch)
        return max(1, queries // devices) * devices

    def at(self, step: int, process: int = 0, num_processes: int = 1) -> LabelledCandidates:
        """The queries of one step that this process trains on."""
        epoch, step_of_epoch = divmod(step, self.steps_per_epoch)
        rng = np.random.Generator(np.random.Philox(key=[self.seed, epoch]))
        order = rng.permutation(self.targets_per_epoch)

        share = self.queries_per_step // num_processes
        begin = step_of_epoch * self.queries_per_step + process * share
        # The last step of an epoch is filled up from its beginning.
        places = np.arange(begin, begin + share) % self.targets_per_epoch
        chosen = order[places]
        return jax.tree.map(lambda leaf: leaf[chosen], self.labelled)


@dataclasses.dataclass(frozen=True)
class RankerTrainer:
    """Builds the state and the compiled call; catalogue [V, D]: the retriever's item vectors, which
    do not change.
    """

    config: Config
    ranker: Ranker
    num_steps: int
    catalogue: np.ndarray
    rate_share: float = 1.0  # of the learning rate, where --train.learning-rate was lowered
    start: dict | None = None  # parameters [MEMBERS, ...] to go on from

    @property
    def schedule(self) -> WarmupCosine:
        rate = _LEARNING_RATE * self.rate_share
        return warmup_cosine(rate, self.num_steps, self.config.train.warmup_share)

    def init(self, example: LabelledCandidates) -> TrainState:
        """Initial rankers on all local devices; one batch of queries gives the mean and scale of
        the features. Rankers to go on from keep their own.
        """
        if self.start is not None:
            return initial_state(self.start, _adamw(self.schedule))
        candidates = example.candidates

        # The data are arguments: a program of other data is the same one.
        def init_members(key, candidates, catalogue):
            def init_member(key):
                return self.ranker.init(key, candidates, catalogue, method=_call_all)

            # Members start apart.
            return jax.vmap(init_member)(jax.random.split(key, MEMBERS))

        init = jax.jit(init_members)
        params = drawn(init, self.config.seed, candidates, self.catalogue)
        params["standardise"] = _feature_statistics(candidates)
        return initial_state(params, _adamw(self.schedule))

    def compile(self):
        """The call (state, labelled [P, K, Q / P, ...]) -> (state, losses [K] of the ranker that
        serves).
        """
        return guard.losses_only(self.compile_guarded())

    def compile_guarded(self):
        """The call (state, labelled [P, K, Q / P, ...], limits) -> (state, StepReport [K])."""
        shared = (self.catalogue, self.schedule)
        return guard.GuardedSteps(parallel.compiled_steps(self._step), shared)

    def _step(
        self, state: TrainState, shared: tuple, labelled: LabelledCandidates
    ) -> tuple[TrainState, StepReport]:
        (catalogue, schedule), limits = shared
        # Parameters have the members as their first axis, weights as their last.
        all_members = jax.vmap(self.loss_sums, in_axes=(0, None, None, -1, -1))
        weights = labelled.weights, labelled.calibration_weights

        def local_loss(params):
            sums = all_members(params, catalogue, labelled, *weights)
            return jnp.sum(sums.total), sums

        # Members share no parameters, so the gradient of the sum is that of each.
        local = jax.grad(local_loss, has_aux=True)(state.params)
        gradients, sums = parallel.sum_over_devices(local)
        weight = jnp.maximum(sums.weight, 1)

        def by_member(gradient):
            return gradient / weight.reshape(-1, *(1,) * (gradient.ndim - 1))

        gradients = jax.tree.map(by_member, gradients)
        losses = sums.total / weight
        # The members are skipped together: they learn from the same queries.
        report = guard.checked(losses[0], gradients, limits, jnp.isfinite(losses).all())
        state = update_state(
            state, gradients, _adamw(schedule), self.config.train.ema_decay, report.is_skipped
        )
        return state, report

    def loss_sums(
        self,
        params: dict,
        catalogue: Array,
        labelled: LabelledCandidates,
        weights: Array,
        calibration_weights: Array,
    ) -> Sums:
        """The loss of one ranker on the local queries, which weigh weights [Q] in the order and
        calibration_weights [Q] in the probabilities.
        """
        ranker = self.ranker.bind({"params": params})
        logits = ranker(labelled.candidates, ranker.project(catalogue))
        exists, focus = labelled.candidates.exists, self.ranker.focus
        labels = labelled.labels[..., list(focus)] if focus else labelled.labels
        any_label = labels.max(-1)
        order_weights = weights * _mean_label(any_label)
        order = losses.listwise(scores(logits, focus), any_label, exists, order_weights)
        # All event types, in focus or not: their probabilities are served.
        labels = jnp.minimum(labelled.labels, 1)
        calibration = losses.calibration(logits, labels, exists, calibration_weights)
        total = order.total + _CALIBRATION_WEIGHT * calibration.total
        return Sums(total, jnp.sum(weights))


def _mean_label(labels: Array) -> Array:
    """The mean [Q] of the labels above zero: 1 but for lists that were shown.

    There it is the mean inverse propensity of what was taken.
    """
    num_labels = jnp.maximum(jnp.sum(labels > 0, -1), 1)
    has_label = jnp.any(labels > 0, -1)
    return jnp.where(has_label, jnp.sum(labels, -1) / num_labels, 1)


def _adamw(schedule: WarmupCosine) -> optax.GradientTransformationExtraArgs:
    return adam(schedule, 0.9, 0.999, optax.add_decayed_weights(_WEIGHT_DECAY, _is_decayed))


def _feature_statistics(candidates: Candidates) -> dict[str, np.ndarray]:
    """Mean and deviation of the features of real candidates, the same for all members."""
    exists = np.asarray(candidates.exists)
    features = np.asarray(candidates.features)[exists]
    center = features.mean(0)
    scale = features.std(0) + 1e-3  # a feature may be constant
    copies = (MEMBERS, 1)
    return {"center": np.tile(center, copies), "scale": np.tile(scale, copies)}


def _call_all(ranker: Ranker, candidates: Candidates, catalogue: Array) -> Array:
    """Uses every parameter: for `init`."""
    return ranker(candidates, ranker.project(catalogue))


def _is_decayed(params: dict) -> dict:
    """True for the parameters that weight decay applies to: all that are learnt."""
    return {
        module: jax.tree.map(lambda _, m=module: m != "standardise", leaves)
        for module, leaves in params.items()
    }
