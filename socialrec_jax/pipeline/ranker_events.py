"""The ranker of a run's next generation, which learns the new events before the retriever does.

A ranker is used on events that the retriever has not learnt, with counts from before them. New
events are such events until the retriever learns them: first test, then train, as in `evaluation/
prequential.py`. So the ranker goes on from its weights on what the model before made of them.

Like the first training it is cross-validated: three rankers are trained side by side, and each user
is scored by one that has not learnt from that user. The ranker before has learnt none of these
events. So both are compared on all of them.

The same candidates tell how good the model before is, so they are made once for both.
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
from socialrec_jax.pipeline.update_comparison import accuracy_of, accuracy_on, compared
from socialrec_jax.pipeline.update_inputs import Update, with_few_checkpoints
from socialrec_jax.runtime import processes
from socialrec_jax.runtime.checkpoint import Checkpoints
from socialrec_jax.runtime.timeline import timeline
from socialrec_jax.training import ranker as ranker_training
from socialrec_jax.training.loop import fit, whole_calls

RANKER_EVENTS = "ranker-events"  # the stage that is compared with the ranker before
# Fewer cannot tell two rankers apart, nor teach one without learning them by heart.
_LEAST_QUERIES = 100
_PASSES = 10  # more are better by little: docs/results/loop.md


@dataclasses.dataclass(frozen=True)
class NewEvents:
    """The new events as a ranker learns them."""

    model: Loaded  # the model before, with counts of the events before them
    queries: EvaluationQueries
    labelled: LabelledCandidates
    catalogue: np.ndarray  # [V, D], padded for more items

    def ranker_of(self, params: dict) -> Ranker:
        """The module of rankers with parameters [M, ...]."""
        interactions = params["user"]["kernel"].shape[-1]
        focus = focus_of(self.model.config, self.model.world)
        return Ranker(len(self.model.world.event_types), interactions, focus)

    def accuracy(self, params: dict, members: np.ndarray) -> dict:
        """How well rankers with parameters [M, ...] predict the events; members [Q]: the number of
        the ranker that scores each query.
        """
        candidates, ranker = self.labelled.candidates, self.ranker_of(params)
        scorer = OutOfFoldScorer(ranker, candidates, members, self.catalogue)
        evaluator = RankerEvaluator(scorer, self.queries, self.model.world.num_items)
        return accuracy_of(evaluator.evaluate(params), self.model.config.seed)


@timeline.stage("ranker")
def new_events(update: Update) -> NewEvents | None:
    """The new events with the candidates of the model before; None where the ranker does not learn
    them: no ranker, few events, or a setting.
    """
    world, config = update.world, update.old.config
    if update.old.ranker is None or not (config.update.ranker and config.update.epochs):
        return None
    queries = queries_before(world, update.growth.rows, focus_of(config, world))
    queries = queries.sample(RANKER_QUERIES, config.seed)
    return _with_candidates(update, queries) if len(queries) >= _LEAST_QUERIES else None


def _with_candidates(update: Update, queries: EvaluationQueries) -> NewEvents:
    model = update.counted_before()
    assert model.features is not None, "a model with a ranker has features"
    # Without features the engine has no ranker: candidates are what the retriever proposes.
    engine = Engine.of_loaded(dataclasses.replace(model, features=None))
    generator = engine.candidate_generator(model.features)
    popular = AsOf.time(int(queries.query.query_times.min()))
    labelled = labelled_candidates(engine, generator, queries, popular)
    # No candidate is an item that does not exist yet.
    catalogue = padded_rows(generator.catalogue, capacity(update.world.num_items))
    return NewEvents(model, queries, labelled, catalogue)


def accuracy_before(update: Update, events: NewEvents | None) -> dict | None:
    """What the model that serves would have recommended just before each new event; None without
    any event.
    """
    if events is None:
        return accuracy_on(update, update.counted_before(), update.growth.rows)
    # The first axis of parameters are the rankers, of which one serves.
    serving = jax.tree.map(lambda leaf: leaf[None], update.old.ranker)
    return events.accuracy(serving, np.zeros(len(events.queries), np.int64))


@timeline.stage("ranker")
def learn_events(update: Update, events: NewEvents) -> dict:
    """Train the ranker on the new events, and compare it with the one before."""
    before = _members_before(update)
    trainer = _trainer(events, before, rate_share(update.run, update.old.config))
    batches = ranker_training.RankerBatches(events.labelled, update.old.config.seed)
    explained = about(update.old.config, update.world)
    state, _ = fit(update.run, RANKER_EVENTS, trainer, batches, None, explained)
    compare = functools.partial(_compare, events, before, state.average)
    return processes.broadcast_from_main(compare)


def _members_before(update: Update) -> dict:
    """The rankers of the generation before, trained side by side: parameters [MEMBERS, ...]."""
    checkpoints = Checkpoints(update.parent / "checkpoints" / RANKER)
    best = checkpoints.best_step()
    assert best is not None, "the ranker was loaded from there"
    return jax.tree.map(np.asarray, checkpoints.restore_parts(best, "average")["average"])


def _trainer(events: NewEvents, start: dict, share: float) -> ranker_training.RankerTrainer:
    """A training that goes on from rankers with parameters `start`, with a new schedule."""
    config = with_few_checkpoints(events.model.config)
    steps = _PASSES * len(events.queries) // ranker_training.QUERIES_PER_STEP
    num_steps = whole_calls(max(1, steps), config.train.steps_per_call)
    return ranker_training.RankerTrainer(
        config, events.ranker_of(start), num_steps, events.catalogue, share, start=start
    )


def _compare(events: NewEvents, before: dict, after: dict) -> dict:
    """The accuracy of the rankers before and after on the new events, and whether the new one
    serves.
    """
    users, seed = events.queries.users, events.model.config.seed
    # The one that serves has learnt none of these events.
    old = events.accuracy(before, np.zeros(len(users), np.int64))
    new = events.accuracy(after, ranker_training.fold_of(users, seed))
    record = compared("ranker", old, new)
    # Those that evaluate have learnt from half of the users, and the one that serves from all. So
    # the new one serves unless it is clearly worse.
    is_close = record["new"]["ndcg@10 at most"] >= record["old"]["ndcg@10"]
    return record | {"better": is_close}
