"""Each kind of damage to features, texts and the record of a run is found and named."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from socialrec_jax.data.features.item_knn import ItemKNNSettings
from socialrec_jax.data.features.ranker_features import RankerFeatures
from socialrec_jax.data.world import NOW
from socialrec_jax.errors import DamagedFile
from socialrec_jax.inference.artefacts import (
    features_folder,
    features_made_from,
    load_features,
    load_texts,
    recorded_stages,
    write_record,
    write_text_manifest,
)
from socialrec_jax.runtime.run import RunDirectory
from tests import damage
from tests.worlds import random_world

REPORTS = ("data.html", "report.json", "report.html")  # which only `train.py --verify` opens
FOLDERS = ("features/refit", "text", ".")


def write_run(path, world, seed: int) -> RunDirectory:
    """Features, texts and a record, as a training leaves them."""
    run = RunDirectory(path)
    features = RankerFeatures.fit(world, world.history_ends(NOW), ItemKNNSettings())
    features.save(features_folder(run, refitted=True), features_made_from(world, refitted=True))
    run.text.mkdir()
    rng = np.random.default_rng(seed)
    np.save(run.text / "vectors.npy", rng.normal(size=(world.num_items, 3)).astype(np.float32))
    write_text_manifest(run, world, f"key {seed}")
    for name in REPORTS:
        (path / name).write_text(f"{name} {seed}")
    write_record(run, ["retriever"])
    return run


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    worlds = [random_world(folder, seed=seed) for seed in (0, 1)]
    worlds[1] = worlds[1].with_manifest({**worlds[1].manifest, "hash": "other"})
    for seed, name in enumerate(("run", "other")):
        write_run(folder / name, worlds[seed], seed)
    return folder, worlds[0]


def open_all(run: RunDirectory, world) -> None:
    load_features(run, world, refitted=True)
    load_texts(run, world)
    recorded_stages(run)


@pytest.mark.parametrize("kind", damage.KINDS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("folder", FOLDERS)
def test_every_damage_is_named(runs, tmp_path, caplog, folder, kind):
    whole, world = runs
    run = RunDirectory(tmp_path / "run")
    files = [file for file in (whole / "run" / folder).glob("*.*") if file.name not in REPORTS]
    assert files
    for file in files:
        shutil.copytree(whole / "run", run.path)
        damaged = run.path / folder / file.name
        if kind(damaged, whole / "other" / folder / file.name):
            _check_named(run, world, damaged, caplog)
        assert not list(run.path.rglob("*.executed"))
        shutil.rmtree(run.path)


def _check_named(run, world, damaged, caplog):
    caplog.clear()
    said = damage.named_by(lambda: open_all(run, world))
    if said is not None:
        assert str(damaged.parent) in said
        assert f"train.py --run {run.path}" in said
        assert "\n" not in said
    # without a manifest it is as older programs left it, which the log says
    elif damaged.exists():
        assert damaged.name == "MANIFEST.json"
        json.loads(damaged.read_text())
    else:
        assert damaged.name == "MANIFEST.json"
        assert recorded_stages(run) is None or "has no checksums" in caplog.text


def test_features_without_checksums_are_checked_by_their_numbers(runs, tmp_path):
    whole, world = runs
    run = RunDirectory(tmp_path / "run")
    shutil.copytree(whole / "run", run.path)
    folder = features_folder(run, refitted=True)
    (folder / "MANIFEST.json").unlink()
    load_features(run, world, refitted=True)

    numbers = np.load(folder / "items.npy")
    np.save(folder / "items.npy", numbers * np.nan)
    with pytest.raises(DamagedFile, match=r"items.npy.*finite"):
        load_features(run, world, refitted=True)
    np.save(folder / "items.npy", numbers[1:])
    with pytest.raises(DamagedFile, match="39 items, the World has 40"):
        load_features(run, world, refitted=True)
