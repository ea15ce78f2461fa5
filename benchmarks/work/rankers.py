"""The ranker, learning and scoring, on candidates that are drawn at random."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.harness import flops
from benchmarks.harness.cases import Work, expect_close
from benchmarks.harness.workloads import CATALOGUES, EVENT_TYPES, Catalogue
from benchmarks.work.steps import STEPS, as_call, num_parameters, training_work
from socialrec_jax.batch import Candidates, LabelledCandidates
from socialrec_jax.config import Config
from socialrec_jax.data.features.ranker_features import NAMES
from socialrec_jax.models.ranker import HIDDEN, Ranker
from socialrec_jax.runtime import parallel
from socialrec_jax.shapes import Array
from socialrec_jax.training import ranker

CANDIDATES = 100  # of a query
INTERACTIONS = 8
_SIZES = (len(NAMES), INTERACTIONS, HIDDEN, EVENT_TYPES)


def learning(name: str) -> Work:
    """The step of the ensemble of rankers."""
    workload, rng = CATALOGUES[name], np.random.default_rng(0)
    Q, C, V, D = ranker.QUERIES_PER_STEP, CANDIDATES, workload.items, workload.width
    labelled = random_labelled_candidates(Q, C, workload, rng)
    catalogue = rng.normal(size=(V, D)).astype(np.float32)
    trainer = ranker.RankerTrainer(Config(), Ranker(EVENT_TYPES, INTERACTIONS), STEPS, catalogue)
    state, call = trainer.init(labelled), trainer.compile()
    expected = _reference_loss(trainer, state.params, labelled, catalogue)
    carry = call(state, as_call(labelled))

    parameters, devices = num_parameters(carry[0].params), parallel.num_devices()
    return training_work(
        call=lambda carry: call(carry[0], as_call(labelled)),
        carry=carry,
        expected_loss=expected,
        unit="candidates",
        units_per_call=Q * C,
        flops=flops.TRAINING * ranker.MEMBERS * flops.ranker(Q, C, V, D, _SIZES),
        bytes=_traffic(Q * C, catalogue.size),
        network_bytes=flops.all_reduce_bytes(parameters, devices),
        devices=devices,
    )


def _traffic(num_candidates: int, catalogue_size: int) -> float:
    """Bytes of a step: the catalogue is read; activations are written once and read once."""
    widths = len(NAMES) + INTERACTIONS + 2 * HIDDEN
    activations = ranker.MEMBERS * 2 * num_candidates * widths
    return 4.0 * (catalogue_size + activations)


def _reference_loss(
    trainer: ranker.RankerTrainer, params: dict, labelled: LabelledCandidates, catalogue: np.ndarray
) -> Array:
    """The loss of the first member, which is that of all before the first step."""
    # Members lie along the first axis of the parameters.
    member = jax.tree.map(lambda leaf: leaf[0], params)
    weights = jnp.ones(len(labelled.candidates.items))

    @jax.jit
    def loss(params: dict) -> Array:
        sums = trainer.loss_sums(params, jnp.asarray(catalogue), labelled, weights, weights)
        return sums.mean()

    with jax.default_matmul_precision("highest"):
        return loss(member)


def scoring(name: str) -> Work:
    """The ranker's logits of 100 candidates for each user."""
    workload, rng = CATALOGUES[name], np.random.default_rng(0)
    Q, C = workload.queries, CANDIDATES
    candidates = jax.device_put(random_labelled_candidates(Q, C, workload, rng).candidates)
    catalogue = jnp.asarray(rng.normal(size=(workload.items, workload.width)), jnp.float32)
    model = Ranker(EVENT_TYPES, INTERACTIONS)
    params = ranker_params(model, candidates, catalogue)
    # Serving projects the catalogue once, not for each query.
    projected = jax.jit(model.bind({"params": params}).project)(catalogue)

    def check(carry) -> None:
        expected = _logits_of_one(model, params, candidates, projected)
        expect_close("a candidate alone", carry[1][:, 7:8], expected, 1e-2)

    return Work(
        call=_scoring_call(model, params, candidates, projected),
        carry=(candidates.states, jnp.zeros(())),
        check=check,
        unit="users",
        units_per_call=Q,
        flops=flops.ranker(Q, C, 0, workload.width, _SIZES),
        bytes=4.0 * Q * C * (len(NAMES) + INTERACTIONS + EVENT_TYPES),
    )


def _scoring_call(model: Ranker, params: dict, candidates: Candidates, projected: Array):
    """A call (states, logits) -> (states, logits [Q, C, A])."""

    @jax.jit
    def call(carry):
        states, previous = carry
        # Too little to change a logit, enough that each call must wait for the one before.
        states = states + 1e-9 * jnp.mean(previous)
        current = candidates.replace(states=states)
        return states, model.apply({"params": params}, current, projected)

    return call


def _logits_of_one(model: Ranker, params: dict, candidates: Candidates, projected: Array):
    """Logits of the eighth candidate of each query, at full precision."""
    alone = candidates.replace(
        items=candidates.items[:, 7:8],
        exists=candidates.exists[:, 7:8],
        features=candidates.features[:, 7:8],
    )
    with jax.default_matmul_precision("highest"):
        return model.apply({"params": params}, alone, projected)


def ranker_params(model: Ranker, candidates: Candidates, catalogue: jax.Array) -> dict:
    """Fresh parameters, but with random weights of the logits.

    An untrained ranker has zeros there, and would give all candidates the same score.
    """

    def logits(model: Ranker, candidates: Candidates, catalogue: jax.Array):
        return model(candidates, model.project(catalogue))

    init = jax.jit(partial(model.init, method=logits))
    params: dict = init(jax.random.key(0), candidates, catalogue)["params"]
    shape = params["logits"]["kernel"].shape
    kernel = jax.random.normal(jax.random.key(1), shape) * 0.1
    return params | {"logits": params["logits"] | {"kernel": kernel}}


def random_labelled_candidates(
    num_queries: int, num_candidates: int, workload: Catalogue, rng: np.random.Generator
) -> LabelledCandidates:
    """Candidates [Q, C] with random states and features; one of each query's has a label."""
    Q, C = num_queries, num_candidates
    candidates = Candidates(
        states=rng.normal(size=(Q, workload.width)).astype(np.float32),
        items=rng.integers(0, workload.items, (Q, C)).astype(np.int32),
        exists=np.ones((Q, C), bool),
        features=rng.normal(size=(Q, C, len(NAMES))).astype(np.float32),
    )
    # A label for each candidate and event type [Q, C, A].
    labels = np.zeros((Q, C, EVENT_TYPES), np.float32)
    positives, types = rng.integers(0, C, Q), rng.integers(0, EVENT_TYPES, Q)
    labels[np.arange(Q), positives, types] = 1
    weights = np.ones((Q, ranker.MEMBERS), np.float32)
    return LabelledCandidates(candidates, labels, weights, weights)
