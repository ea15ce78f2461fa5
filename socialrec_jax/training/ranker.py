"""Training of the ranker on held-out events, which the retriever never learnt from.

Three rankers of one shape learn side by side: number 0 on all held-out events, which is the one
that serves; numbers 1 and 2 on half of the users each, so that every user can be judged by a ranker
that did not learn from them. Without that, figures on the validation part would praise the ranker
for what it has seen.
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
from socialrec_jax.training import losses
from socialrec_jax.training.state import TrainState, initial_state, update_state, warmup_cosine

MEMBERS = 3
QUERIES_PER_STEP = 256
_LEARNING_RATE, _WEIGHT_DECAY = 3e-3, 1e-4
_CALIBRATION_WEIGHT = 0.2  # of the binary losses beside the listwise one: docs/results.md


def member_weights(users: np.ndarray, seed: int) -> np.ndarray:
    """How much the query of each user [Q] counts for each ranker [Q, MEMBERS]."""
    return np.stack(
        [np.ones(len(users)), *(fold_of(users, seed) != m for m in (1, 2))], axis=1
    ).astype(np.float32)


def fold_of(users: np.ndarray, seed: int) -> np.ndarray:
    """The ranker [Q], 1 or 2, that does not learn from each user [Q]: a function of the user and
    the seed.
    """
    return np.random.default_rng(seed).integers(1, MEMBERS, int(users.max(initial=0)) + 1)[users]


def interactions_for(num_queries: int) -> int:
    """Rank of the bilinear form: one for every thousand queries; more would learn them by heart
    (docs/results.md).
    """
    return int(np.clip(num_queries // 1000, 1, 16))


def steps_for(num_queries: int) -> int:
    """Eight passes, but enough steps for few queries and not too many for a lot of them."""
    return int(np.clip(8 * num_queries // QUERIES_PER_STEP, 240, 2000))


@dataclasses.dataclass(frozen=True)
class RankerBatches:
    """All training steps over judged candidates [Q, ...]; a batch is a function of (seed, step)."""

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
        devices = parallel.num_devices()
        return max(1, min(QUERIES_PER_STEP, self.targets_per_epoch) // devices) * devices

    def at(self, step: int, process: int = 0, num_processes: int = 1) -> LabelledCandidates:
        """The queries of one step that this process trains on."""
        epoch, index = divmod(step, self.steps_per_epoch)
        order = np.random.Generator(np.random.Philox(key=[self.seed, epoch])).permutation(
            self.targets_per_epoch
        )
        share = self.queries_per_step // num_processes
        begin = index * self.queries_per_step + process * share
        chosen = order[np.arange(begin, begin + share) % self.targets_per_epoch]
        return jax.tree.map(lambda leaf: leaf[chosen], self.labelled)


@dataclasses.dataclass(frozen=True)
class RankerTrainer:
    """Builds the state and the compiled call; catalogue [V, D]: the retriever's items, which stay
    as they are.
    """

    config: Config
    ranker: Ranker
    num_steps: int
    catalogue: np.ndarray

    @property
    def schedule(self) -> optax.Schedule:
        return warmup_cosine(_LEARNING_RATE, self.num_steps, self.config.train.warmup_share)

    @property
    def optimizer(self) -> optax.GradientTransformation:
        return optax.adamw(self.schedule, weight_decay=_WEIGHT_DECAY, mask=_learnt)

    def init(self, example: LabelledCandidates) -> TrainState:
        """Fresh rankers on all local devices, told what is usual by one batch of queries."""
        keys = jax.random.split(jax.random.key(self.config.seed), MEMBERS)
        candidates = example.candidates
        one = jax.jit(
            lambda key: self.ranker.init(key, candidates, self.catalogue, method=_touch)["params"]
        )
        params = jax.vmap(one)(keys)
        observed = np.asarray(candidates.features)[np.asarray(candidates.exists)]
        statistics = {"center": observed.mean(0), "scale": observed.std(0) + 1e-3}
        params["standardise"] = {
            name: jnp.tile(value, (MEMBERS, 1)) for name, value in statistics.items()
        }
        return initial_state(params, self.optimizer)

    def compile(self):
        """The call (state, judged [P, K, Q / P, ...]) -> (state, losses [K]) of the ranker that
        serves.
        """
        return parallel.scan_steps(self._step, self.catalogue)

    def _step(
        self, state: TrainState, catalogue: Array, labelled: LabelledCandidates
    ) -> tuple[TrainState, Array]:
        def local_loss(params):
            sums = jax.vmap(self.loss_sums, in_axes=(0, None, None, -1))(
                params, catalogue, labelled, labelled.weights
            )
            return jnp.sum(sums.total), sums

        gradients, sums = parallel.sum_over_devices(
            jax.grad(local_loss, has_aux=True)(state.params)
        )
        weight = jnp.maximum(sums.weight, 1)
        gradients = jax.tree.map(lambda g: g / weight.reshape(-1, *(1,) * (g.ndim - 1)), gradients)
        return update_state(state, gradients, self.optimizer, self.config.train.ema_decay), (
            sums.total / weight
        )[0]

    def loss_sums(
        self, params: dict, catalogue: Array, labelled: LabelledCandidates, weights: Array
    ) -> Sums:
        """The loss of one ranker on the local queries."""
        ranker = self.ranker.bind({"params": params})
        logits = ranker(labelled.candidates, ranker.project(catalogue))
        exists = labelled.candidates.exists
        focus = self.ranker.focus
        wanted = labelled.labels[..., list(focus)] if focus else labelled.labels
        order = losses.listwise(scores(logits, focus), wanted.max(-1), exists, weights)
        calibration = losses.calibration(logits, labelled.labels, exists, weights)
        return Sums(order.total + _CALIBRATION_WEIGHT * calibration.total, calibration.weight)


def _touch(ranker: Ranker, candidates: Candidates, catalogue: Array) -> Array:
    """Touches every parameter: for `init`."""
    return ranker(candidates, ranker.project(catalogue))


def _learnt(params: dict) -> dict:
    """What weight decay touches: what is usual is not learnt."""
    return {
        name: jax.tree.map(lambda _, n=name: n != "standardise", part)
        for name, part in params.items()
    }
