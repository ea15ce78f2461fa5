"""The ranker of a run's next generation, which learns again from lists that came back.

It learns as at first, from the validation part, and from all lists that came back since then. The
retriever that was evaluated has learnt neither. Features are counted from the events before the
first list, so that they do not know what was taken.
"""

from __future__ import annotations

import dataclasses
import shutil

import numpy as np

from socialrec_jax.data.csr import is_among
from socialrec_jax.data.features.ranker_features import RankerFeatures
from socialrec_jax.data.growth import Growth
from socialrec_jax.data.impressions import Impressions
from socialrec_jax.data.world import BEFORE_VALIDATION, VALIDATION, World
from socialrec_jax.evaluation import protocol
from socialrec_jax.evaluation.protocol import EvaluationQueries
from socialrec_jax.inference.engine import Engine
from socialrec_jax.inference.load import RANKER, focus_of
from socialrec_jax.pipeline.ranker import fit_ranker
from socialrec_jax.pipeline.shown_lists import ShownExamples, examples_of
from socialrec_jax.pipeline.update_inputs import Update
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
    def of(cls, update: Update, ends: np.ndarray) -> RankerLesson | None:
        """What an update's validation part and lists before ends [U] teach; None without lists."""
        run, world = update.run, update.world
        impressions = Impressions.load(run.path)
        # A run without ranker has no settings.
        if update.settings is None or impressions is None or not len(impressions):
            return None
        evaluated = update.evaluated_model()
        counted = update.counted(evaluated, _ends_before_lists(world, impressions))
        engine = Engine.of_loaded(dataclasses.replace(evaluated, features=None))
        shown = examples_of(run, engine, ends)
        focus = focus_of(evaluated.config, world)
        queries = _before(protocol.held_out(world, VALIDATION, focus), ends)
        if counted.features is None or shown is None or not len(queries):
            return None
        return cls(engine, counted.features, queries, shown)

    def learnt_in(self, run: RunDirectory) -> dict:
        """The parameters of a ranker that has learnt it."""
        parts = self.engine, self.features, self.queries, self.shown
        return fit_ranker(run, RANKER_UPDATE, *parts).serving


def _before(queries: EvaluationQueries, ends: np.ndarray) -> EvaluationQueries:
    """The queries whose targets all lie before ends [U]: the others compare rankers."""
    owners = queries.targets.owners
    is_late = queries.target_rows >= ends[queries.users[owners]]
    num_late = np.bincount(owners[is_late], minlength=len(queries))
    return queries.part(np.flatnonzero(num_late == 0))


def _ends_before_lists(world: World, impressions: Impressions) -> np.ndarray:
    """Where the events of each user [U] end that came before the first list."""
    # The validation part teaches too, so its events are not counted either.
    before_validation = world.history_ends(BEFORE_VALIDATION)
    first_time = int(impressions.times.min())
    users = np.arange(world.num_users)
    ends = world.events.ends_before(users, np.full(world.num_users, first_time))
    return np.minimum(ends, before_validation)


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
    return rows[~is_among(new, np.sort(shown))]


def serve_updated_ranker(run: RunDirectory, stage: str) -> None:
    """Put the ranker of a stage into the place of the one before."""
    target = run.checkpoints / RANKER
    # A killed command may have copied a part.
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(run.checkpoints / stage, target)
