"""The feedback loop: a small_run run takes in new tables, and loses nothing, whatever happens."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
from pathlib import Path

import duckdb
import jax
import numpy as np
import pyarrow.parquet as pq
import pytest

from socialrec_jax.data.impressions import Impressions
from socialrec_jax.data.world import BEFORE_TEST
from socialrec_jax.inference.artefacts import write_record
from socialrec_jax.inference.engine import Engine
from socialrec_jax.pipeline import update as update_stage
from socialrec_jax.pipeline.update_comparison import is_new_ranker
from socialrec_jax.runtime import checkpoint
from socialrec_jax.runtime.generations import Generations
from socialrec_jax.runtime.run import RunDirectory
from tests.pipeline.short_run import FEW_PASSES
from tests.workers import call, done

WITHOUT_TRAINING = ("--update.epochs", 0, "--update.max-rate", 1000)


pytestmark = pytest.mark.usefixtures("short_ranker_training")


@pytest.fixture
def run(small_run, tmp_path):
    """A copy of the run that a test may change."""
    return RunDirectory(shutil.copytree(small_run / "run", tmp_path / "run", symlinks=True))


@pytest.fixture
def grown(grown_run, tmp_path):
    """A copy of the run that has learnt folder 1."""
    return RunDirectory(shutil.copytree(grown_run / "run", tmp_path / "grown", symlinks=True))


def add(run: RunDirectory, tables: Path, *options) -> str:
    return done("train.py", "--run", run.path, "--add", tables, *options)


def digests(folder: Path) -> dict[str, str]:
    """Hashes of all that decides what a generation answers and trains next."""
    kept = ("world", "checkpoints", "text", "features")
    files = [file for name in kept for file in (folder / name).rglob("*") if file.is_file()]
    return {
        str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in files
        # Orbax writes the time of day, and the progress has seconds.
        if file.suffix != ".json" or file.parent.name == "world"
        if "_METADATA" not in file.name and "manifest.ocdbt" not in file.name
    }


def states(run: RunDirectory, number: int) -> tuple:
    """Parameters that serve, and the decision."""
    generations = Generations(run)
    engine = Engine.load(generations.directory(number).path)
    record = generations.record(number)
    params = [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(engine.variables)]
    return params, record["before"], record["held_out"], record["promoted"]


def test_new_tables_make_generations_that_all_stay_open(grown, grown_run, small_run):
    run, printed = grown, (grown_run / "printed.txt").read_text()
    assert printed.splitlines()[-1].startswith("generation 1: ")
    # The same command again changes nothing.
    files = digests(run.path / "generations" / "1")
    again = add(run, small_run / "1", *FEW_PASSES)
    assert again.splitlines()[-1] == printed.splitlines()[-1]
    assert digests(run.path / "generations" / "1") == files
    printed = add(run, small_run / "2", *FEW_PASSES, "--update.ranker")
    assert "ranker  old ndcg@10" in printed

    generations = Generations(run)
    assert generations.current == 2
    first, second = generations.record(1), generations.record(2)
    assert first["ranker"] is None
    assert second["ranker"]["old"]["events"] > 100
    assert first["learnt"] == (1 if first["promoted"] else 0)
    assert second["learnt"] == (2 if second["promoted"] else first["learnt"])
    opened = [Engine.load(run.path / "generations" / str(number)) for number in range(3)]
    numbers = [len(engine.world.events.items) for engine in opened]
    assert numbers == sorted(numbers)
    assert len(Engine.load(run.path).world.events.items) == numbers[2]
    assert Engine.load(run.path, BEFORE_TEST).reranker is not None

    done("train.py", "--run", run.path, "--rollback")
    assert len(Engine.load(run.path).world.events.items) == numbers[1]
    done("train.py", "--run", run.path, "--rollback")
    assert call("train.py", "--run", run.path, "--rollback").code == 64


class Killed(BaseException):
    """Stands for SIGKILL: nothing of the program handles it."""


def test_kills_lose_nothing(run, small_run, uninterrupted, monkeypatch):
    """One append is killed three times, each time later, and goes on each time."""
    config = dataclasses.replace(run.config(), update=uninterrupted[0])
    places = [
        (checkpoint.Checkpoints, "_commit"),  # of the model that is compared
        (update_stage, "_write_counts"),
        (Generations, "promote"),
    ]
    for owner, name in places:
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, dies)
            with pytest.raises(Killed):
                update_stage.add(run, small_run / "1", config)
        assert Generations(run).current == 0
    update_stage.add(run, small_run / "1", config)
    assert Generations(run).current == 1
    assert states(run, 1) == uninterrupted[1]


def dies(*arguments, **options):
    """Stands for a function in which the program is killed."""
    raise Killed


@pytest.fixture(scope="module")
def uninterrupted(grown_run):
    """The settings of an append, and what it comes to without interruption."""
    run = RunDirectory(grown_run / "run")
    return Generations(run).directory(1).config().update, states(run, 1)


def test_what_differs_too_much_is_refused_and_the_next_day_accepted(run, small_run, tmp_path):
    before = digests(run.path)
    again = call("train.py", "--run", run.path, "--add", small_run / "0", *FEW_PASSES)
    assert again.code == 65
    assert "known already" in again.errors

    (tmp_path / "poison").mkdir()
    events = small_run / "1" / "events.parquet"
    duckdb.sql(f"""COPY (SELECT "user", item, timestamp, 'comment' AS event_type FROM '{events}')
                   TO '{tmp_path / "poison" / "events.parquet"}'""")
    refused = call("train.py", "--run", run.path, "--add", tmp_path / "poison", *FEW_PASSES)
    assert refused.code == 65
    assert "another type" in refused.errors
    assert Generations(run).finished() == []
    assert {name: before[name] for name in digests(run.path)} == before
    add(run, small_run / "1", *WITHOUT_TRAINING)


def test_events_that_the_model_cannot_predict_are_refused(run, small_run):
    report = json.loads(run.report.read_text())
    report["test"]["ranker"]["ndcg@10"] = 1e6
    run.report.write_text(json.dumps(report))
    changed = call("train.py", "--run", run.path, "--add", small_run / "1", *FEW_PASSES)
    assert changed.code == 74
    write_record(run)
    refused = call("train.py", "--run", run.path, "--add", small_run / "1", *FEW_PASSES)
    assert refused.code == 65
    assert "predicts the new events" in refused.errors


def test_recent_events_without_training_equal_an_append_without_training(run, small_run, tmp_path):
    recent, appended = tmp_path / "recent.parquet", tmp_path / "appended.parquet"
    recommend = ("serve.py", "recommend", "--run", run.path, "--out")
    done(*recommend, recent, "--recent", small_run / "2")
    assert Generations(run).current == 0
    add(run, small_run / "2", *WITHOUT_TRAINING)
    done(*recommend, appended)
    assert pq.read_table(recent).equals(pq.read_table(appended))
    late = call(*recommend, recent, "--recent", small_run / "2", "--as-of", "test")
    assert late.code == 64


def test_new_items_alone_can_be_recommended_by_their_texts(run, tmp_path):
    tables = tmp_path / "tables"
    tables.mkdir()
    (tables / "items.csv").write_text("item,title\nfresh,coffee brush\nblank,\n")
    printed = add(run, tables, *FEW_PASSES)
    assert "nothing was trained" in printed

    engine = Engine.load(run.path)
    fresh, blank = engine.world.items.ids.lookup(["fresh", "blank"])
    assert engine.texts[fresh].any()
    assert not engine.texts[blank].any()
    gate = np.asarray(engine.variables["params"]["items"]["gate"])
    kernel = np.asarray(engine.variables["params"]["items"]["project"]["kernel"])
    from_text = gate * (engine.texts[fresh] @ kernel)
    from_text /= np.linalg.norm(from_text)
    np.testing.assert_allclose(np.asarray(engine.catalogue)[fresh], from_text, atol=1e-5)


def test_a_comparison_that_was_not_made_is_named():
    record = {"number": 1, "held_out": None, "promoted": False}
    compared_none = update_stage.summary(record | {"trained": True})
    assert "nothing was compared" in compared_none
    assert "nothing was trained" not in compared_none
    assert "nothing was trained" in update_stage.summary(record | {"trained": False})


def test_the_ranker_learns_from_lists_that_come_back(run, small_run, tmp_path):
    tables = Path(shutil.copytree(small_run / "1", tmp_path / "tables"))
    recommend = ("serve.py", "recommend", "--run", run.path, "--k", 30, "--reasons", "off")
    done(*recommend, "--explore", 1, "--out", tables / "recommended.parquet")
    served = pq.read_table(tables / "recommended.parquet")
    assert served["explored"].to_numpy(zero_copy_only=False).all()

    printed = add(run, tables, *WITHOUT_TRAINING)
    assert f"recommended  {len(served):,} rows" in printed
    assert "lists seen" in printed
    generation = Generations(run).directory(1)
    kept = Impressions.load(generation.path)
    assert kept is not None
    assert len(kept) == len(served)

    compared = Generations(run).record(1)["ranker"]
    files = digests(generation.path)
    ranker = {files[name] for name in files if "/ranker/" in name}
    updated = {files[name] for name in files if "/ranker-update/" in name}
    assert updated
    assert (ranker == updated) == is_new_ranker(compared)
    assert Engine.load(run.path).reranker is not None


def test_lists_without_events_are_refused_with_the_reason(run, tmp_path):
    (tmp_path / "recommended.csv").write_text("user_id,item_id,rank\nu1,i1,1\n")
    ended = call("train.py", "--run", run.path, "--add", tmp_path)
    assert ended.code == 66
    assert "lists alone teach nothing" in ended.errors


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (("--add", "nowhere"), 66),
        (("--add", "nowhere", "--rollback"), 64),
        (("--add", "nowhere", "--verify"), 64),
        (("--rollback",), 64),
    ],
)
def test_mistakes(run, options, code):
    ended = call("train.py", "--run", run.path, *options)
    assert ended.code == code, ended.errors
    assert len(ended.errors.strip().splitlines()) == 1
