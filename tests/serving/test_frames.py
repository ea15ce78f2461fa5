"""Ids and pairs from files: the readers of training data find the same ids."""

from __future__ import annotations

import pytest

from socialrec_jax.data.columns import Strings
from socialrec_jax.errors import BadData
from socialrec_jax.serving.frames import (
    find_numbers,
    read_campaigns,
    read_histories,
    read_pairs,
)
from tests.worlds import random_world


def test_a_few_unknown_ids_of_a_file_are_left_out(tmp_path, caplog):
    column, file = Strings.of(["a", "b", "c"]), tmp_path / "ids.txt"
    file.write_text("c\nnobody\na\n")
    assert find_numbers(column, file, "user").tolist() == [2, 0]
    assert "1 of 3 user ids are unknown to this run, first 'nobody'" in caplog.text
    # of a list in memory each id was meant
    with pytest.raises(BadData, match="1 of 2 user ids"):
        find_numbers(column, ["a", "nobody"], "user")
    file.write_text("a\nnobody\n")
    with pytest.raises(BadData, match="1 of 2 user ids"):
        find_numbers(column, file, "user")


def test_pairs_are_read_as_training_data_is(tmp_path):
    world = random_world(tmp_path)
    user, item = world.user_ids[1], world.items.ids[2]
    for name, text in {
        "a.csv": f'user_id; item_id\n"{user}"; {item}\n',
        "b.txt": f"item\tuser\n{item}\t {user} \n",
    }.items():
        (tmp_path / name).write_text(text)
        users, items = read_pairs(tmp_path / name, world.user_ids, world)
        assert (users.tolist(), items.tolist()) == ([1], [2])
    (tmp_path / "c.csv").write_text(f"user,item\n{user},\n")
    with pytest.raises(BadData, match="1 of 1 item ids"):
        read_pairs(tmp_path / "c.csv", world.user_ids, world)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("item_id\nx\n", "a.csv: no column campaign; found: item_id"),
        ("campaign,item_id\n", "a.csv: the table has no rows"),
        ("campaign,item_id\n,x\nspring,y\n", "a.csv: 1 of 2 rows name no campaign"),
    ],
)
def test_campaigns_that_cannot_be_right_are_named_with_their_file(tmp_path, rows, message):
    (tmp_path / "a.csv").write_text(rows)
    with pytest.raises(BadData, match=message):
        read_campaigns(tmp_path / "a.csv", random_world(tmp_path))


def test_messages_about_a_data_frame_name_no_temporary_file(tmp_path):
    world = random_world(tmp_path)
    with pytest.raises(BadData, match=r"^histories.parquet: events need a column timestamp"):
        read_histories({"user": ["u"], "item": ["i"]}, None, world)


def test_a_long_unknown_id_is_cut_in_the_message():
    with pytest.raises(BadData) as error:
        find_numbers(Strings.of(["a"]), ["x" * 5000], "user")
    assert len(str(error.value)) < 200
