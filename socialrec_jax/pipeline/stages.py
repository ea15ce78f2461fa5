"""What is trained after the text model, in its order: retriever, ranker, and the retriever once more on all events.

Each stage goes on from its newest checkpoint and is passed over when it is finished.
"""

from __future__ import annotations

import dataclasses

import jax
import numpy as np

from socialrec_jax.batch import Judged
from socialrec_jax.config import Config, required
from socialrec_jax.data.batching.friend_sampler import Neighbourhood
from socialrec_jax.data.batching.social_positions import Asking
from socialrec_jax.data.batching.training_batches import TrainingBatches
from socialrec_jax.data.features.ranker_features import Signals
from socialrec_jax.data.world import NOW, VALIDATION, World
from socialrec_jax.errors import UsageError
from socialrec_jax.evaluation import candidate_lists, protocol
from socialrec_jax.evaluation.tuned_baselines import tuned_cosine
from socialrec_jax.inference.engine import Recommender
from socialrec_jax.inference.load import (
    FOCUS,
    RANKER,
    REFIT,
    REFIT_FOCUS,
    RETRIEVER,
    about,
    focus_of,
    items_with_events,
    knows_friends,
    model_for,
    serving_member,
    signals_folder,
)
from socialrec_jax.inference.reranker import Finder, Ranked
from socialrec_jax.models.ranker import Ranker
from socialrec_jax.runtime import parallel, processes
from socialrec_jax.runtime.run import RunDirectory
from socialrec_jax.training import ranker
from socialrec_jax.training.device_data import placed
from socialrec_jax.training.loop import Standing, Validate, fit, whole_calls
from socialrec_jax.training.retriever import Trainer, TrainState

_RANKER_QUERIES = 20_000  # that the ranker learns from: it has a few thousand weights
_FOCUS_SHARE = 0.25  # of the steps of the whole training, for fine-tuning
_CALIBRATED_QUERIES = 20_000  # whose candidates make the reliability curve
_ONE_STRANGER_IN = (
    20  # of them are asked once more as if nothing was known of the user: new users come every day
)


def train_retriever(
    run: RunDirectory, world: World, config: Config, texts: np.ndarray
) -> tuple[TrainState, Standing]:
    """The behavior model, trained on the training part and selected on the validation part."""
    batches = training_batches(world, config, world.ends(VALIDATION))
    if not batches.targets_per_epoch:
        raise UsageError(
            f"{run.path}: nobody has two events before the {config.split} split: there is nothing to learn"
        )
    trainer = retriever_trainer(world, config, batches, texts)
    validate = validator(world, config, trainer, texts)
    return fit(run, RETRIEVER, *placed(trainer, batches), validate, about(config, world))


@dataclasses.dataclass(frozen=True)
class Standings:
    """How the judged trainings stand."""

    retriever: Standing
    focus: Standing | None = None


def focus_retriever(
    run: RunDirectory, world: World, config: Config, texts: np.ndarray, state: TrainState
) -> tuple[TrainState, Standing | None]:
    """The retriever fine-tuned on the events that pay; as it is without a focus."""
    if not config.train.focus:
        return state, None
    batches = training_batches(world, config, world.ends(VALIDATION))
    trainer = fine_tuned(retriever_trainer(world, config, batches, texts), world, state.served)
    return fit(
        run,
        FOCUS,
        *placed(trainer, batches),
        validator(world, config, trainer, texts),
        about(config, world),
    )


def fine_tuned(trainer: Trainer, world: World, start: dict) -> Trainer:
    """A short training from start on the events that pay."""
    num_steps = whole_calls(
        round(trainer.num_steps * _FOCUS_SHARE), trainer.config.train.steps_per_call
    )
    start = jax.tree.map(np.asarray, start)
    return dataclasses.replace(
        trainer, num_steps=num_steps, focus=focus_of(trainer.config, world), start=start
    )


def recommender_of(
    world: World, config: Config, texts: np.ndarray, state: TrainState
) -> Recommender:
    """The judged retriever at work."""
    recommender = Recommender(world, config, model_for(config, world, texts.shape[1]), texts)
    return recommender.use(state.served, items_with_events(world, world.ends(VALIDATION)))


def refit(
    run: RunDirectory,
    world: World,
    config: Config,
    texts: np.ndarray,
    standings: Standings,
    ranker: TrainedRanker | None,
) -> None:
    """The retriever and all that signals count once more, from all events; the ranker stays as it is.

    Nobody is left to validate on: the passes are those after which each judged training was best.
    """
    judged, batches = (
        training_batches(world, config, world.ends(as_of)) for as_of in (VALIDATION, NOW)
    )
    longer = batches.steps_per_epoch / judged.steps_per_epoch
    trainer = retriever_trainer(world, config, batches, texts)
    shorter = shortened(trainer, standings.retriever, longer)
    state, _ = fit(run, REFIT, *placed(shorter, batches), None, about(config, world))
    if standings.focus is not None:
        trainer = shortened(fine_tuned(trainer, world, state.served), standings.focus, longer)
        fit(run, REFIT_FOCUS, *placed(trainer, batches), None, about(config, world))
    folder = signals_folder(run, refitted=True)

    def count() -> None:
        if ranker is not None and not (folder / "settings.json").exists():
            Signals.fit(world, world.ends(NOW), ranker.signals.settings).save(folder)

    processes.first_says(count)


def shortened(trainer: Trainer, standing: Standing, longer: float) -> Trainer:
    """The same training, ended where the judged one was best, when a pass takes `longer` times as many steps."""
    steps = whole_calls(round(standing.best_step * longer), trainer.config.train.steps_per_call)
    return dataclasses.replace(
        trainer, num_steps=min(steps, trainer.num_steps), horizon=trainer.num_steps
    )


def training_batches(world: World, config: Config, ends: np.ndarray) -> TrainingBatches:
    """The events before ends [U] in steps, with friends where the model has a part for them."""
    asking = None
    if knows_friends(config, world):
        neighbourhood = Neighbourhood(world.events, world.friends, ends, seed=config.seed)
        asking = Asking(neighbourhood, config.model.social_queries, config.model.request_time)
    row_length = required(config.model.history_length)
    rows = rows_per_step(config)
    return TrainingBatches(
        world.events, ends, world.first_time, row_length, rows, config.seed, asking
    )


def retriever_trainer(
    world: World, config: Config, batches: TrainingBatches, texts: np.ndarray
) -> Trainer:
    t = config.train
    num_steps = whole_calls(batches.steps_per_epoch * required(t.epochs), t.steps_per_call)
    model = model_for(config, world, texts.shape[1])
    return Trainer(config, model, num_steps, batches.item_counts(world.num_items), texts)


def rows_per_step(config: Config) -> int:
    """B over all devices: at least one row each in every part of a step, and the same number."""
    rows = required(config.train.tokens_per_step) // required(config.model.history_length)
    parts = parallel.num_devices() * config.train.accumulation
    return max(1, round(rows / parts)) * parts


def validator(world: World, config: Config, trainer: Trainer, texts: np.ndarray) -> Validate | None:
    """Metrics of parameters on the validation part; None when the split left nobody to validate on."""
    queries = protocol.held_out(world, VALIDATION, focus_of(config, world))
    if not len(queries):
        return None
    recommender = Recommender(world, config, trainer.model, texts)

    def validate(params: dict) -> dict[str, float]:
        return judge_retriever(recommender.use(params, trainer.known), queries, VALIDATION).metrics

    return validate


def judge_retriever(
    recommender: Recommender, queries: protocol.Queries, part: int
) -> protocol.Judgement:
    """The retriever's ranking of the held-out items."""
    states, _ = ask(recommender, queries, part)
    return protocol.judge(recommender.index, recommender.shared(part), states, queries)


def ask(recommender: Recommender, queries: protocol.Queries, part: int):
    """The users' states [Q, D] and questions as they stood before a held-out part."""
    events = recommender.world.events
    asked = events.times[
        queries.target_rows[queries.targets.offsets[:-1]]
    ]  # seen by models with request_time only
    moments = asked if recommender.config.model.request_time else queries.moments
    states = recommender.states(
        events, queries.users, queries.ends, asked, moments=moments, as_of=part
    )
    return states, recommender.questions(events, queries.users, queries.ends, moments, part)


@dataclasses.dataclass(frozen=True)
class TrainedRanker:
    params: dict  # [MEMBERS, ...]
    signals: Signals
    out_of_fold: (
        protocol.Judgement
    )  # of the queries that it learnt from, each by a ranker that did not

    @property
    def serving(self) -> dict:
        return serving_member(self.params)


def train_ranker(run: RunDirectory, recommender: Recommender) -> TrainedRanker | None:
    """The ranker, trained on the validation part; recommender holds the judged retriever.

    None when the split left nobody to learn from.
    """
    world, config = recommender.world, recommender.config
    queries = protocol.held_out(world, VALIDATION, focus_of(config, world))
    if not len(queries):
        return None
    signals = _signals(run, world, queries)
    learnt = queries.sample(_RANKER_QUERIES, seed=config.seed)
    ranker = Ranker(
        len(world.event_types), ranker.interactions_for(len(learnt)), focus_of(config, world)
    )
    finder = recommender.candidates_by(signals)
    judged = _judged(recommender, finder, learnt)
    strangers = learnt.sample(len(learnt) // _ONE_STRANGER_IN, seed=config.seed).without_history()
    taught = [judged, _judged(recommender, finder, strangers)] if len(strangers) else [judged]
    batches = ranker.RankBatches(
        jax.tree.map(lambda *leaves: np.concatenate(leaves), *taught), config.seed
    )
    catalogue = np.asarray(recommender.catalogue)
    train = dataclasses.replace(config.train, evaluations=10, patience=5)
    num_steps = whole_calls(ranker.steps_for(len(learnt)), train.steps_per_call)
    trainer = ranker.RankTrainer(
        dataclasses.replace(config, train=train), ranker, num_steps, catalogue
    )

    score = candidate_lists.OutOfFold(
        ranker, judged.candidates, ranker.judge_of(learnt.users, config.seed), catalogue
    )

    def judge(params: dict) -> protocol.Judgement:
        return candidate_lists.judge_unsorted(
            np.asarray(judged.candidates.items), score(params), learnt, world.num_items
        )

    def validate(params: dict) -> dict[str, float]:
        return judge(params).metrics

    state, _ = fit(run, RANKER, trainer, batches, validate, about(config, world))
    return TrainedRanker(state.average, signals, judge(state.average))


def _signals(run: RunDirectory, world: World, queries: protocol.Queries) -> Signals:
    """What is counted from the training part, with the co-occurrence settings that validate best."""
    folder = signals_folder(run, refitted=False)

    def count() -> None:
        if not (folder / "settings.json").exists():
            _, settings = tuned_cosine(world, queries)
            Signals.fit(world, world.ends(VALIDATION), settings).save(folder)

    processes.first_says(count)
    return Signals.load(folder)


def _judged(recommender: Recommender, finder: Finder, queries: protocol.Queries) -> Judged:
    """Candidates of the validation part with what happened."""
    world = recommender.world
    states, asked = ask(recommender, queries, VALIDATION)
    shared = recommender.shared(VALIDATION)
    parts = [p.candidates for p in finder.propose(shared, states, asked, queries.seen)]
    candidates = jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)
    types = world.events.types[queries.target_rows]
    labels = candidate_lists.labels(
        np.asarray(candidates.items),
        np.asarray(candidates.exists),
        queries,
        types,
        len(world.event_types),
    )
    return Judged(candidates, labels, ranker.member_weights(queries.users, recommender.config.seed))


def judge_ranker(
    recommender: Recommender, queries: protocol.Queries, part: int
) -> tuple[protocol.Judgement, dict]:
    """The ranker's order of the candidates of a held-out part, and {event type: reliability of its chances}.

    Chunk by chunk, so that memory does not grow with candidates x users.
    """
    world, done = recommender.world, 0
    states, asked = ask(recommender, queries, part)
    ranks, tops, foretold = [], [], []
    for lists in recommender.ranked(recommender.shared(part), states, asked, queries.seen):
        some = queries.part(np.arange(done, done + len(lists.items)))
        done += len(some)
        ranks.append(candidate_lists.ranks_in_lists(lists.items, lists.scores, some))
        tops.append(lists.items[:, : max(protocol.CUTOFFS)])
        if done <= _CALIBRATED_QUERIES or not foretold:
            foretold.append(_foretold(world, lists, some))
    judged = protocol.judgement(
        np.concatenate(ranks), np.concatenate(tops), queries, world.num_items
    )
    chances, truth = (np.concatenate(column) for column in zip(*foretold, strict=True))
    curves = {
        name: candidate_lists.reliability(chances[:, a], truth[:, a])
        for a, name in enumerate(world.event_types)
    }
    return judged, curves


def _foretold(
    world: World, lists: Ranked, queries: protocol.Queries
) -> tuple[np.ndarray, np.ndarray]:
    """(chances, what came true) [n, A] of all candidates of some queries."""
    exists, types = np.isfinite(lists.scores), world.events.types[queries.target_rows]
    truth = candidate_lists.labels(lists.items, exists, queries, types, len(world.event_types))
    return lists.chances[exists], truth[exists]
