"""A whole train.py in two processes of two devices ends as in one of four, and serve.py in two says
what one says.
"""

from __future__ import annotations

import json
from pathlib import Path

import duckdb
import pyarrow.dataset
import pyarrow.parquet as pq
import pytest

from socialrec_jax.data.synthetic import write_tables
from socialrec_jax.data.world import World
from socialrec_jax.errors import USAGE
from socialrec_jax.serving import writer
from socialrec_jax.serving.recommender import Recommender
from tests import workers

SMALL = (
    *("--preset", "tiny", "--model.width", 16, "--model.num-layers", 1),
    *("--model.social-queries", 0, "--train.epochs", 1, "--train.evaluations", 1),
    *("--text.width", 16, "--text.num-layers", 1, "--text.vocabulary", 300, "--text.epochs", 1),
)
# Devices wait for each other in each step.
TRAIN = "from tests.pipeline import short_run; short_run.main(num_steps=8)"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hosts")
    write_tables(folder / "shop", num_users=60, num_items=40, events_per_user=6, seed=0)
    return folder


def train(folder: Path, processes: int, devices: int) -> Path:
    run = folder / f"{processes}x{devices}"
    command = ("-c", TRAIN, "--data", folder / "shop", "--run", run, *SMALL)
    workers.launch(*command, processes=processes, devices=devices)
    return run


@pytest.fixture(scope="module")
def together(folder):
    """The run of two processes."""
    return train(folder, 2, 2)


def test_two_processes_report_what_one_reports(folder, together):
    alone = train(folder, 1, 4)
    report_of_two, report_of_one = (
        json.loads((run / "report.json").read_text()) for run in (together, alone)
    )
    for part in ("validation", "test"):
        assert report_of_two[part].keys() == report_of_one[part].keys()
        for model, metrics in report_of_one[part].items():
            assert report_of_two[part][model] == pytest.approx(metrics, abs=1e-3), (
                f"{model} on {part}"
            )


def test_more_devices_compile_hardly_more_programs(together):
    """A program of one process is for all its devices: so it is few also in test_walk.py."""
    stages = json.loads((together / "report.json").read_text())["timeline"]["stages"]
    assert sum(stage["programs"] for stage in stages) <= 32


def test_processes_of_a_job_write_files_of_their_own_users(folder, together, monkeypatch):
    """They do not connect for it: each is called here as its launcher starts it."""
    users = World.open(together / "world").user_ids.tolist()
    monkeypatch.setenv("JAX_COORDINATOR_ADDRESS", "127.0.0.1:1")  # where nobody answers
    monkeypatch.setenv("JAX_NUM_PROCESSES", "2")
    for number in range(2):
        monkeypatch.setenv("JAX_PROCESS_ID", str(number))
        own, out = folder / f"users-{number}.txt", folder / f"lists-{number}.parquet"
        own.write_text("\n".join(users[number::2]))
        workers.done("serve.py", "recommend", "--run", together, "--users", own, "--out", out)
    writer.write_tables(folder / "whole.parquet", [Recommender.load(together).recommend()])
    assert lists(folder / "lists-*.parquet") == lists(folder / "whole.parquet")


def test_two_processes_write_the_shards_of_one_file(folder, together):
    command = ("serve.py", "recommend", "--run", together, "--out")
    shards = (folder / "shards", "--shards", 5)
    workers.launch(*command, *shards, processes=2, devices=2)
    workers.launch(*command, folder / "one.parquet", devices=2)
    table = pyarrow.dataset.dataset(folder / "shards", format="parquet").to_table()
    assert table == pq.read_table(folder / "one.parquet")
    success = json.loads((folder / "shards" / "_SUCCESS").read_text())
    assert (success["rows"], len(success["shards"])) == (table.num_rows, 5)

    # Another start has nothing to do; another command is refused.
    assert workers.call(*command, *shards).code == 0
    refused = workers.call(*command, *shards, "--k", 3)
    assert refused.code == USAGE
    assert "another k:" in refused.errors
    assert refused.errors.count("\n") == 1


def lists(files: Path) -> list[tuple]:
    with duckdb.connect() as database:
        return database.execute(
            f"select user_id, rank, item_id from '{files}' order by all"
        ).fetchall()
