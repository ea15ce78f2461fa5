"""The refit stage: the retriever and the ranker's features once more, from all events.

Nobody is left to validate on. So each training takes as many passes as it took the evaluated one to
be at its best. The ranker stays as it is.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from socialrec_jax.config import Config
from socialrec_jax.data.features.ranker_features import RankerFeatures
from socialrec_jax.data.world import BEFORE_VALIDATION, NOW, World
from socialrec_jax.inference.load import REFIT, REFIT_FOCUS, about
from socialrec_jax.pipeline.focus import fine_tuned
from socialrec_jax.pipeline.heal import count_features_once, delete_damaged_stage
from socialrec_jax.pipeline.ranker import TrainedRanker
from socialrec_jax.pipeline.retriever import retriever_trainer, training_batches
from socialrec_jax.runtime import processes
from socialrec_jax.runtime.run import RunDirectory
from socialrec_jax.runtime.timeline import timeline
from socialrec_jax.training.device_data import placed
from socialrec_jax.training.loop import StageProgress, fit, whole_calls
from socialrec_jax.training.retriever import RetrieverTrainer


@dataclasses.dataclass(frozen=True)
class RetrieverProgress:
    """The progress of the evaluated trainings, whose best steps the refit follows."""

    retriever: StageProgress
    focus: StageProgress | None = None


@timeline.stage("refit")
def refit(
    run: RunDirectory,
    world: World,
    config: Config,
    texts: np.ndarray,
    progress: RetrieverProgress,
    ranker: TrainedRanker | None,
) -> None:
    """Train the retriever, and count the ranker's features, from all events."""
    for stage in (REFIT, REFIT_FOCUS):
        processes.broadcast_from_main(lambda s=stage: delete_damaged_stage(run, s))
    refit_retriever(run, world, config, texts, progress)
    if ranker is not None:
        _refit_features(run, world, ranker)


def refit_retriever(
    run: RunDirectory,
    world: World,
    config: Config,
    texts: np.ndarray,
    progress: RetrieverProgress,
) -> None:
    """The retriever, and its fine-tuning where there was one."""
    # An epoch of all events has more steps than one of the training part.
    evaluated = training_batches(world, config, world.history_ends(BEFORE_VALIDATION))
    batches = training_batches(world, config, world.history_ends(NOW))
    longer = batches.steps_per_epoch / evaluated.steps_per_epoch

    # No validation: there are no events left for it.
    whole = retriever_trainer(world, config, batches, texts)
    trainer = shortened(whole, progress.retriever, longer)
    state, _ = fit(run, REFIT, *placed(trainer, batches), None, about(config, world))

    # Fine-tuning starts from the refitted retriever.
    if progress.focus is not None:
        trainer = fine_tuned(whole, world, state.served)
        trainer = shortened(trainer, progress.focus, longer)
        fit(run, REFIT_FOCUS, *placed(trainer, batches), None, about(config, world))


def shortened(
    trainer: RetrieverTrainer, progress: StageProgress, longer: float
) -> RetrieverTrainer:
    """The same training, ended where the evaluated one was best; an epoch has `longer` times as
    many steps. The learning rate follows the whole schedule.
    """
    steps = round(progress.best_step * longer)
    steps = whole_calls(steps, trainer.config.train.steps_per_call)
    return dataclasses.replace(
        trainer, num_steps=min(steps, trainer.num_steps), horizon=trainer.num_steps
    )


def _refit_features(run: RunDirectory, world: World, ranker: TrainedRanker) -> None:
    def count() -> RankerFeatures:
        return RankerFeatures.fit(world, world.history_ends(NOW), ranker.features.settings)

    processes.broadcast_from_main(
        lambda: count_features_once(run, world, refitted=True, count=count)
    )
