"""What a damaged run says: one line and the contract's code; and what is mended by training on."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from socialrec_jax.data.synthetic import write_tables
from tests import damage
from tests.pipeline.test_mistakes import fails, fails_in_one_line
from tests.workers import call

pytestmark = pytest.mark.usefixtures("short_ranker_training")


@pytest.fixture
def run(small_run, tmp_path) -> Path:
    shutil.copytree(small_run / "run", tmp_path / "run")
    return tmp_path / "run"


def serve(run: Path):
    return call("serve.py", "recommend", "--run", run, "--out", run.parent / "out.parquet")


def says(run: Path, *more, code: int = 74) -> str:
    out = run.parent / "out.parquet"
    out.unlink(missing_ok=True)
    said = fails_in_one_line(code, "serve.py", "recommend", "--run", run, "--out", out, *more)
    assert not out.exists()
    return said


FILES = [
    *("world/user_ids.utf8.npy", "world/events/items.npy", "world/manifest.json"),
    *("features/refit/items.npy", "features/refit/together.npz", "text/vectors.npy"),
    *("checkpoints/refit/*/MANIFEST.json", "checkpoints/ranker/*/state/d/*"),
]


@pytest.mark.parametrize("pattern", FILES)
def test_serving_names_a_damaged_file(run, pattern):
    file = max(run.glob(pattern))
    damage.header(file, file)
    said = says(run)
    assert f"{file} is damaged" in said
    assert "train.py" in said


@pytest.mark.parametrize(
    "part", ["checkpoints/ranker", "checkpoints/refit", "features/refit", "text/vectors.npy"]
)
def test_what_a_run_has_trained_and_is_gone_is_no_other_answer(run, part):
    path = run / part
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert str(path) in says(run)


def test_a_changed_configuration_is_named(run):
    config = json.loads((run / "config.json").read_text())
    config["model"]["temperature"] *= 2
    (run / "config.json").write_text(json.dumps(config))
    assert "model.temperature was" in says(run, code=65)

    (run / "config.json").unlink()
    said = fails_in_one_line(66, "train.py", "--run", run)
    assert "has checkpoints and no config.json" in said
    assert not (run / "sample").exists()


def test_a_model_of_another_version_is_named(run):
    """Checkpoints without a version are compared by names and shapes."""
    from socialrec_jax.inference import load, load_checks

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(load, "PARAMETERS_VERSION", 2)
        assert serve(run).code == 0
        patch.setattr(load_checks, "parameter_shapes", lambda model: {})
        assert "by a version whose model differs" in says(run, code=65)


def contents(run: Path) -> dict[str, bytes]:
    """What serving reads: all but the report, which has times in it, and the locks."""
    folders = ("world", "features", "text", "checkpoints")
    files = [file for folder in folders for file in (run / folder).rglob("*") if file.is_file()]
    return {str(file.relative_to(run)): file.read_bytes() for file in files}


def test_training_on_mends_what_can_be_made_again(run, small_run, caplog):
    before = contents(run)
    for pattern in FILES[:2] + FILES[3:6]:
        file = max(run.glob(pattern))
        damage.header(file, file)
    shutil.rmtree(run / "features" / "evaluated")
    ended = call("train.py", "--data", small_run / "0", "--run", run)
    assert ended.code == 0, ended.errors
    for name in ("world", "features/refit", "text"):
        lines = [line for line in caplog.messages if str(run / name) in line]
        assert any("made again" in line for line in lines)
    after = contents(run)
    assert [name for name in before if before[name] != after.get(name)] == []
    assert call("train.py", "--run", run, "--verify").code == 0


def test_a_refit_without_a_whole_step_is_trained_again(run, small_run, caplog):
    files = sorted((run / "checkpoints" / "refit").glob("*/state/d/*"))
    for file in files:
        damage.cut(file, file)
    ended = call("train.py", "--data", small_run / "0", "--run", run)
    assert ended.code == 0, ended.errors
    assert "the stage is trained again" in caplog.text
    assert serve(run).code == 0


def test_a_world_that_lost_its_manifest_becomes_the_same_one_or_none(run, small_run, tmp_path):
    manifest = run / "world" / "manifest.json"
    before = manifest.read_bytes()
    manifest.unlink()
    said = says(run, code=66)
    assert "holds no World" in said

    write_tables(tmp_path / "other", num_users=60, num_items=40, events_per_user=6, seed=1)
    arguments = ("train.py", "--run", run, "--data")
    assert "makes another World" in fails(65, *arguments, tmp_path / "other")
    assert call(*arguments, small_run / "0").code == 0
    assert manifest.read_bytes() == before


def test_verify_names_every_damage_and_changes_nothing(run, caplog):
    for pattern in ("world/events/items.npy", "features/evaluated/words.npz", "report.html"):
        file = max(run.glob(pattern))
        damage.one_byte(file, file)
    before = {file: file.read_bytes() for file in run.rglob("*") if file.is_file()}
    ended = call("train.py", "--run", run, "--verify")
    assert ended.code == 74
    for name in ("items.npy", "words.npz", "report.html"):
        assert name in caplog.text
    assert "whole  checkpoint retriever" in ended.output
    after = {file: file.read_bytes() for file in run.rglob("*") if file.is_file()}
    assert after == before


def test_a_read_only_run_serves(run):
    os.chmod(run, 0o555)
    try:
        assert serve(run).code == 0
    finally:
        os.chmod(run, 0o755)


@pytest.mark.parametrize("part", ["text/vectors.npy", "checkpoints/ranker", "checkpoints/refit"])
def test_models_of_an_append_are_not_trained_otherwise(grown_run, tmp_path, part):
    """The append makes the same ones again, a training of the generation would not."""
    run = Path(shutil.copytree(grown_run / "run", tmp_path / "run", symlinks=True))
    generation = max((run / "generations").glob("[1-9]*"), key=lambda folder: int(folder.name))
    path = generation / part
    shutil.rmtree(path) if path.is_dir() else damage.header(path, path)
    before = contents(generation)
    said = fails_in_one_line(74, "train.py", "--run", generation)
    assert f"{path} is damaged" in said
    assert "give --add once more" in said
    assert contents(generation) == before
