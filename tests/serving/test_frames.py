"""Ids and pairs from files: the readers of training data find the same ids."""

from __future__ import annotations

import pytest

from socialrec_jax.data.columns import Strings
from socialrec_jax.errors import BadData
from socialrec_jax.serving.frames import find_numbers, read_pairs
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
