"""What an update works with: the model that serves, grown, and what is new."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from socialrec_jax.config import Config
from socialrec_jax.data.features.item_knn import ItemKNNSettings
from socialrec_jax.data.growth import Growth
from socialrec_jax.data.world import BEFORE_VALIDATION, World
from socialrec_jax.inference.grow import grow, with_counts
from socialrec_jax.inference.load import Loaded, load_run
from socialrec_jax.runtime.run import RunDirectory

_MOST_CHECKPOINTS = 4  # of one training


@dataclasses.dataclass(frozen=True)
class Update:
    """The model of one generation, for the World of the next one."""

    run: RunDirectory  # of the generation that is being made
    number: int
    parent: Path  # folder of the generation whose model is updated
    growth: Growth
    unlearnt: np.ndarray  # [n] rows that the model that serves has not learnt, rising
    learnt: int  # the generation whose events it has learnt
    old: Loaded  # the model that serves, grown
    settings: ItemKNNSettings | None  # of the ranker's features, None without ranker

    @property
    def world(self) -> World:
        return self.old.world

    def counted(self, model: Loaded, ends: np.ndarray) -> Loaded:
        """A grown model with counts of the events before ends [U]."""
        return with_counts(model, self.settings, ends, self.growth.known_items)

    def counted_before(self) -> Loaded:
        """The model that serves, with counts of the events before the new ones."""
        return self.counted(self.old, self.growth.history_ends_before(self.world.events))

    def evaluated_model(self) -> Loaded:
        """The model of the first training, grown: it has learnt the training part alone."""
        first = load_run(self.parent, refitted=False)
        return grow(first, self.world, self.old.texts, BEFORE_VALIDATION)

    def behind(self, ends: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Those of the rows [n] that lie at or after the ends [U] of their users."""
        return rows[rows >= ends[self.world.events.owners[rows]]]


def with_few_checkpoints(config: Config) -> Config:
    """The configuration of an update's training: it is short, and nothing is validated."""
    evaluations = min(config.train.evaluations, _MOST_CHECKPOINTS)
    train = dataclasses.replace(config.train, evaluations=evaluations)
    return dataclasses.replace(config, train=train)
