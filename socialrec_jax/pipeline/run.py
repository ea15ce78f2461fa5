"""A training run from raw tables to a report: the data, and the stages in their order.

Each stage goes on from its newest checkpoint, and returns at once when it is finished.
"""

from __future__ import annotations

import logging
from pathlib import Path

from socialrec_jax.config import Config, from_json, to_json
from socialrec_jax.data import world_checks
from socialrec_jax.data.prepare.prepare import prepare
from socialrec_jax.data.synthetic import write_tables
from socialrec_jax.data.world import World
from socialrec_jax.data.world_files import MANIFEST
from socialrec_jax.errors import DamagedFile, InputMissing
from socialrec_jax.inference.artefacts import write_record
from socialrec_jax.inference.load import trained_stages, trained_world
from socialrec_jax.pipeline.console import describe
from socialrec_jax.pipeline.evaluate import complete_report, evaluate, evaluate_baselines
from socialrec_jax.pipeline.focus import focus_retriever
from socialrec_jax.pipeline.heal import check_appended
from socialrec_jax.pipeline.ranker import count_features, train_ranker
from socialrec_jax.pipeline.refit import RetrieverProgress, refit
from socialrec_jax.pipeline.retriever import compile_ahead, engine_of, train_retriever
from socialrec_jax.pipeline.settings import check_settings, with_absolute_paths, write_auto_config
from socialrec_jax.pipeline.shown_lists import keep_impressions
from socialrec_jax.pipeline.text import features_width, item_features
from socialrec_jax.reports.data_report import write_data_report
from socialrec_jax.runtime import processes
from socialrec_jax.runtime.background import Background
from socialrec_jax.runtime.run import RunDirectory
from socialrec_jax.runtime.timeline import timeline

SAMPLE = "sample"
log = logging.getLogger(__name__)


def train(run: RunDirectory, source: Path | None, config: Config) -> dict:
    """Train all models of a run and return its report; the caller holds the run's lock.

    source: a folder of raw tables. None: the data of an existing run, or the sample shop.
    """
    processes.broadcast_from_main(lambda: check_appended(run))

    # ---- Data: raw tables -> World. What config leaves open follows from it
    world, config = prepare_data(run, source, config)

    with Background() as background:
        # ---- Product texts: a language model gives each item a vector
        compiled = background.ahead(
            lambda: compile_ahead(run, world, config, features_width(world, config))
        )
        texts = item_features(run, world, config)
        compiled()

        # ---- What no model changes is counted while the devices train
        counted = background.submit(lambda: count_features(run, world, config))
        baselines = background.submit(lambda: evaluate_baselines(run, world, config))

        # ---- Retriever: the next item from a user's events and friends
        state, progress = train_retriever(run, world, config, texts)
        state, focus_progress = focus_retriever(run, world, config, texts, state)
        engine = engine_of(world, config, texts, state)

        # ---- Ranker: the order of the retriever's and other candidates, from the validation part
        ranker = train_ranker(run, engine, counted)

        # ---- Evaluation: all models and baselines, once on the test part
        report = evaluate(run, engine, progress, ranker, baselines)

    # ---- Refit: the models that serve learn from all events
    if config.train.refit:
        refit(run, world, config, texts, RetrieverProgress(progress, focus_progress), ranker)

    # ---- The record of what is trained: serving misses nothing of it in silence
    stages = trained_stages(config, ranker is not None)
    processes.broadcast_from_main(lambda: write_record(run, stages))

    # ---- The report once more, with the time of all stages
    return complete_report(run, report)


@timeline.stage("prepare")
def prepare_data(run: RunDirectory, source: Path | None, config: Config) -> tuple[World, Config]:
    """The run's World, and its configuration with every value filled in. Process 0 makes both.

    source: see `train`.
    """

    # The configuration says how the World is split, and the World's events decide what the
    # configuration leaves open.
    def prepare_run() -> str:
        given = with_absolute_paths(run, config)
        check_settings(run, given, may_lower_rate=True)
        is_new_sample = source is None and not run.exists
        tables = sample_tables(run, config.seed) if is_new_sample else source
        world = open_world(run, tables, config)
        keep_impressions(run, source, world)
        write_data_report(world, run.path / "data.html")
        resolved = write_auto_config(run, given, world)
        describe(world, resolved)
        return to_json(resolved)

    # All processes open the files that process 0 has written.
    resolved = from_json(processes.broadcast_from_main(prepare_run))
    return World.open(run.world), resolved


def sample_tables(run: RunDirectory, seed: int) -> Path:
    """The synthetic sample shop, written once into the run directory."""
    folder = run.path / SAMPLE
    # users.parquet is written last.
    if not (folder / "users.parquet").exists():
        write_tables(folder, seed=seed)
    return folder


def open_world(run: RunDirectory, source: Path | None, config: Config) -> World:
    """Prepare source into the run, or open the run's World when source is None.

    Raises BadData when the run was prepared from other data, InputMissing when there is none.
    """
    if source is None:
        try:
            return _verified(run)
        except (DamagedFile, InputMissing) as error:
            if not (run.path / SAMPLE).exists():
                raise
            log.warning("%s", error)
            source = run.path / SAMPLE
    # Only a run that trained nothing yet may change its data.
    return prepare(
        source,
        run.world,
        config.data,
        config.split,
        replace=not run.exists,
        expected_hash=trained_world(run),
    )


def _verified(run: RunDirectory) -> World:
    """The run's World, with its contents read."""
    if not (run.world / MANIFEST).exists():
        raise InputMissing(f"{run.path} holds no prepared data: say which with --data DIR")
    world = World.open(run.world)
    world_checks.verify(world)
    return world
