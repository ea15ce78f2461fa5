"""Shards together are what one file would be, whoever wrote them and whenever it was killed."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet as pq
import pytest

from socialrec_jax.errors import (
    TERMINATED,
    BadData,
    DiskError,
    InputMissing,
    RunLocked,
    UsageError,
)
from socialrec_jax.runtime import cli, processes, user_progress
from socialrec_jax.runtime.run import held_lock
from socialrec_jax.serving import shards
from socialrec_jax.serving.command import command_of
from socialrec_jax.serving.shards import check_folder, is_folder, write_shards
from socialrec_jax.serving.user_tables import UserTables
from socialrec_jax.serving.writer import write_tables
from tests import damage, workers

COLUMNS = pa.schema([("user_id", pa.int64()), ("rank", pa.int32())])
USERS = 60
COMMAND = {"task": "recommend", "k": 3}


def rows_of(users: slice, seconds: float = 0):
    """Some rows of each user, two users at a time; every fifth user has none."""
    for pair in pairs_of(range(USERS)[users]):
        time.sleep(seconds)
        rows = [(user, rank) for user in pair for rank in range(1, user % 5 + 1)]
        ids, ranks = ([row[column] for row in rows] for column in (0, 1))
        yield len(pair), pa.table({"user_id": ids, "rank": ranks}, schema=COLUMNS)


def pairs_of(users: range) -> list[range]:
    return [users[begin : begin + 2] for begin in range(0, len(users), 2)]


ANSWER = UserTables(USERS, COLUMNS, rows_of)


def load() -> UserTables:
    return ANSWER


def not_loaded() -> UserTables:
    raise AssertionError("everything is written already")


def read(folder: Path) -> pa.Table:
    return pyarrow.dataset.dataset(folder, format="parquet").to_table()


@pytest.fixture
def whole(tmp_path) -> pa.Table:
    write_tables(tmp_path / "whole.parquet", ANSWER.tables())
    return pq.read_table(tmp_path / "whole.parquet")


def files_of(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


@pytest.mark.parametrize("number", [None, 1, 7, 100])
def test_shards_in_the_order_of_their_names_are_one_file(tmp_path, whole, number):
    folder = tmp_path / "out"
    write_shards(folder, COMMAND, number, load)
    names = [f"part-{shard:05d}.parquet" for shard in range(number or 1)]
    assert files_of(folder) == sorted(["_SUCCESS", "_lock", "_manifest.json", *names])
    assert read(folder) == whole

    success = json.loads((folder / "_SUCCESS").read_text())
    assert success["rows"] == whole.num_rows
    assert [shard["file"] for shard in success["shards"]] == names
    for shard in success["shards"]:
        assert shard["rows"] == pq.read_table(folder / shard["file"]).num_rows
        content = (folder / shard["file"]).read_bytes()
        assert shard["sha256"] == hashlib.sha256(content).hexdigest()


def test_a_finished_folder_is_left_alone(tmp_path):
    write_shards(tmp_path / "out", COMMAND, 4, load)
    times = {file: file.stat().st_mtime_ns for file in tmp_path.rglob("part*")}
    write_shards(tmp_path / "out", COMMAND, None, not_loaded)
    assert {file: file.stat().st_mtime_ns for file in tmp_path.rglob("part*")} == times


def test_only_missing_and_damaged_shards_are_written(tmp_path, whole):
    folder = tmp_path / "out"
    write_shards(folder, COMMAND, 4, load)
    success = (folder / "_SUCCESS").read_text()
    times = {name: (folder / name).stat().st_mtime_ns for name in files_of(folder)}
    (folder / "part-00001.parquet").unlink()
    (folder / "part-00002.parquet").write_bytes(b"")

    write_shards(folder, COMMAND, None, load)
    assert read(folder) == whole
    assert (folder / "_SUCCESS").read_text() == success
    for name in ("part-00000.parquet", "part-00003.parquet"):
        assert (folder / name).stat().st_mtime_ns == times[name]


def test_a_byte_of_a_finished_shard_is_noticed(tmp_path, whole):
    folder = tmp_path / "out"
    write_shards(folder, COMMAND, 4, load)
    damage.header(folder / "part-00001.parquet", folder)
    write_shards(folder, COMMAND, None, load)
    assert read(folder) == whole

    damage.cut(folder / "_SUCCESS", folder)
    write_shards(folder, COMMAND, None, load)
    assert json.loads((folder / "_SUCCESS").read_text())["rows"] == whole.num_rows

    damage.cut(folder / "_manifest.json", folder)
    with pytest.raises(DiskError, match=r"_manifest.json is damaged.*delete"):
        write_shards(folder, COMMAND, None, load)


def test_another_command_is_refused(tmp_path):
    write_shards(tmp_path / "out", COMMAND, 4, load)
    with pytest.raises(UsageError, match="another k:"):
        write_shards(tmp_path / "out", COMMAND | {"k": 4}, None, not_loaded)
    with pytest.raises(UsageError, match="another number of shards:"):
        write_shards(tmp_path / "out", COMMAND, 5, not_loaded)


def test_a_command_knows_the_contents_of_its_files(tmp_path):
    users, run = tmp_path / "users.txt", tmp_path / "run"
    checkpoint = run / "checkpoints" / "retriever" / "8"
    checkpoint.mkdir(parents=True)
    (checkpoint / "MANIFEST.json").write_text("{}")
    users.write_text("a")
    first = command_of("recommend", run, {"users": users, "k": 3})
    assert command_of("recommend", run, {"users": users, "k": 3}) == first
    assert json.loads(json.dumps(first)) == first

    users.write_text("b")
    assert command_of("recommend", run, {"users": users, "k": 3})["users"] != first["users"]
    (checkpoint / "MANIFEST.json").write_text('{"state": 1}')
    assert command_of("recommend", run, {"users": users, "k": 3})["run"] != first["run"]


def test_a_folder_of_other_files_is_refused(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match="not empty"):
        write_shards(tmp_path / "out", COMMAND, None, not_loaded)
    assert (tmp_path / "out" / "notes.txt").read_text() == "mine"


def test_temporary_files_go_and_hidden_files_of_the_user_stay(tmp_path, whole):
    (tmp_path / "out").mkdir()
    for name in (".hidden", ".part-00000.parquet.x1.parquet", "._SUCCESS.x2"):
        (tmp_path / "out" / name).touch()
    write_shards(tmp_path / "out", COMMAND, 1, load)
    assert [file.name for file in (tmp_path / "out").glob(".*")] == [".hidden"]
    assert read(tmp_path / "out") == whole


def test_one_job_at_a_time(tmp_path):
    with held_lock(tmp_path / "out", "_lock", "wait"), pytest.raises(RunLocked, match="--out"):
        write_shards(tmp_path / "out", COMMAND, None, not_loaded)


def test_no_user_is_a_mistake_that_leaves_nothing(tmp_path):
    nobody = UserTables(0, COLUMNS, rows_of)
    with pytest.raises(BadData, match="nothing to write"):
        write_shards(tmp_path / "out", COMMAND, None, lambda: nobody)
    assert not (tmp_path / "out").exists()

    (tmp_path / "out").mkdir()  # a folder of the user's stays
    with pytest.raises(BadData, match="nothing to write"):
        write_shards(tmp_path / "out", COMMAND, None, lambda: nobody)
    assert files_of(tmp_path / "out") == []


def test_what_names_a_folder():
    assert is_folder(Path("out"), None)
    assert is_folder(Path("out.2024-05-01"), 3)
    assert not is_folder(Path("out.parquet"), None)
    for number in (0, 100_000):
        with pytest.raises(UsageError, match="out of range"):
            check_folder(Path("out"), number)
    with pytest.raises(UsageError, match="must be a folder"):
        check_folder(Path("out.jsonl"), 3)
    with pytest.raises(InputMissing, match="nowhere"):
        check_folder(Path("nowhere/out"), None)


@pytest.mark.parametrize("count", [2, 3])
def test_each_process_writes_its_shards(tmp_path, monkeypatch, whole, count):
    """One after the other here: the last one is the main process, which finds all shards."""
    for process in reversed(range(count)):
        monkeypatch.setattr(processes, "number_and_count", lambda p=process: (p, count))
        if process:
            monkeypatch.setattr(shards._Shards, "finish", lambda *_: None)
        else:
            monkeypatch.undo()
            monkeypatch.setattr(processes, "number_and_count", lambda: (0, count))
            before = sorted(file.name for file in (tmp_path / "out").glob("part*"))
            assert before == [f"part-{s:05d}.parquet" for s in range(5) if s % count]
        write_shards(tmp_path / "out", COMMAND, 5, load)
    assert read(tmp_path / "out") == whole


def test_sigterm_leaves_finished_shards_and_no_temporary_file(tmp_path, whole):
    def terminated(users: slice):
        for done, (count, rows) in enumerate(rows_of(users)):
            if users.start and done == 2:
                os.kill(os.getpid(), signal.SIGTERM)
            yield count, rows

    def load_terminated() -> UserTables:
        return UserTables(USERS, COLUMNS, terminated)

    with pytest.raises(SystemExit) as end:
        cli.main(lambda _: write_shards(tmp_path / "out", COMMAND, 3, load_terminated), [])
    assert end.value.code == TERMINATED
    assert files_of(tmp_path / "out") == ["_lock", "_manifest.json", "part-00000.parquet"]
    write_shards(tmp_path / "out", COMMAND, None, load)
    assert read(tmp_path / "out") == whole


def slow() -> UserTables:
    return UserTables(USERS, COLUMNS, lambda users: rows_of(users, seconds=0.004))


def test_killed_at_random_points_a_rerun_has_every_user_once(tmp_path, whole):
    code = (
        "import sys; from pathlib import Path; from tests.serving import test_shards as t; "
        "from socialrec_jax.serving.shards import write_shards; "
        "print('ready', flush=True); "
        "write_shards(Path(sys.argv[1]), t.COMMAND, 6, t.slow)"
    )
    points = random.Random(0)
    for attempt in range(20):
        folder = tmp_path / f"out-{attempt}"
        process = workers.Process("-c", code, folder)
        process.output.readline()
        time.sleep(points.uniform(0, 0.2))
        process.send_signal(signal.SIGKILL)
        process.wait()
        write_shards(folder, COMMAND, 6, load)
        assert read(folder) == whole
        assert not list(folder.glob(".*")), "temporary files of the killed process"


def test_progress_says_users_rate_and_time_left(monkeypatch, capsys):
    clock = iter([0.0, 1.0, 100.0, 101.0])
    monkeypatch.setattr(user_progress.time, "monotonic", lambda: next(clock))
    users = user_progress.UserProgress(3000)
    for _ in range(3):
        users.advance(500)
    assert capsys.readouterr().err == "1,000/3,000 users  10 users/s  0:03:20 left\n"
