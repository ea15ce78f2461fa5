"""Every mistake of a user is one line, the contract's exit code, no traceback, and nothing
half-written.
"""

from __future__ import annotations

import fcntl
import shutil
from pathlib import Path

import pytest

from socialrec_jax.config import Config
from socialrec_jax.pipeline import console
from socialrec_jax.training.auto_config import auto_config
from tests.pipeline.short_run import TINY
from tests.workers import call, fresh_python
from tests.worlds import events_of, world_of


def fails(code: int, *arguments) -> str:
    """What a call that exits with code prints on standard error."""
    ended = call(*arguments)
    assert ended.code == code, ended.output + ended.errors
    assert "Traceback" not in ended.errors + ended.output
    return ended.errors.strip()


def fails_in_one_line(code: int, *arguments) -> str:
    said = fails(code, *arguments)
    assert len(said.splitlines()) == 1, said
    return said


def shop(folder: Path, header: str, *lines: str) -> Path:
    folder.mkdir(parents=True)
    (folder / "events.csv").write_text("\n".join([header, *lines]) + "\n")
    return folder


def test_what_the_data_lack_is_said(tmp_path, capsys):
    world = world_of(tmp_path, events_of([[0, 1, 2], [1, 2, 0]]), num_items=3)
    counts = {"users": 2, "items": 3, "events": 6, "rejected": {}, "social_edges": 0}
    world = world.with_manifest({**world.manifest, "counts": counts, "time_max": 2_000_000})
    console.describe(world, auto_config(Config(), world))
    said = capsys.readouterr().out
    assert "no product texts" in said
    assert "no friends" in said


@pytest.mark.parametrize(
    ("code", "header", "lines", "expected"),
    [
        (65, "user,timestamp", ["1,1"], "item"),
        (65, "user,item,timestamp", [], "events"),
        (65, "user,item,timestamp", ["1,2,nan", "1,3,nan", "2,2,5"], "timestamp"),
        (65, "user,item,timestamp", ["1,2,yesterday", "1,3,4", "2,2,5"], "timestamp"),
        (65, "user,item", ["1,2"], "timestamp"),
        (64, "user,item,timestamp", ["1,2,3", "2,3,4"], "nothing to learn"),
    ],
    ids=[
        "missing column",
        "empty file",
        "NaN times",
        "words for times",
        "no times",
        "one event a user",
    ],
)
def test_bad_tables(tmp_path, code, header, lines, expected):
    data = shop(tmp_path / "shop", header, *lines)
    assert expected in fails_in_one_line(
        code, "train.py", "--data", data, "--run", tmp_path / "run", *TINY
    )
    assert not list((tmp_path / "run").glob("checkpoints/*")), "nothing was trained"
    assert not list(tmp_path.rglob("*.partial")), "nothing is half-written"


@pytest.mark.parametrize("arguments", [("--run", ""), ("--data=",), ("--add", "")])
def test_an_empty_path_is_not_the_working_folder(arguments):
    assert "is empty" in fails_in_one_line(64, "train.py", *arguments)


def test_a_file_is_no_run(tmp_path):
    (tmp_path / "file").write_text("")
    assert "is a file" in fails_in_one_line(64, "train.py", "--run", tmp_path / "file")


def test_missing_data_and_missing_run(tmp_path, small_run):
    assert "nowhere" in fails_in_one_line(
        66, "train.py", "--data", tmp_path / "nowhere", "--run", tmp_path / "run"
    )
    out = tmp_path / "out.parquet"
    assert "no run directory" in fails_in_one_line(
        66, "serve.py", "recommend", "--run", tmp_path / "no", "--out", out
    )
    missing = tmp_path / "nofolder" / "out.parquet"
    fails_in_one_line(66, "serve.py", "recommend", "--run", small_run / "run", "--out", missing)


def test_options_are_checked_with_a_suggestion(tmp_path):
    assert "--model.width" in fails(64, "train.py", "--model.widht", 8)
    assert "--model.width" in fails(64, "train.py", "--model.width", "broad")
    run = ("--run", tmp_path / "run")
    assert "16..1024" in fails_in_one_line(64, "train.py", *run, "--model.width", 1)
    assert "num-heads" in fails_in_one_line(64, "train.py", *run, "--model.width", 33)
    assert "recommend" in fails_in_one_line(64, "serve.py", "recomend", *run)


def test_a_run_keeps_its_data_and_its_settings(tmp_path, small_run):
    other = shop(tmp_path / "other", "user,item,timestamp", *[f"1,{i},{i}" for i in range(9)])
    assert "other data" in fails_in_one_line(
        65, "train.py", "--data", other, "--run", small_run / "run"
    )
    said = fails_in_one_line(64, "train.py", "--run", small_run / "run", "--model.width", 48)
    assert "--model.width" in said


def test_a_locked_run_is_left_alone(small_run):
    with (small_run / "run" / "lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert "in use by process" in fails_in_one_line(75, "train.py", "--run", small_run / "run")


@pytest.mark.parametrize(
    ("code", "options", "expected"),
    [
        (64, ("--k", "10000"), "catalogue"),
        (64, ("--k", "0"), "catalogue"),
        (65, ("--allow", "{unknown}"), "unknown"),
        (65, ("--users", "{unknown}"), "unknown"),
        (66, ("--block", "nowhere.txt"), "nowhere.txt"),
        (64, ("--as-of", "someday"), "someday"),
        (64, ("--users", "{unknown}", "--histories", "{unknown}"), "--histories"),
        (66, ("--histories", "nowhere"), "nowhere"),
    ],
)
def test_serve_mistakes(tmp_path, small_run, code, options, expected):
    (tmp_path / "unknown.txt").write_text("no-such-thing\n")
    options = [option.replace("{unknown}", str(tmp_path / "unknown.txt")) for option in options]
    out = tmp_path / "out.parquet"
    said = fails_in_one_line(
        code, "serve.py", "recommend", "--run", small_run / "run", "--out", out, *options
    )
    assert expected in said
    assert sorted(path.name for path in tmp_path.iterdir()) == ["unknown.txt"], (
        "nothing half-written"
    )


def test_an_output_that_is_no_table(tmp_path, small_run):
    said = fails_in_one_line(
        64, "serve.py", "recommend", "--run", small_run / "run", "--out", tmp_path / "out.xlsx"
    )
    assert ".parquet" in said


def test_a_damaged_checkpoint_is_named(tmp_path, small_run):
    run = tmp_path / "run"
    shutil.copytree(small_run / "run", run)
    for manifest in run.glob("checkpoints/*/*/MANIFEST.json"):
        file = max(
            (f for f in manifest.parent.rglob("*") if f.is_file()), key=lambda f: f.stat().st_size
        )
        file.write_bytes(file.read_bytes()[:-1] + b"?")
    said = fails(74, "train.py", "--run", run)
    assert "no whole checkpoint" in said.splitlines()[-1]
    said = fails_in_one_line(
        74, "serve.py", "recommend", "--run", run, "--out", tmp_path / "out.parquet"
    )
    assert "is damaged" in said


@pytest.mark.parametrize(
    "words", [["train.py"], ["serve.py"], ["serve.py", "recommend"]], ids=" ".join
)
def test_help_answers_at_once_and_without_jax(words):
    ended = fresh_python("-X", "importtime", *words, "--help")
    assert ended.code == 0
    assert " jax" not in ended.errors, "its import takes seconds"
