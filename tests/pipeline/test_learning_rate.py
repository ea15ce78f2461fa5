"""A lower learning rate for what is left of a run is taken, written down, and changes no key."""

from __future__ import annotations

import dataclasses
import json

import pytest

from socialrec_jax.config import Config
from socialrec_jax.errors import UsageError
from socialrec_jax.inference.artefacts import write_record
from socialrec_jax.pipeline import learning_rate
from socialrec_jax.pipeline.settings import check_settings, with_absolute_paths
from socialrec_jax.runtime.run import RunDirectory

START = Config()


def with_rate(rate: float) -> Config:
    return dataclasses.replace(START, train=dataclasses.replace(START.train, learning_rate=rate))


@pytest.fixture
def run(tmp_path) -> RunDirectory:
    run = RunDirectory(tmp_path)
    run.write_config(START)
    return run


def test_a_lower_rate_is_taken_and_a_higher_one_refused(run):
    check_settings(run, with_rate(1e-3), may_lower_rate=True)
    with pytest.raises(UsageError, match="learning-rate"):
        check_settings(run, with_rate(1e-2), may_lower_rate=True)
    # An append trains with a share of it, and does not change it.
    with pytest.raises(UsageError, match="learning-rate"):
        check_settings(run, with_rate(1e-3))


def test_every_change_is_written_down_once(run):
    for rate in (2e-3, 1e-3):
        # Given again after a kill between the record and config.json.
        for _ in range(2):
            learning_rate.write_down(run, with_rate(rate))
        run.write_config(with_rate(rate))
    lines = (run.path / "learning_rates.jsonl").read_text().splitlines()
    assert [json.loads(line)["to"] for line in lines] == [2e-3, 1e-3]
    assert learning_rate.at_start(run, run.config()) == START
    assert learning_rate.rate_share(run, run.config()) == pytest.approx(0.25)


def test_a_run_without_changes_has_its_own_rate(run):
    assert learning_rate.rate_share(run, START) == 1
    assert not learning_rate.is_lowered(run, START)


def test_a_finished_run_has_nothing_left_to_train(run):
    for name in ("report.json", "report.html"):
        (run.path / name).touch()
    write_record(run, ["retriever"])
    with pytest.raises(UsageError, match="trained to its end"):
        check_settings(run, with_rate(1e-3), may_lower_rate=True)


def test_paths_do_not_depend_on_the_working_folder(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = dataclasses.replace(START.text, pretrained="gpt2")
    relative = dataclasses.replace(START, text=text)
    absolute = with_absolute_paths(RunDirectory(tmp_path / "new"), relative)
    assert absolute.text.pretrained == str(tmp_path / "gpt2")
    # A run that was started with a relative path keeps it.
    run.write_config(relative)
    assert with_absolute_paths(run, relative) == relative
