"""The ranker of a run's next generation: it learns again where users saw lists.

It learns as at first, from the validation part, and from all lists that came back since then. The
retriever that was evaluated has learnt neither. Features are counted from the events before the
first list, so that they do not know what was taken.
"""

from __future__ import annotations

import dataclasses
import shutil

import numpy as np

from socialrec_jax.data.features.item_knn import ItemKNNSettings
from socialrec_jax.data.features.ranker_features import RankerFeatures
from socialrec_jax.data.growth import Growth
from socialrec_jax.data.impressions import Impressions
from socialrec_jax.data.world import BEFORE_VALIDATION, VALIDATION, World
from socialrec_jax.evaluation import protocol
from socialrec_jax.evaluation.protocol import EvaluationQueries
from socialrec_jax.inference.engine import Engine
from socialrec_jax.inference.grow import with_counts
from socialrec_jax.inference.load import RANKER, Loaded, focus_of
from socialrec_jax.pipeline.ranker import fit_ranker
from socialrec_jax.pipeline.shown_lists import ShownExamples, examples_of
from socialrec_jax.runtime.run import RunDirectory

RANKER_UPDATE = "ranker-update"  # the stage that is compared with the ranker before


@dataclasses.dataclass(frozen=True)
class RankerLesson:
    """What a ranker learns from."""

    engine: Engine  # with the retriever that was evaluated
    features: RankerFeatures
    queries: EvaluationQueries  # of the validation part
    shown: ShownExamples

    @classmethod
    def of(
        cls,
        run: RunDirectory,
        evaluated: Loaded,
        settings: ItemKNNSettings | None,
        known_items: int,
    ) -> RankerLesson | None:
        """The lesson of a run's lists; None where they teach nothing.

        evaluated: the model of the first training, grown. settings, known_items: see `with_counts`.
        """
        impressions = Impressions.load(run.path)
        # A run without ranker has no settings.
        if settings is None or impressions is None or not len(impressions):
            return None
        world, config = evaluated.world, evaluated.config
        ends = _ends_before_lists(world, impressions)
        features = with_counts(evaluated, settings, ends, known_items).features
        engine = Engine.of_loaded(dataclasses.replace(evaluated, features=None))
        shown = examples_of(run, engine, world.history_ends())
        queries = protocol.held_out(world, VALIDATION, focus_of(config, world))
        if features is None or shown is None or not len(queries):
            return None
        return cls(engine, features, queries, shown)


def train_on_lists(
    run: RunDirectory, evaluated: Loaded, settings: ItemKNNSettings | None, known_items: int
) -> dict | None:
    """The parameters of a ranker that has learnt from the lists of a run; None without any.

    For the arguments see `RankerLesson.of`.
    """
    lesson = RankerLesson.of(run, evaluated, settings, known_items)
    if lesson is None:
        return None
    parts = lesson.engine, lesson.features, lesson.queries, lesson.shown
    return fit_ranker(run, RANKER_UPDATE, *parts).serving


def _ends_before_lists(world: World, impressions: Impressions) -> np.ndarray:
    """Where the events of each user [U] end that came before the first list."""
    first_time = int(impressions.times.min())
    users = np.arange(world.num_users)
    ends = world.events.ends_before(users, np.full(world.num_users, first_time))
    # The validation part teaches too, so its events are not counted either.
    return np.minimum(ends, world.history_ends(BEFORE_VALIDATION))


def rows_free_of_order(run: RunDirectory, world: World, growth: Growth) -> np.ndarray:
    """The new events [n] whose item no list had shown to the user, or lists in random order alone:
    they tell rankers apart without the echo of the one that ordered the lists.
    """
    impressions, rows = Impressions.load(run.path), growth.rows
    if impressions is None:
        return rows
    ordered = impressions.rows(~impressions.explored)
    shown = ordered.users * world.num_items + ordered.items
    new = world.events.owners[rows] * np.int64(world.num_items) + world.events.items[rows]
    return rows[~np.isin(new, shown)]


def serve_updated_ranker(run: RunDirectory) -> None:
    """Put the updated ranker into the place of the one before."""
    target = run.checkpoints / RANKER
    # A killed command may have copied a part.
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(run.checkpoints / RANKER_UPDATE, target)
