"""The doctor says what preparation does: the same counts, the same errors, all tables at once."""

from __future__ import annotations

import datetime
import json
from pathlib import Path

import duckdb
import numpy as np
import pytest

from socialrec_jax.config import DataConfig
from socialrec_jax.data.__main__ import main
from socialrec_jax.data.prepare.diagnosis_text import as_text
from socialrec_jax.data.prepare.doctor import check
from socialrec_jax.data.prepare.prepare import prepare
from socialrec_jax.data.world import TEST
from socialrec_jax.errors import UserError
from socialrec_jax.evaluation.protocol import held_out
from tests.data.prepare.odd_shops import BEGIN, EVENTS, csv
from tests.data.prepare.small_tables import write_tables

JSON_KEYS = {
    *("files", "columns", "counts", "time", "event_types", "joins", "to_judge", "problems"),
}
ITEMS = csv(("item", "title"), ("i0", "Soap"), ("other", "Hat"))
ATOMIC = f"user_id:token\titem_id:token\ttimestamp:float\nu\ti\t{BEGIN}\nu\tj\t{BEGIN}\n"
USABLE = {
    "own names": {"events.csv": EVENTS, "items.csv": ITEMS, "social/part.csv": "src,dst\nu,v\n"},
    "RecBole": {"x.inter": ATOMIC, "x.net": "source_id:token\ttarget_id:token\nu\tw\n"},
    "no text": {"events.csv": EVENTS, "readme.txt": "x", "items.csv": "item\ni0\ni0\n"},
    "repeats": {"events.csv": EVENTS + EVENTS.split("\n", 1)[1]},
    "own clock": {"events.csv": csv(("user", "item", "time"), ("u", "i", 1), ("u", "j", 2))},
}
MANY_TYPES = [("u", "i", BEGIN + n, n) for n in range(40)]
UNUSABLE = {
    "no table": {"notes.txt": "x"},
    "no item": {"events.csv": EVENTS.replace("item", "thing")},
    "bad rows": {"events.csv": EVENTS + "u,,5\n"},
    "two tables": {"events.csv": EVENTS, "events.tsv": EVENTS},
    "no rows": {"events.csv": "user,item,timestamp\n"},
    "an open quote": {"events.csv": EVENTS, "items.csv": 'item,title\ni0,"Soap\n'},
    "an empty file": {"events.csv": EVENTS, "social.csv": ""},
    "other years": {"events.csv": EVENTS.replace("15778", "91577").replace("u", "w")},
    "ids of items": {"events.csv": EVENTS, "items.csv": "item,title\n,Soap\n"},
}


def folder_of(path: Path, files: dict[str, str]) -> Path:
    for name, content in files.items():
        file = path / "raw" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
    return path / "raw"


def seconds(text: str | None) -> int:
    assert text is not None
    return int(datetime.datetime.fromisoformat(text).timestamp())


def assert_same(folder: Path, out: Path) -> None:
    """The doctor's figures are those of the World."""
    found = check(folder, DataConfig())
    world = prepare(folder, out, DataConfig(), "leave-one-out")
    manifest = world.manifest
    assert not found.has_errors
    for name in ("users", "items", "events", "social_edges"):
        assert found.counts[name] == manifest["counts"][name]
    assert found.counts["rejected"] == sum(manifest["counts"]["rejected"].values())
    assert found.counts["rejected"] == duckdb_rows(world.path / "rejected.parquet")
    assert found.counts["items_with_text"] == world.items.has_text.sum()

    assert found.columns == manifest["columns"]
    assert found.joins == manifest["joins"]
    types = np.bincount(world.events.types, minlength=len(world.event_types))
    assert found.event_types == dict(zip(world.event_types, types.tolist(), strict=True))
    range_of_times = seconds(found.time["min"]), seconds(found.time["max"])
    assert range_of_times == (manifest["time_min"], manifest["time_max"])
    assert found.to_judge["leave-one-out"] == len(held_out(world, TEST))
    used = sorted(file["path"] for file in found.files if file["used"])
    assert used == sorted(source["name"] for source in manifest["sources"])


def duckdb_rows(path: Path) -> int:
    rows = duckdb.execute(f"SELECT count(*) FROM '{path}'").fetchone()
    assert rows is not None
    return rows[0]


@pytest.mark.parametrize("name", USABLE)
def test_the_figures_are_those_of_the_world(tmp_path, name):
    assert_same(folder_of(tmp_path, USABLE[name]), tmp_path / "world")


def test_the_figures_of_all_tables_are_those_of_the_world(tmp_path):
    assert_same(write_tables(tmp_path / "raw", "parquet"), tmp_path / "world")


@pytest.mark.parametrize("name", UNUSABLE)
def test_an_error_is_what_preparation_says(tmp_path, name):
    folder = folder_of(tmp_path, UNUSABLE[name])
    with pytest.raises(UserError) as error:
        prepare(folder, tmp_path / "world", DataConfig(), "leave-one-out")
    errors = [p.message for p in check(folder, DataConfig()).problems if p.level == "error"]
    assert str(error.value) in errors


def test_an_error_of_one_table_hides_nothing_of_the_others(tmp_path):
    files = {"events.csv": EVENTS, "items.csv": "what,title\na,b\n", "social.csv": "src\nu\n"}
    found = check(folder_of(tmp_path, files), DataConfig())
    errors = {problem.table for problem in found.problems if problem.level == "error"}
    assert errors == {"items", "social"}
    assert found.counts["events"] == 4


def test_warnings_name_their_table(tmp_path):
    files = {"events.csv": EVENTS, "items.csv": "item,title\nother,Hat\n", "more.csv": "x"}
    found = check(folder_of(tmp_path, files), DataConfig())
    warned = {problem.table: problem.message for problem in found.problems}
    assert "0.0% of the ids" in warned["items"]
    assert "more.csv" in warned[None]
    assert {file["path"]: file["used"] for file in found.files}["more.csv"] is False


def test_the_program_prints_json_and_ends_with_65_where_data_must_be_mended(tmp_path, capsys):
    usable, unusable = (
        folder_of(tmp_path / name, files)
        for name, files in (("a", USABLE["own names"]), ("b", UNUSABLE["no item"]))
    )
    main(["check", str(usable), "--json"])
    assert json.loads(capsys.readouterr().out).keys() == JSON_KEYS
    main(["check", str(usable)])
    assert "user u: event of item i0 'Soap' at 2020-01-01T10:00:00Z" in capsys.readouterr().out
    for folder, code in ((unusable, 65), (tmp_path / "none", 66)):
        with pytest.raises(SystemExit) as end:
            main(["check", str(folder), "--json"])
        assert end.value.code == code
    main(["check", str(unusable), "--data.map", "item=thing"])


def test_the_program_lists_the_formats(capsys):
    main(["formats"])
    assert "yelp_academic_dataset_review.json" in capsys.readouterr().out


def test_each_split_says_whom_it_leaves_to_test(tmp_path):
    rows = [("u" if n < 6 else "v", f"i{n}", BEGIN + n) for n in range(10)]
    events = csv(("user", "item", "timestamp"), *rows)
    found = check(folder_of(tmp_path, {"events.csv": events}), DataConfig())
    assert found.to_judge == {"leave-one-out": 2, "time": 1}
    in_order = check(tmp_path / "raw", DataConfig(order="file"))
    assert in_order.to_judge == {"leave-one-out": 2, "time": 0}
    assert in_order.time == {"min": None, "max": None}


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({"events.csv": EVENTS.replace("u,i", "u,i7;i")}, "holds lists such as 'i7;i0'"),
        (
            {"events.csv": EVENTS.replace("user", "customer_number")},
            "--data.map user=customer_number",
        ),
        ({"raw/events.csv": EVENTS}, "raw holds events: name that folder"),
        (
            {"events.csv": csv(("user", "item", "ts", "type"), *MANY_TYPES)},
            "is event_type the right column",
        ),
    ],
)
def test_what_looks_wrong_is_named_with_what_to_do(tmp_path, files, says):
    problems = check(folder_of(tmp_path, files), DataConfig()).problems
    assert any(says in problem.message for problem in problems)


def test_columns_that_are_not_used_are_shown_with_what_they_may_be(tmp_path):
    files = {"events.csv": EVENTS, "items.csv": "item,title_en,colour\ni0,Soap,red\n"}
    text = as_text(check(folder_of(tmp_path, files), DataConfig()))
    assert "title_en, colour  (--data.map title=title_en?)" in text
