"""Forgetting: a run becomes what it would be had it never seen some users and items."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
from pathlib import Path

import jax
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from socialrec_jax.config import Config
from socialrec_jax.data import impressions
from socialrec_jax.data.world import World
from socialrec_jax.inference.capacity import has_room
from socialrec_jax.inference.load import Loaded, load_run
from socialrec_jax.pipeline import erasure
from socialrec_jax.pipeline import forget as forget_stage
from socialrec_jax.pipeline.id_search import IdSearch
from socialrec_jax.pipeline.next_generation import write_texts
from socialrec_jax.pipeline.ranker_events import new_events
from socialrec_jax.pipeline.update import make_models, open_update
from socialrec_jax.runtime import checkpoint
from socialrec_jax.runtime.generations import Generations
from socialrec_jax.runtime.run import RunDirectory
from tests.pipeline.conftest import NEWCOMER
from tests.pipeline.never_seen import columns_of, world_with_tombstones, write_tables_without
from tests.pipeline.test_update import WITHOUT_TRAINING, Killed, add, dies
from tests.workers import call, done

pytestmark = pytest.mark.usefixtures("short_ranker_training")


@pytest.fixture
def run(grown_run, tmp_path):
    return RunDirectory(shutil.copytree(grown_run / "run", tmp_path / "run", symlinks=True))


def write_list(folder: Path, users: list[str], items: list[str]) -> Path:
    blanks = [""] * len(items), [""] * len(users)
    table = pa.table({"user": users + blanks[0], "item": blanks[1] + items})
    pq.write_table(table, folder / "forget.parquet")
    return folder / "forget.parquet"


def known_users(run: RunDirectory) -> list[str]:
    """Users of the first generation who have a few events."""
    world = World.open(run.path / "generations/0/world")
    return [world.user_ids[int(row)] for row in np.flatnonzero(np.diff(world.events.offsets) > 2)]


def arrays_of(model: Loaded) -> list[bytes]:
    """All arrays of a model that serves: retriever, ranker, what the ranker reads, texts."""
    features = model.features
    assert features is not None
    sparse = [features.item_knn.similarity, features.labels, features.words]
    counts = [part for matrix in sparse for part in (matrix.data, matrix.indices, matrix.indptr)]
    counts += [features.item_popularity, features.next_type.weights]
    leaves = [*jax.tree.leaves((model.params, model.ranker)), *counts, model.texts]
    return [np.asarray(leaf).tobytes() for leaf in leaves]


def answers_of(run: RunDirectory, folder: Path) -> pa.Table:
    out = folder / "recommended.parquet"
    done("serve.py", "recommend", "--run", run.path, "--out", out, "--k", 5)
    return pq.read_table(out)


def test_from_nothing_equals_a_run_that_never_saw_them(run, small_run, tmp_path, monkeypatch):
    users, items = known_users(run)[:2], ["i3"]
    done("serve.py", "recommend", "--run", run.path, "--out", run.path / "mine.jsonl")
    file = write_list(tmp_path, users, items)
    # Two kills while the files of the new generation become those of the run.
    for name in ("_make_first", "_link_file"):
        _forget_and_die(run, file, run.config(), monkeypatch, erasure, name)
    printed = done("train.py", "--run", run.path, "--forget", file)
    assert "none holds their ids" in printed
    files = erasure.files_of(run)
    assert not IdSearch.of([*users, *items]).files_with_ids(files)
    assert not (run.path / "mine.jsonl").exists()
    assert not list(run.path.glob("generation*"))

    tables = write_tables_without([small_run / "0", small_run / "1"], tmp_path / "t", users, items)
    never = RunDirectory(tmp_path / "never")
    world = World.open(run.world)
    made = world_with_tombstones(tables, world, never.world)
    assert columns_of(made) == columns_of(world)
    # Sums over padded rows differ in their last bits, at some sizes.
    assert not has_room(world)
    never.write_config(run.config())
    done("train.py", "--run", never.path)
    for refitted in (False, True):
        pair = [arrays_of(load_run(one.path, refitted)) for one in (run, never)]
        assert pair[0] == pair[1]
    assert answers_of(run, tmp_path).equals(answers_of(never, tmp_path))
    figures = [json.loads(one.report.read_text())["test"] for one in (run, never)]
    assert figures[0] == figures[1]
    # The run goes on like any other, and there is nothing to go back to.
    back = call("train.py", "--run", run.path, "--rollback")
    assert back.code == 64
    assert "forgotten" in back.errors
    add(run, small_run / "1", *WITHOUT_TRAINING, "--update.max-known-share", 1)


def one_epoch(run: RunDirectory) -> Config:
    """The configuration of a run whose updates take an epoch."""
    config = run.config()
    return dataclasses.replace(config, update=dataclasses.replace(config.update, epochs=1))


@dataclasses.dataclass(frozen=True)
class Forgotten:
    """A run whose lists came back, and which has forgotten the newcomer."""

    run: RunDirectory
    said: str
    shown: impressions.Impressions  # before


@pytest.fixture(scope="module")
def without_newcomer(grown_run, tmp_path_factory) -> Forgotten:
    """A copy of the grown run that has forgotten."""
    folder = tmp_path_factory.mktemp("without")
    run = RunDirectory(shutil.copytree(grown_run / "run", folder / "run", symlinks=True))
    shown = impressions_of(run.path / "generations/1")
    said = forget_stage.forget(run, write_list(folder, [NEWCOMER], []), one_epoch(run))
    return Forgotten(run, said, shown)


def test_from_a_generation_that_never_saw_them(grown_run, without_newcomer, small_run, tmp_path):
    run, shown = without_newcomer.run, without_newcomer.shown
    config = one_epoch(run)
    first = Generations(RunDirectory(grown_run / "run")).directory(0).path
    before = shutil.copytree(first, tmp_path / "before", ignore=_without_generations)
    assert Generations(run).finished() == [2]
    assert not IdSearch.of([NEWCOMER]).files_with_ids(erasure.files_of(run))

    # The same update, on a World whose tables never held the user.
    never = Generations(RunDirectory(before))
    number = never.open_next("another key")
    after = never.directory(number)
    sources = [small_run / "0", small_run / "1"]
    tables = write_tables_without(sources, tmp_path / "t", [NEWCOMER], [])
    made = world_with_tombstones(
        tables, World.open(Generations(run).directory(2).world), after.world
    )
    lineage = [World.open(before / "world").manifest["hash"]]
    made = made.with_manifest({**made.manifest, "lineage": lineage})
    made.save_manifest()
    write_texts(RunDirectory(before), after, made)
    never_shown = shown.without_deleted(made)
    assert 0 < len(never_shown) < len(shown)
    never_shown.save(after.path)
    update = open_update(never, 0, number, config)
    record = make_models(update, new_events(update))
    kept = Generations(run).record(2)
    assert record["held_out"] == kept["held_out"]
    assert record["ranker"] == kept["ranker"]
    digests = [
        hashlib.sha256((path / impressions.FILE).read_bytes()).digest()
        for path in (after.path, run.path / "generations/2")
    ]
    assert digests[0] == digests[1]
    # Generations count from 1 here and from 2 there.
    assert arrays_of(load_run(after.path, True)) == arrays_of(load_run(run.path, True))

    copied = RunDirectory(shutil.copytree(run.path, tmp_path / "run", symlinks=True))
    done("train.py", "--run", copied.path, "--rollback")
    assert Generations(copied).current == 0


def impressions_of(generation: Path) -> impressions.Impressions:
    """Lists in random order of which every user took one of two items, kept in a generation."""
    world = World.open(generation / "world")
    events = world.events
    last = np.asarray(events.offsets[1:])[np.diff(events.offsets) > 2] - 1
    users, items = events.owners[last], events.items[last].astype(np.int64)
    others = (items + 1) % world.num_items
    numbers = np.arange(len(last))
    shown = impressions.Impressions(
        users=np.repeat(users, 2).astype(np.int64),
        items=np.stack([items, others], axis=1).ravel(),
        ranks=np.stack([1 + numbers % 2, 2 - numbers % 2], axis=1).ravel(),
        times=np.repeat(events.times[last], 2).astype(np.int64),
        explored=np.ones(2 * len(last), bool),
    )
    shown.save(generation)
    return shown


def _without_generations(folder: str, names: list[str]) -> list[str]:
    return [name for name in names if name.startswith("generation")]


def test_a_kill_loses_nothing(run, without_newcomer, tmp_path, monkeypatch):
    whole, said = without_newcomer.run, without_newcomer.said
    impressions_of(run.path / "generations/1")
    file, config = write_list(tmp_path, [NEWCOMER], []), one_epoch(run)
    places = [
        (checkpoint.Checkpoints, "_commit"),
        (erasure, "begin"),
        (shutil, "rmtree"),
        (erasure, "_record"),
    ]
    for owner, name in places:
        _forget_and_die(run, file, config, monkeypatch, owner, name)
        load_run(run.path, refitted=True)
    assert forget_stage.forget(run, file, config).split(":")[0] == said.split(":")[0]
    assert arrays_of(load_run(run.path, True)) == arrays_of(load_run(whole.path, True))
    assert not IdSearch.of([NEWCOMER]).files_with_ids(erasure.files_of(run))
    # All was done: the same command says so.
    again = forget_stage.forget(run, file, config)
    assert again.startswith("nothing left to forget")
    assert "none holds their ids" in again


def _forget_and_die(run, file, config, monkeypatch, owner, name) -> None:
    """Forget, and die where a function is called."""
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, dies)
        with pytest.raises(Killed):
            forget_stage.forget(run, file, config)


def test_unknown_ids_are_counted(run, tmp_path):
    (tmp_path / "users.txt").write_text("nobody\n\nnowhere\n")
    ended = call("train.py", "--run", run.path, "--forget", tmp_path / "users.txt")
    assert ended.code == 65
    assert "none of the 2 ids" in ended.errors
    assert call("train.py", "--run", run.path, "--forget", tmp_path / "absent").code == 66
    both = call("train.py", "--run", run.path, "--forget", "x", "--rollback")
    assert both.code == 64
