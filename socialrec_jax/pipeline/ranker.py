"""The ranker stage: candidates of the validation part with their labels, and the ranker that learns
from them.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable

import jax
import numpy as np

from socialrec_jax.batch import LabelledCandidates
from socialrec_jax.config import Config
from socialrec_jax.data.as_of import AsOf
from socialrec_jax.data.features.ranker_features import RankerFeatures
from socialrec_jax.data.world import BEFORE_TEST, BEFORE_VALIDATION, VALIDATION, World
from socialrec_jax.evaluation import candidate_lists, protocol
from socialrec_jax.evaluation.evaluator import RankerEvaluator
from socialrec_jax.evaluation.out_of_fold import OutOfFoldScorer
from socialrec_jax.evaluation.protocol import EvaluationQueries, EvaluationResult
from socialrec_jax.evaluation.tuned_baselines import tuned_item_knn
from socialrec_jax.inference.artefacts import load_features
from socialrec_jax.inference.candidates import CandidateGenerator, CandidateRequest
from socialrec_jax.inference.engine import Engine
from socialrec_jax.inference.load import (
    RANKER,
    about,
    focus_of,
    serving_member,
)
from socialrec_jax.models.ranker import Ranker
from socialrec_jax.pipeline import learning_rate
from socialrec_jax.pipeline.heal import count_features_once, settings_of_other_features
from socialrec_jax.pipeline.shown_lists import ShownExamples, examples_of
from socialrec_jax.runtime import processes
from socialrec_jax.runtime.run import RunDirectory
from socialrec_jax.runtime.timeline import timeline
from socialrec_jax.training import ranker as ranker_training
from socialrec_jax.training.loop import fit, whole_calls

RANKER_QUERIES = 20_000  # that the ranker learns from: it has a few thousand weights
_QUERIES_PER_COLD_START = 20  # one in so many is used once more, without its history
_EVALUATIONS, _PATIENCE = 10, 5  # the ranker's training is short


@dataclasses.dataclass(frozen=True)
class TrainedRanker:
    params: dict  # [MEMBERS, ...]
    features: RankerFeatures
    out_of_fold: EvaluationResult  # of the queries that it learnt from, by rankers that did not

    @property
    def serving(self) -> dict:
        return serving_member(self.params)


@timeline.stage("candidates")
def train_ranker(
    run: RunDirectory, engine: Engine, count: Callable[[], object] | None = None
) -> TrainedRanker | None:
    """Train the ranker on the validation part, with the candidates of this engine.

    count: what calls `count_features`, or waits for it where it was called before. None when the
    split left nobody to learn from.
    """
    world, config = engine.world, engine.config
    queries = protocol.held_out(world, VALIDATION, focus_of(config, world))
    if not len(queries):
        return None

    processes.broadcast_from_main(count or functools.partial(count_features, run, world, config))
    features = load_features(run, world, refitted=False)
    # What the test part holds stays hidden, and so does what the retriever has learnt.
    shown = examples_of(run, engine, world.history_ends(BEFORE_TEST))
    if shown is not None:
        shown = shown.after(world.history_ends(BEFORE_VALIDATION))
    return fit_ranker(run, RANKER, engine, features, queries, shown)


def fit_ranker(
    run: RunDirectory,
    stage: str,
    engine: Engine,
    features: RankerFeatures,
    queries: EvaluationQueries,
    shown: ShownExamples | None,
) -> TrainedRanker:
    """Train the ranker on validation queries, and on lists that users have seen."""
    # ---- Data: candidates of validation queries, and what happened to them
    world, config = engine.world, engine.config
    sample = queries.sample(RANKER_QUERIES, seed=config.seed)
    generator = engine.candidate_generator(features)
    labelled = labelled_candidates(engine, generator, sample)
    if shown is not None:
        shown = shown.sample(RANKER_QUERIES, config.seed)
    num_lists = len(shown.lists) if shown is not None else 0
    batches = _batches(engine, generator, sample, labelled, shown if num_lists else None)

    # ---- Training: each user is validated by a ranker that did not learn from that user
    with timeline.stage("ranker"):
        rate_share = learning_rate.rate_share(run, config)
        trainer = _trainer(engine, len(sample) + num_lists, rate_share)
        evaluator = _evaluator(trainer, sample, labelled)
        state, _ = fit(run, stage, trainer, batches, evaluator.run, about(config, world))
        return TrainedRanker(state.average, features, evaluator.evaluate(state.average))


def count_features(run: RunDirectory, world: World, config: Config) -> None:
    """Write what is counted from the training part, with the item-kNN settings that validate best.

    The counts do not depend on a model. Only process 0 may call it.
    """
    queries = protocol.held_out(world, VALIDATION, focus_of(config, world))

    def count() -> RankerFeatures:
        # An appended generation keeps the settings of the first one.
        known = settings_of_other_features(run, refitted=False)
        settings = known or tuned_item_knn(world, queries)
        return RankerFeatures.fit(world, world.history_ends(BEFORE_VALIDATION), settings)

    if len(queries):
        count_features_once(run, world, refitted=False, count=count)


def labelled_candidates(
    engine: Engine,
    generator: CandidateGenerator,
    queries: EvaluationQueries,
    popular_as_of: AsOf | None = None,
) -> LabelledCandidates:
    """The candidates of held-out queries with what happened.

    popular_as_of: when that was popular which users without history get; by default as of the
    query.
    """
    # Candidates as serving would find them before the held-out part.
    world = engine.world
    query = engine.with_friends(queries.query)
    inputs = engine.index_inputs(popular_as_of or query.as_of)
    request = CandidateRequest(inputs, engine.states(query), query, queries.seen)
    chunks = [part.candidates for part in generator.generate(request)]
    candidates = jax.tree.map(lambda *leaves: np.concatenate(leaves), *chunks)

    # An item that was no candidate is no label: the ranker can only sort what it gets.
    labels = candidate_lists.labels(
        np.asarray(candidates.items),
        np.asarray(candidates.exists),
        queries,
        world.events.types[queries.target_rows],
        len(world.event_types),
    )
    weights = ranker_training.member_weights(queries.users, engine.config.seed)
    return LabelledCandidates(candidates, labels, weights, weights)


def _batches(
    engine: Engine,
    generator: CandidateGenerator,
    sample: EvaluationQueries,
    labelled: LabelledCandidates,
    shown: ShownExamples | None,
) -> ranker_training.RankerBatches:
    """The labelled candidates in steps, some of them once more as if nothing was known of the user:
    new users come every day. Then the lists that users have seen.
    """
    seed = engine.config.seed
    parts = [labelled]
    cold_start = sample.sample(len(sample) // _QUERIES_PER_COLD_START, seed=seed).without_history()
    if len(cold_start):
        parts.append(labelled_candidates(engine, generator, cold_start))
    if shown is not None:
        parts[0] = _without_shown(labelled, shown, sample, engine.world.num_items)
        parts.append(shown.labelled(engine, generator, labelled.labels.shape[1]))

    # One pytree of arrays: a batch is a choice of rows.
    joined = jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)
    return ranker_training.RankerBatches(joined, seed)


def _without_shown(
    labelled: LabelledCandidates, shown: ShownExamples, sample: EvaluationQueries, num_items: int
) -> LabelledCandidates:
    """The validation queries, where events count nothing in the order whose item a list had shown:
    they were taken for their place, too.
    """
    is_free = ~shown.have_shown_targets(sample, num_items)
    return labelled.replace(weights=labelled.weights * is_free[:, None].astype(np.float32))


def _trainer(
    engine: Engine, num_queries: int, rate_share: float = 1.0
) -> ranker_training.RankerTrainer:
    world, config = engine.world, _short_training(engine.config)
    # Few queries can teach but a small ranker.
    interactions = ranker_training.interactions_for(num_queries)
    ranker = Ranker(len(world.event_types), interactions, focus_of(config, world))
    steps = ranker_training.steps_for(num_queries)
    num_steps = whole_calls(steps, config.train.steps_per_call)
    catalogue = np.asarray(engine.catalogue)
    return ranker_training.RankerTrainer(config, ranker, num_steps, catalogue, rate_share)


def _short_training(config: Config) -> Config:
    train = dataclasses.replace(config.train, evaluations=_EVALUATIONS, patience=_PATIENCE)
    return dataclasses.replace(config, train=train)


def _evaluator(
    trainer: ranker_training.RankerTrainer, sample: EvaluationQueries, labelled: LabelledCandidates
) -> RankerEvaluator:
    folds = ranker_training.fold_of(sample.users, trainer.config.seed)
    scorer = OutOfFoldScorer(trainer.ranker, labelled.candidates, folds, trainer.catalogue)
    return RankerEvaluator(scorer, sample, num_items=len(trainer.catalogue))
