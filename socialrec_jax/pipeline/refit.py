"""The refit stage: the retriever and the ranker's features once more, on all events."""

from __future__ import annotations

import dataclasses

import numpy as np

from socialrec_jax.config import Config
from socialrec_jax.data.features.ranker_features import RankerFeatures
from socialrec_jax.data.world import BEFORE_VALIDATION, NOW, World
from socialrec_jax.inference.load import (
    REFIT,
    REFIT_FOCUS,
    about,
    features_folder,
)
from socialrec_jax.pipeline.focus import fine_tuned
from socialrec_jax.pipeline.ranker import TrainedRanker
from socialrec_jax.pipeline.retriever import retriever_trainer, training_batches
from socialrec_jax.runtime import processes
from socialrec_jax.runtime.run import RunDirectory
from socialrec_jax.training.device_data import placed
from socialrec_jax.training.loop import StageProgress, fit, whole_calls
from socialrec_jax.training.retriever import RetrieverTrainer


@dataclasses.dataclass(frozen=True)
class RetrieverProgress:
    """How the judged trainings stand."""

    retriever: StageProgress
    focus: StageProgress | None = None


def refit(
    run: RunDirectory,
    world: World,
    config: Config,
    texts: np.ndarray,
    retriever_progress: RetrieverProgress,
    ranker: TrainedRanker | None,
) -> None:
    """The retriever and all that signals count once more, from all events; the ranker stays as it
    is.

    Nobody is left to validate on: the passes are those after which each judged training was best.
    """
    labelled, batches = (
        training_batches(world, config, world.history_ends(as_of))
        for as_of in (BEFORE_VALIDATION, NOW)
    )
    longer = batches.steps_per_epoch / labelled.steps_per_epoch
    trainer = retriever_trainer(world, config, batches, texts)
    shorter = shortened(trainer, retriever_progress.retriever, longer)
    state, _ = fit(run, REFIT, *placed(shorter, batches), None, about(config, world))
    if retriever_progress.focus is not None:
        trainer = shortened(
            fine_tuned(trainer, world, state.served), retriever_progress.focus, longer
        )
        fit(run, REFIT_FOCUS, *placed(trainer, batches), None, about(config, world))
    folder = features_folder(run, refitted=True)

    def count() -> None:
        if ranker is not None and not (folder / "settings.json").exists():
            RankerFeatures.fit(world, world.history_ends(NOW), ranker.features.settings).save(
                folder
            )

    processes.broadcast_from_main(count)


def shortened(
    trainer: RetrieverTrainer, progress: StageProgress, longer: float
) -> RetrieverTrainer:
    """The same training, ended where the judged one was best, when a pass takes `longer` times as
    many steps.
    """
    steps = whole_calls(round(progress.best_step * longer), trainer.config.train.steps_per_call)
    return dataclasses.replace(
        trainer, num_steps=min(steps, trainer.num_steps), horizon=trainer.num_steps
    )
