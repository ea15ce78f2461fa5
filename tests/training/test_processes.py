"""Two processes with two devices each train as one device does, and share its checkpoints."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests import workers
from tests.training.conftest import LENGTH, same


def train(run: Path, processes: int, devices: int, *options: str) -> Path:
    """The run, trained to its end; its processes end with the same parameters."""
    words = (*LENGTH, *options)
    outputs = workers.run("tests.training.worker", run, devices, *words, processes=processes)
    assert len({out.splitlines()[-1] for out in outputs}) == 1, (
        "replicas of all processes are equal"
    )
    return run


def halfway(finished: Path, run: Path) -> Path:
    """A copy of a finished run that lost what came after its middle."""
    shutil.copytree(finished, run)
    steps = sorted(run.glob("checkpoints/retriever/*"), key=lambda step: int(step.name))
    assert len(steps) == 2
    shutil.rmtree(steps[1])
    return run


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("processes")


@pytest.fixture(scope="module")
def together_by_rows(folder):
    return train(folder / "by-rows", 2, 2, "--tables")


def test_two_processes_train_tables_by_rows_as_one_device(run_on, together_by_rows):
    alone = run_on(1, "--tables")
    same(together_by_rows, alone)
    lines = (together_by_rows / "metrics.jsonl").read_text().splitlines()
    assert len(lines) == len((alone / "metrics.jsonl").read_text().splitlines()), (
        "process 0 alone writes"
    )


# That tables of n devices go on in m is tested in test_row_adagrad.py.
def test_tables_of_two_processes_go_on_in_one(run_on, together_by_rows, tmp_path):
    resumed = train(halfway(together_by_rows, tmp_path / "run"), 1, 1, "--tables")
    same(resumed, run_on(1, "--tables"))


# That several devices train as one is tested in test_devices.py. That one device goes on from
# several is tested above, where tables are not whole on each device.
def test_a_checkpoint_of_eight_devices_goes_on_in_two_processes(run_on, tmp_path):
    run = halfway(run_on(8, "--friends"), tmp_path / "run")
    same(train(run, 2, 2, "--friends"), run_on(1, "--friends"))
