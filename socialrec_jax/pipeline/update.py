"""`train.py --add`: new tables make the next generation of a run.

In this order: append, check, evaluate the current model on the new events before it learns them,
train on new and replayed events, compare both models on the newest events, keep the better one.
Every step is a function of the run, the tables and the settings, and leaves whole files. So a
command that was killed ends, when it is given again, with the same bits. RUN/generation.json is
written last: until then the generation before serves.
"""

from __future__ import annotations

import dataclasses
import json
import time
from pathlib import Path

import numpy as np

from socialrec_jax.config import Config
from socialrec_jax.data.growth import Growth
from socialrec_jax.data.world import BEFORE_VALIDATION, World
from socialrec_jax.errors import BadData
from socialrec_jax.inference.artefacts import (
    features_folder,
    features_made_from,
    write_record,
)
from socialrec_jax.inference.grow import grow, item_knn_settings
from socialrec_jax.inference.load import (
    FOCUS,
    RANKER,
    REFIT,
    REFIT_FOCUS,
    RETRIEVER,
    Loaded,
    load_run,
    load_texts,
    trained_stages,
)
from socialrec_jax.pipeline import drift
from socialrec_jax.pipeline.next_generation import (
    copy_ranker,
    expected_accuracy,
    finished_before,
    prepare_generation,
)
from socialrec_jax.pipeline.ranker_events import (
    RANKER_EVENTS,
    NewEvents,
    accuracy_before,
    learn_events,
    new_events,
)
from socialrec_jax.pipeline.ranker_update import RANKER_UPDATE, serve_updated_ranker
from socialrec_jax.pipeline.update_comparison import (
    compare_models,
    compare_rankers,
    described,
    is_new_ranker,
)
from socialrec_jax.pipeline.update_inputs import Update
from socialrec_jax.pipeline.update_training import UPDATE, save_untrained, train_update
from socialrec_jax.runtime import processes
from socialrec_jax.runtime.generations import Generations
from socialrec_jax.runtime.run import RunDirectory


def add(run: RunDirectory, source: Path, config: Config) -> dict:
    """Make the next generation of a run from the tables in folder source, and return its record.

    config: of the run, with the `update` settings of this append. Raises BadData where the tables
    are refused; nothing has changed then.
    """
    started_at = time.perf_counter()
    generations = Generations(run)
    prepared = processes.broadcast_from_main(
        lambda: (
            finished_before(generations, source, config.update)
            or prepare_generation(generations, source, config)
        )
    )
    if "record" in prepared:
        return prepared["record"]

    number = prepared["number"]
    # Refused tables leave nothing behind. After any other error the same command goes on.
    try:
        update = open_update(generations, prepared["parent"], number, config)
        record = _checked_and_trained(generations, update)
    except BadData:
        processes.broadcast_from_main(lambda: generations.discard(number))
        raise
    record = {**record, **prepared, "seconds": round(time.perf_counter() - started_at, 1)}
    processes.broadcast_from_main(lambda: _finish(generations, number, record))
    return record


def open_update(generations: Generations, parent: int, number: int, config: Config) -> Update:
    """The model of a parent generation, grown to the World of the generation that is being made.

    config: its `update` settings are those of the new generation.
    """
    run = generations.directory(number)
    world = World.open(run.world)
    # By the folder of its number: the run itself opens the generation that serves.
    folder = generations.folder / str(parent)
    loaded = load_run(folder, refitted=True)
    grown = grow(loaded, world, load_texts(run, world))
    settings = dataclasses.replace(grown.config, update=config.update)
    learnt = _learnt_generation(generations, parent)
    learnt_world = World.open(generations.directory(learnt).world)
    return Update(
        run=run,
        number=number,
        parent=folder,
        growth=Growth.between(loaded.world, world),
        unlearnt=Growth.between(learnt_world, world).rows,
        learnt=learnt,
        old=dataclasses.replace(grown, config=settings),
        settings=item_knn_settings(loaded),
    )


def _learnt_generation(generations: Generations, parent: int) -> int:
    """The generation whose events the model of a generation has learnt."""
    # Where an old model was kept, later updates learn the events of its generations too.
    return generations.record(parent)["learnt"] if parent else 0


def _checked_and_trained(generations: Generations, update: Update) -> dict:
    """Checks of the new tables and of the current model before it learns, then the new models.

    BadData: refused.
    """
    # Counts come first: tables that they refuse need no candidates.
    drifted = processes.broadcast_from_main(lambda: _check_drift(generations, update))
    events = new_events(update)
    before = processes.broadcast_from_main(lambda: _check_accuracy(generations, update, events))
    return drifted | before | make_models(update, events)


def make_models(update: Update, events: NewEvents | None) -> dict:
    """Train, compare on the newest events, and write what the generation serves.

    events: what the ranker learns, see `new_events`. Returns the part of the generation's record
    that says which model serves.
    """
    new, ends = _trained(update)
    comparison = None if new is None else compare_models(update, new, ends)
    promoted = comparison is not None and comparison["better"]
    better = new if promoted else None
    # Lists that came back have a lesson of their own, see `ranker_update`.
    ranker, stage = compare_rankers(update, better or update.old, ends), RANKER_UPDATE
    if ranker is None and events is not None:
        ranker, stage = learn_events(update, events), RANKER_EVENTS
    _write_models(update, better, ends, stage if is_new_ranker(ranker) else None)
    return {
        "trained": new is not None,
        "held_out": comparison,
        "ranker": ranker,
        "promoted": promoted,
        "learnt": update.number if promoted else update.learnt,
    }


def _check_drift(generations: Generations, update: Update) -> dict:
    # From the files: the old model's World has grown already.
    known = World.open(generations.directory(generations.current).world)
    measured = drift.measure(known, update.world, update.growth)
    print(f"new  {drift.describe(measured)}", flush=True)
    drift.check_drift(measured, update.old.config.update)
    return {"drift": dataclasses.asdict(measured)}


def _check_accuracy(generations: Generations, update: Update, events: NewEvents | None) -> dict:
    """The current model on the new events. BadData where it predicts them far worse than usual."""
    before = accuracy_before(update, events)
    if before is None:
        return {"before": None}
    expected = expected_accuracy(generations)
    print(f"before  {described(before)}  expected {expected or float('nan'):.4f}", flush=True)
    # The upper end of the interval: a few unlucky events are no reason.
    least_share = update.old.config.update.least_accuracy
    if expected is not None and before["ndcg@10 at most"] < least_share * expected:
        raise BadData(
            f"refused: the model predicts the new events with ndcg@10 {before['ndcg@10']:.4f}, "
            f"expected {expected:.4f}, --update.least-accuracy is {least_share}; nothing changed"
        )
    return {"before": before}


def _trained(update: Update) -> tuple[Loaded | None, np.ndarray]:
    """The model that has learnt all but the held-out events, None where there is nothing to learn;
    and where the events of each user [U] end that it has learnt.
    """
    events, config = update.world.events, update.old.config
    ends = update.growth.training_ends(events, config.update.held_out, config.seed)
    return train_update(update.run, UPDATE, update.old, update.unlearnt, ends), ends


def _write_models(
    update: Update, better: Loaded | None, ends: np.ndarray, ranker_stage: str | None
) -> None:
    """Models and counts of the generation, so that it opens like any run.

    better: the model that has learnt the events before ends [U]; None: the old one serves.
    ranker_stage: of the ranker that serves; None: the one before.
    """
    focus = bool(update.old.config.train.focus)
    serving, evaluated = (REFIT_FOCUS, FOCUS) if focus else (REFIT, RETRIEVER)
    if better is None:
        save_untrained(update.run, serving, update.old)
    else:
        _learn_held_out(update, serving, better, ends)

    # Queries as of earlier times get the model that was evaluated at first.
    save_untrained(update.run, evaluated, update.evaluated_model())
    processes.broadcast_from_main(lambda: _write_counts(update, ranker_stage))


def _learn_held_out(update: Update, stage: str, better: Loaded, ends: np.ndarray) -> None:
    """Train the better model on the events at or after ends [U] as well.

    It goes on from what was compared: an update of a fifth of the size (docs/results/loop.md).
    """
    held_out = update.behind(ends, update.unlearnt)
    learnt = train_update(update.run, stage, better, held_out, update.world.history_ends())
    # First events of users alone teach nothing.
    if learnt is None:
        save_untrained(update.run, stage, better)


def _write_counts(update: Update, ranker_stage: str | None) -> None:
    if ranker_stage is not None:
        serve_updated_ranker(update.run, ranker_stage)
    else:
        copy_ranker(RunDirectory(update.parent), update.run)
    # What the ranker reads is counted anew.
    for refitted, as_of in ((True, None), (False, BEFORE_VALIDATION)):
        world = update.world
        ends = world.history_ends(as_of) if as_of else world.history_ends()
        counted = update.counted(update.old, ends)
        if counted.features is not None:
            made_from = features_made_from(world, refitted)
            counted.features.save(features_folder(update.run, refitted), made_from)
    update.run.write_config(update.old.config)
    has_ranker = (update.run.checkpoints / RANKER).exists()
    write_record(update.run, trained_stages(update.old.config, has_ranker))


def _finish(generations: Generations, number: int, record: dict) -> None:
    # Whole first, then serving: a reader never finds a half-made generation.
    generations.finish(number, json.loads(json.dumps(record)))
    generations.promote(number)


def summary(record: dict) -> str:
    """One line: which model serves, and why."""
    return f"generation {record['number']}: {outcome(record)}"


def outcome(record: dict) -> str:
    """Which model a generation serves, and why."""
    held_out = record["held_out"]
    if held_out is not None:
        which = "the updated model serves" if record["promoted"] else "the old model is kept"
        old, new = held_out["old"]["ndcg@10"], held_out["new"]["ndcg@10"]
        return f"{which} (ndcg@10 {old:.4f} -> {new:.4f} on the newest events)"
    # A model was trained, and no event was left to compare it on.
    if record.get("trained"):
        return (
            "the old model serves with the new events, nothing was compared: none could be held out"
        )
    return "the old model serves with the new events, nothing was trained"
