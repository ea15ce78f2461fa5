"""The ranker of a run's next generation, which learns the new events before the retriever does.

A ranker is used on events that the retriever has not learnt, with counts from before them. New
events are such events until the retriever learns them: first test, then train, as in `evaluation/
prequential.py`. So the ranker goes on from its weights on what the model before made of them.

Like the first training it is cross-validated: three rankers are trained side by side, and each user
is scored by one that has not learnt from that user. The ranker before has learnt none of these
events. So both are compared on all of them.
"""

from __future__ import annotations

import dataclasses
import functools

import jax
import numpy as np

from socialrec_jax.batch import LabelledCandidates
from socialrec_jax.data.as_of import AsOf
from socialrec_jax.evaluation.evaluator import RankerEvaluator
from socialrec_jax.evaluation.out_of_fold import OutOfFoldScorer
from socialrec_jax.evaluation.prequential import queries_before
from socialrec_jax.evaluation.protocol import EvaluationQueries
from socialrec_jax.inference.capacity import capacity, padded_rows
from socialrec_jax.inference.engine import Engine
from socialrec_jax.inference.load import RANKER, Loaded, about, focus_of
from socialrec_jax.models.ranker import Ranker
from socialrec_jax.pipeline.learning_rate import rate_share
from socialrec_jax.pipeline.ranker import RANKER_QUERIES, labelled_candidates
from socialrec_jax.pipeline.update_comparison import (
    Update,
    accuracy_of,
    compared,
    with_counts_before,
)
from socialrec_jax.runtime import processes
from socialrec_jax.runtime.checkpoint import Checkpoints
from socialrec_jax.runtime.timeline import timeline
from socialrec_jax.training import ranker as ranker_training
from socialrec_jax.training.loop import fit, whole_calls

RANKER_EVENTS = "ranker-events"  # the stage that is compared with the ranker before
# Fewer cannot tell two rankers apart, nor teach one without learning them by heart.
_LEAST_QUERIES = 100
_PASSES = 16  # docs/results.md


@dataclasses.dataclass(frozen=True)
class NewEvents:
    """The new events as a ranker learns them."""

    model: Loaded  # the model before, with counts of the events before them
    queries: EvaluationQueries
    labelled: LabelledCandidates
    catalogue: np.ndarray  # [V, D], padded for more items


@timeline.stage("ranker")
def learn_events(update: Update) -> dict | None:
    """Train the ranker on the new events, and compare it with the one before; None where it stays
    without a comparison: no ranker, few events, or a setting.
    """
    settings = update.old.config.update
    if update.old.ranker is None or not (settings.ranker and settings.epochs):
        return None
    events = _new_events(update)
    if events is None:
        return None
    before = _members_before(update)
    trainer = _trainer(events, before, rate_share(update.run, update.old.config))
    batches = ranker_training.RankerBatches(events.labelled, update.old.config.seed)
    explained = about(update.old.config, update.world)
    state, _ = fit(update.run, RANKER_EVENTS, trainer, batches, None, explained)
    compare = functools.partial(_compare, events, trainer, before, state.average)
    return processes.broadcast_from_main(compare)


def _new_events(update: Update) -> NewEvents | None:
    """The new events with the candidates of the model before; None where there are few."""
    world, config = update.world, update.old.config
    queries = queries_before(world, update.growth.rows, focus_of(config, world))
    queries = queries.sample(RANKER_QUERIES, config.seed)
    if len(queries) < _LEAST_QUERIES:
        return None
    model = with_counts_before(update, update.growth.history_ends_before(world.events))
    assert model.features is not None, "a model with a ranker has features"
    engine = Engine.of_loaded(dataclasses.replace(model, features=None))
    generator = engine.candidate_generator(model.features)
    popular = AsOf.time(int(queries.query.query_times.min()))
    labelled = labelled_candidates(engine, generator, queries, popular)
    # No candidate is an item that does not exist yet.
    catalogue = padded_rows(generator.catalogue, capacity(world.num_items))
    return NewEvents(model, queries, labelled, catalogue)


def _members_before(update: Update) -> dict:
    """The rankers of the generation before, trained side by side: parameters [MEMBERS, ...]."""
    checkpoints = Checkpoints(update.parent / "checkpoints" / RANKER)
    best = checkpoints.best_step()
    assert best is not None, "the ranker was loaded from there"
    return jax.tree.map(np.asarray, checkpoints.restore_parts(best, "average")["average"])


def _trainer(events: NewEvents, start: dict, share: float) -> ranker_training.RankerTrainer:
    """A training that goes on from rankers with parameters `start`, with a new schedule."""
    model = events.model
    interactions = start["user"]["kernel"].shape[-1]
    focus = focus_of(model.config, model.world)
    ranker = Ranker(len(model.world.event_types), interactions, focus)
    steps = _PASSES * len(events.queries) // ranker_training.QUERIES_PER_STEP
    num_steps = whole_calls(max(1, steps), model.config.train.steps_per_call)
    return ranker_training.RankerTrainer(
        model.config, ranker, num_steps, events.catalogue, share, start=start
    )


def _compare(
    events: NewEvents, trainer: ranker_training.RankerTrainer, before: dict, after: dict
) -> dict:
    """The accuracy of the rankers before and after on the new events, and whether the new one
    serves.
    """
    seed = trainer.config.seed
    evaluate = functools.partial(_evaluate, events, trainer)
    # The one that serves has learnt none of these events.
    old = evaluate(before, np.zeros(len(events.queries), np.int64))
    new = evaluate(after, ranker_training.fold_of(events.queries.users, seed))
    record = compared("ranker", *(accuracy_of(result, seed) for result in (old, new)))
    # Those that evaluate have learnt from half of the users, and the one that serves from all. So
    # the new one serves unless it is clearly worse.
    is_close = record["new"]["ndcg@10 at most"] >= record["old"]["ndcg@10"]
    return record | {"better": is_close}


def _evaluate(
    events: NewEvents, trainer: ranker_training.RankerTrainer, params: dict, members: np.ndarray
):
    scorer = OutOfFoldScorer(trainer.ranker, events.labelled.candidates, members, events.catalogue)
    return RankerEvaluator(scorer, events.queries, events.model.world.num_items).evaluate(params)
