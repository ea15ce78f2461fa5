"""End to end: tables -> World -> steps -> checkpoint -> report -> recommendations, and all of them
agree.
"""

from __future__ import annotations

import json
import re
import shutil
from collections import Counter

import duckdb
import numpy as np
import pytest

from socialrec_jax.data.world import BEFORE_TEST, TEST, World
from socialrec_jax.evaluation import next_type
from socialrec_jax.inference.engine import Engine
from socialrec_jax.runtime import parallel
from tests import workers
from tests.pipeline.conftest import users_without_friends

EVALUATOR = workers.ROOT.parent / "shared" / "tools" / "judge.py"


def call(*arguments) -> str:
    """What a program prints that must succeed, run in this process."""
    return printed(workers.call(*arguments))


def printed(ended: workers.Ended) -> str:
    assert ended.code == 0, ended.output[-2000:] + ended.errors[-2000:]
    return ended.output + ended.errors


def rows(query: str) -> list[tuple]:
    with duckdb.connect() as database:
        return database.execute(query).fetchall()


def test_nothing_compiles_twice(small_run):
    """In text, retriever, its validations, ranker and evaluation. The refit runs what the retriever
    compiled. JAX calls all that is mapped _fun.
    """
    once = ("_encode_items", "_scores", "_project")
    compiled = (
        rf"Compiling jit\((_fun|{'|'.join(once)})\) with global shapes and types (.*?)\. Argument"
    )
    programs = Counter(re.findall(compiled, (small_run / "printed.txt").read_text()))
    trainings = [
        program for program in programs if program[1].startswith("(ShapedArray(int32[]), ")
    ]  # the step
    assert sum(programs[program] for program in trainings) == len(("text", "retriever", "ranker"))
    assert not [
        program for program, times in programs.items() if times > 1 and program not in trainings
    ]
    assert [sum(times for (name, _), times in programs.items() if name == one) for one in once] == [
        1
    ] * len(once)


def test_a_run_has_few_programs_and_says_where_its_time_went(small_run):
    report = json.loads((small_run / "run" / "report.json").read_text())
    stages = {stage["stage"]: stage for stage in report["timeline"]["stages"]}
    assert list(stages) == [
        *("start", "prepare", "text", "retriever", "candidates", "ranker"),
        *("evaluation", "baselines", "report", "refit"),
    ]
    # An operation outside of a compiled function would be a program of its own.
    assert sum(stage["programs"] for stage in stages.values()) <= 32
    assert stages["refit"]["programs"] == 0
    assert stages["retriever"]["compile_seconds"] > 0
    assert stages["retriever"]["device_seconds"] > 0
    assert "Where the time went" in (small_run / "run" / "report.html").read_text()


def test_a_run_directory_explains_itself(small_run):
    run = small_run / "run"
    report = json.loads((run / "report.json").read_text())
    assert {
        "data",
        "split",
        "seed",
        "validation",
        "test",
        "train",
        "environment",
        "segments",
    } <= report.keys()
    baselines = {"popular", "recently popular", "item-kNN", "user-kNN and friends"}
    assert set(report["test"]) == {"ranker", "retriever"} | baselines
    assert set(report["calibration"]) == {"view", "cart", "buy", "comment"}
    assert set(report["next_event"]["test"]) == {"model", "regression on counts"}
    assert report["train"]["trained_events_per_second"] > 0
    assert (run / "report.html").read_text().startswith("<!DOCTYPE html>")
    steps = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert any("loss" in line for line in steps)
    assert any("validation_ndcg@10" in line for line in steps)
    assert list(run.glob("checkpoints/retriever/*/MANIFEST.json"))


def test_the_next_event_is_predicted_by_the_engine_that_serves(small_run):
    """The ranker's counts are part of the prediction, in the report as in a loaded run."""
    report = json.loads((small_run / "run" / "report.json").read_text())
    engine = Engine.load(small_run / "run", BEFORE_TEST)
    world = engine.world
    users, event_rows = next_type.next_type_queries(world, TEST)
    query = engine.query(users, BEFORE_TEST)
    probabilities = engine.next_actions(engine.states(query), query)

    types = world.events.types[event_rows]
    expected = next_type.evaluate(probabilities, types, world.event_types)
    for name, metrics in report["next_event"]["test"]["model"].items():
        assert metrics == pytest.approx(expected[name], rel=1e-5)


@pytest.fixture(scope="module")
def recommended(small_run, tmp_path_factory):
    """Recommendations as of the test part."""
    out = tmp_path_factory.mktemp("recommended") / "test.parquet"
    call(
        "serve.py",
        "recommend",
        "--run",
        small_run / "run",
        "--out",
        out,
        "--as-of",
        "test",
        "--k",
        20,
    )
    return out


def held_out(small_run) -> tuple[World, list[tuple[str, str]]]:
    """(World, (user, item) of every test event whose item the user had not had before)."""
    world = World.open(small_run / "run" / "world")
    pairs = []
    for user in range(world.num_users):
        start, end = world.events.offsets[user : user + 2]
        items, splits = world.events.items[start:end], world.event_splits[start:end]
        had = set(items[splits < 2].tolist())
        pairs += [
            (world.user_ids[user], world.items.ids[i])
            for i in items[splits == 2]
            if int(i) not in had
        ]
    return world, pairs


def test_what_is_served_is_what_was_evaluated(small_run, recommended):
    report = json.loads((small_run / "run" / "report.json").read_text())["test"]["ranker"]
    ranks = {(u, i): r for u, i, r in rows(f"select user_id, item_id, rank from '{recommended}'")}
    _, pairs = held_out(small_run)
    target_ranks = np.array([ranks.get(pair, 10**9) for pair in pairs])
    assert np.mean(target_ranks <= 10) == pytest.approx(report["hr@10"], abs=1e-4)
    assert np.mean(
        np.where(target_ranks <= 10, 1 / np.log2(target_ranks + 1.0), 0)
    ) == pytest.approx(report["ndcg@10"], abs=1e-4)
    assert np.mean(target_ranks <= 20) == pytest.approx(report["hr@20"], abs=1e-4)


@pytest.mark.skipif(
    not EVALUATOR.exists(), reason="the independent evaluator lies outside the repository"
)
def test_an_independent_evaluator_agrees(small_run, recommended, tmp_path):
    report = json.loads((small_run / "run" / "report.json").read_text())["test"]["ranker"]
    _, pairs = held_out(small_run)
    with duckdb.connect() as database:
        database.execute('create table held ("user" varchar, item varchar)')
        database.executemany("insert into held values (?, ?)", pairs)
        database.execute(f"copy held to '{tmp_path / 'held.parquet'}'")
    (output,) = workers.launch(EVALUATOR, recommended, tmp_path / "held.parquet")
    evaluated = json.loads(output)["all"]
    for name in ("hr@10", "ndcg@10", "recall@10", "precision@10", "mrr@10", "hr@20", "ndcg@20"):
        assert evaluated[name] == pytest.approx(report[name], abs=1e-4), name


def test_now_recommends_new_items_to_everybody(small_run, tmp_path):
    out = tmp_path / "now.parquet"
    call("serve.py", "recommend", "--run", small_run / "run", "--out", out)
    world = World.open(small_run / "run" / "world")
    assert rows(f"select count(distinct user_id), min(rank), max(rank) from '{out}'") == [
        (world.num_users, 1, 10)
    ]
    events = small_run / "0" / "events.parquet"
    repeated = f"""select count(*) from '{out}' r join '{events}' e
                   on r.user_id = e."user"::varchar and r.item_id = e.item::varchar"""
    assert rows(repeated) == [(0,)], "history is masked"
    assert rows(
        f"select count(*) from '{out}' where not (p_view between 0 and 1) or explanation is null"
    ) == [(0,)]
    sources = dict(rows(f"select source, count(distinct user_id) from '{out}' group by source"))
    assert sources["popular"] == int((np.diff(world.events.offsets) == 0).sum()), (
        "users without events are served too"
    )


def test_unseen_users_with_the_same_history_and_no_friends_get_the_same(small_run, tmp_path):
    events, unseen, out = (
        small_run / "0" / "events.parquet",
        tmp_path / "unseen",
        tmp_path / "unseen.jsonl",
    )
    unseen.mkdir()
    rows(f"""copy (select 'new' || "user" as "user", * exclude ("user") from '{events}'
             where "user" in ({users_without_friends(small_run / "0")}))
             to '{unseen / "events.parquet"}'""")
    call("serve.py", "recommend", "--run", small_run / "run", "--out", out, "--histories", unseen)
    call("serve.py", "recommend", "--run", small_run / "run", "--out", tmp_path / "all.parquet")
    differing = f"""select count(*), sum((abs(a.score - b.score) > 1e-4)::int),
                    sum((a.item_id <> b.item_id)::int)
                    from '{out}' a join '{tmp_path / "all.parquet"}' b
                    on a.user_id = 'new' || b.user_id and a.rank = b.rank"""
    assert rows(differing) == [(500, 0, 0)]


def test_allow_lists_users_and_repeats(small_run, tmp_path):
    world = World.open(small_run / "run" / "world")
    allowed, users = [world.items.ids[i] for i in range(5)], [world.user_ids[u] for u in (7, 3)]
    (tmp_path / "allow.txt").write_text("\n".join(allowed))
    (tmp_path / "block.txt").write_text(allowed[0])
    (tmp_path / "users.txt").write_text("\n".join(users))
    out = tmp_path / "out.parquet"
    options = (
        "--allow",
        tmp_path / "allow.txt",
        "--block",
        tmp_path / "block.txt",
        "--users",
        tmp_path / "users.txt",
    )
    call("serve.py", "recommend", "--run", small_run / "run", "--out", out, *options, "--repeats")
    assert {item for (item,) in rows(f"select item_id from '{out}'")} == set(allowed[1:])
    assert rows(
        f"select user_id, count(*) from '{out}' group by 1, rank // 10 order by min(rank), 1 desc"
    )
    assert [user for (user,) in rows(f"select user_id from '{out}' where rank = 1")] == users


def test_resuming_a_finished_run_trains_nothing_and_reports_the_same(
    small_run, tmp_path, monkeypatch
):
    """Also where another thread evaluates the baselines, as beside an accelerator."""
    monkeypatch.setattr(parallel, "has_accelerator", lambda: True)
    run = shutil.copytree(small_run / "run", tmp_path / "run")
    before = json.loads((run / "report.json").read_text())
    said = call("train.py", "--run", run)
    after = json.loads((run / "report.json").read_text())
    assert before["test"] == after["test"]
    assert not any(f"{stage}  step" in said for stage in ("text", "retriever", "ranker", "refit"))
    assert after["timeline"]["processes"] == before["timeline"]["processes"] + 1
