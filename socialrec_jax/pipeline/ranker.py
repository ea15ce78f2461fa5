"""What is trained after the text model, in its order: retriever, ranker, and the retriever once
more on all events.

Each stage goes on from its newest checkpoint and is passed over when it is finished.
"""

from __future__ import annotations

import dataclasses

import jax
import numpy as np

from socialrec_jax.batch import LabelledCandidates
from socialrec_jax.data.features.ranker_features import RankerFeatures
from socialrec_jax.data.world import BEFORE_VALIDATION, VALIDATION, World
from socialrec_jax.evaluation import candidate_lists, protocol
from socialrec_jax.evaluation.tuned_baselines import tuned_item_knn
from socialrec_jax.inference.candidates import CandidateGenerator
from socialrec_jax.inference.engine import Engine
from socialrec_jax.inference.load import (
    RANKER,
    about,
    features_folder,
    focus_of,
    serving_member,
)
from socialrec_jax.inference.reranker import RankedLists
from socialrec_jax.models.ranker import Ranker
from socialrec_jax.runtime import processes
from socialrec_jax.runtime.run import RunDirectory
from socialrec_jax.training import ranker as ranker_training
from socialrec_jax.training.loop import fit, whole_calls

_RANKER_QUERIES = 20_000  # that the ranker learns from: it has a few thousand weights
_CALIBRATED_QUERIES = 20_000  # whose candidates make the reliability curve
_ONE_COLD_START_IN = (
    20  # of them are asked once more as if nothing was known of the user: new users come every day
)


@dataclasses.dataclass(frozen=True)
class TrainedRanker:
    params: dict  # [MEMBERS, ...]
    features: RankerFeatures
    out_of_fold: (
        protocol.EvaluationResult
    )  # of the queries that it learnt from, each by a ranker that did not

    @property
    def serving(self) -> dict:
        return serving_member(self.params)


def train_ranker(run: RunDirectory, engine: Engine) -> TrainedRanker | None:
    """The ranker, trained on the validation part; engine holds the judged retriever.

    None when the split left nobody to learn from.
    """
    world, config = engine.world, engine.config
    queries = protocol.held_out(world, VALIDATION, focus_of(config, world))
    if not len(queries):
        return None
    features = _features(run, world, queries)
    learnt = queries.sample(_RANKER_QUERIES, seed=config.seed)
    ranker = Ranker(
        len(world.event_types),
        ranker_training.interactions_for(len(learnt)),
        focus_of(config, world),
    )
    generator = engine.candidate_generator(features)
    labelled = _labelled(engine, generator, learnt)
    cold_start = learnt.sample(
        len(learnt) // _ONE_COLD_START_IN, seed=config.seed
    ).without_history()
    taught = [labelled, _labelled(engine, generator, cold_start)] if len(cold_start) else [labelled]
    batches = ranker_training.RankerBatches(
        jax.tree.map(lambda *leaves: np.concatenate(leaves), *taught), config.seed
    )
    catalogue = np.asarray(engine.catalogue)
    train = dataclasses.replace(config.train, evaluations=10, patience=5)
    num_steps = whole_calls(ranker_training.steps_for(len(learnt)), train.steps_per_call)
    trainer = ranker_training.RankerTrainer(
        dataclasses.replace(config, train=train), ranker, num_steps, catalogue
    )

    score = candidate_lists.OutOfFold(
        ranker, labelled.candidates, ranker_training.fold_of(learnt.users, config.seed), catalogue
    )

    def evaluate(params: dict) -> protocol.EvaluationResult:
        return candidate_lists.evaluate_unsorted(
            np.asarray(labelled.candidates.items), score(params), learnt, world.num_items
        )

    def validate(params: dict) -> dict[str, float]:
        return evaluate(params).metrics

    state, _ = fit(run, RANKER, trainer, batches, validate, about(config, world))
    return TrainedRanker(state.average, features, evaluate(state.average))


def _features(
    run: RunDirectory, world: World, queries: protocol.EvaluationQueries
) -> RankerFeatures:
    """What is counted from the training part, with the co-occurrence settings that validate
    best.
    """
    folder = features_folder(run, refitted=False)

    def count() -> None:
        if not (folder / "settings.json").exists():
            _, settings = tuned_item_knn(world, queries)
            RankerFeatures.fit(world, world.history_ends(BEFORE_VALIDATION), settings).save(folder)

    processes.broadcast_from_main(count)
    return RankerFeatures.load(folder)


def _labelled(
    engine: Engine, generator: CandidateGenerator, queries: protocol.EvaluationQueries
) -> LabelledCandidates:
    """Candidates of the validation part with what happened."""
    world = engine.world
    query = engine.with_friends(queries.query)
    states, inputs = engine.states(query), engine.index_inputs(query.as_of)
    parts = [p.candidates for p in generator.generate(inputs, states, query, queries.seen)]
    candidates = jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)
    types = world.events.types[queries.target_rows]
    labels = candidate_lists.labels(
        np.asarray(candidates.items),
        np.asarray(candidates.exists),
        queries,
        types,
        len(world.event_types),
    )
    return LabelledCandidates(
        candidates, labels, ranker_training.member_weights(queries.users, engine.config.seed)
    )


def evaluate_ranker(
    engine: Engine, queries: protocol.EvaluationQueries
) -> tuple[protocol.EvaluationResult, dict]:
    """The ranker's order of the candidates of a held-out part, and {event type: reliability of its
    chances}.

    Chunk by chunk, so that memory does not grow with candidates x users.
    """
    world, done = engine.world, 0
    query = engine.with_friends(queries.query)
    states, inputs = engine.states(query), engine.index_inputs(query.as_of)
    ranks, tops, foretold = [], [], []
    for lists in engine.ranked(inputs, states, query, queries.seen):
        some = queries.part(np.arange(done, done + len(lists.items)))
        done += len(some)
        ranks.append(candidate_lists.ranks_in_lists(lists.items, lists.scores, some))
        tops.append(lists.items[:, : max(protocol.CUTOFFS)])
        if done <= _CALIBRATED_QUERIES or not foretold:
            foretold.append(_foretold(world, lists, some))
    labelled = protocol.evaluation_result(
        np.concatenate(ranks), np.concatenate(tops), queries, world.num_items
    )
    probabilities, truth = (np.concatenate(column) for column in zip(*foretold, strict=True))
    curves = {
        name: candidate_lists.reliability(probabilities[:, a], truth[:, a])
        for a, name in enumerate(world.event_types)
    }
    return labelled, curves


def _foretold(
    world: World, lists: RankedLists, queries: protocol.EvaluationQueries
) -> tuple[np.ndarray, np.ndarray]:
    """(chances, what came true) [n, A] of all candidates of some queries."""
    exists, types = np.isfinite(lists.scores), world.events.types[queries.target_rows]
    truth = candidate_lists.labels(lists.items, exists, queries, types, len(world.event_types))
    return lists.probabilities[exists], truth[exists]
