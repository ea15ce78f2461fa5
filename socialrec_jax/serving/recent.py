"""A trained run together with tables that arrived after it: answers as of now without training."""

from __future__ import annotations

import tempfile
from pathlib import Path

from socialrec_jax.data.prepare.append import append
from socialrec_jax.inference.engine import Engine
from socialrec_jax.inference.grow import grow, grown_texts, item_knn_settings, with_counts
from socialrec_jax.inference.load import load_run
from socialrec_jax.runtime.generations import current_generation


def engine_with_recent(run: Path, source: Path) -> Engine:
    """The engine of a run that knows the events, users, items and friends in folder source too.

    It equals that of a generation that `train.py --add` makes without training: histories, friends
    and counts are those of all events, new items are known by their texts. Nothing is written to
    the run. Raises BadData and InputMissing as an append does.
    """
    loaded = load_run(run, refitted=True)
    with tempfile.TemporaryDirectory(prefix="recent-") as folder:
        # The columns are mapped, and stay readable when their files are deleted.
        world = append(loaded.world, source, Path(folder, "world"), drop_known=True)
    texts = grown_texts(current_generation(run).text, loaded.texts, world.items)
    grown = grow(loaded, world, texts)
    settings, known_items = item_knn_settings(loaded), loaded.world.num_items
    return Engine.of_loaded(with_counts(grown, settings, world.history_ends(), known_items))
