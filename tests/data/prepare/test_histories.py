"""Histories of users that the World does not know, and lists of ids."""

from __future__ import annotations

from itertools import pairwise

import duckdb
import numpy as np
import pytest

from socialrec_jax.data.prepare.histories import read_ids, read_raw_histories
from socialrec_jax.errors import BadData, InputMissing
from tests.data.prepare.small_tables import write_tables


def test_histories_of_unseen_users_are_numbered_by_the_world(reference, tmp_path, caplog):
    rows = [
        ("new2", "i3", 5, "buy"),
        ("new1", "i4", 2, "view"),
        ("new2", "i1", 5, "rent"),
        ("new2", "zz", 6, "buy"),
    ]
    rows += [("new2", "i2", 1, "view"), ("new3", "zz", 1, "buy")]
    path = tmp_path / "histories.csv"
    path.write_text(
        "user,item,ts,event_type\n" + "\n".join(",".join(map(str, row)) for row in rows)
    )
    raw = read_raw_histories(path, reference)
    user_ids, events = raw.user_ids, raw.events
    assert list(user_ids) == ["new2", "new1", "new3"]
    assert raw.has_events.all()
    assert not len(raw.friendships.sources)
    assert events.offsets.tolist() == [0, 3, 4, 4]
    assert [reference.items.ids[int(item)] for item in events.items] == ["i2", "i3", "i1", "i4"]
    assert events.types.tolist() == [0, 1, 0, 0]
    assert "2 of 6 events of unknown items dropped" in caplog.text
    assert "1 of 6 events of unknown type" in caplog.text


def test_seen_histories_read_back_as_the_world_has_them(reference, tmp_path):
    raw = read_raw_histories(write_tables(tmp_path / "raw", "csv"), reference)
    user_ids, events = raw.user_ids, raw.events
    for place, user in enumerate(user_ids):
        u = list(reference.user_ids).index(user)
        start, end = reference.events.offsets[u : u + 2]
        for name in ("items", "times", "types", "values"):
            mine = getattr(events, name)[events.offsets[place] : events.offsets[place + 1]]
            np.testing.assert_array_equal(mine, getattr(reference.events, name)[start:end])


def test_friends_of_a_folder_come_after_those_who_have_events(reference, tmp_path):
    (tmp_path / "events.csv").write_text("user,item,timestamp\nb,i1,1\na,i2,2\n")
    (tmp_path / "social.csv").write_text("src,dst,weight\na,u1,2\nc,b,1\nu2,a,1\na,a,1\na,u1,3\n")
    raw = read_raw_histories(tmp_path, reference)
    assert list(raw.user_ids) == ["b", "a", "c", "u2", "u1"]
    assert raw.has_events.tolist() == [True, True, False, False, False]
    assert raw.is_source.tolist() == [False, True, True, True, False]
    graph = raw.friendships.lists_of(np.arange(5), 5)
    friends = [graph.ids[start:end].tolist() for start, end in pairwise(graph.offsets)]
    assert friends == [[2], [3, 4], [0], [1], [1]]
    assert graph.weights.tolist() == [1, 1, 3, 1, 1, 3]


def test_what_cannot_be_an_option_is_to_be_changed_in_the_file(reference, tmp_path, caplog):
    path = tmp_path / "histories.csv"
    path.write_text("user,item,bought_at\nu,i1,5\n")
    with pytest.raises(BadData, match=r"--data.map .*with the --data options of the run"):
        read_raw_histories(path, reference)
    path.write_text("client_id,user,item,ts\nx,u,i1,5\nx,u,i2,6\n")
    read_raw_histories(path, reference)
    assert caplog.text.count("change the file") == 1, "one hint for all warnings"


def test_a_table_that_is_read_as_it_is_has_no_hint(reference, tmp_path, caplog):
    path = tmp_path / "histories.csv"
    path.write_text("user,item,ts\nu,i1,5\n")
    read_raw_histories(path, reference)
    assert "change the file" not in caplog.text


def test_lists_of_ids(tmp_path):
    (tmp_path / "ids.txt").write_text("a\n\n b \n")
    (tmp_path / "ids.csv").write_text("Product ID,user\n7,x\n8,y\n")
    duckdb.execute(f"COPY (SELECT 7 AS item) TO '{tmp_path}/ids.parquet'")
    assert read_ids(tmp_path / "ids.txt", "user") == ["a", "b"]
    assert read_ids(tmp_path / "ids.csv", "item") == ["7", "8"]
    assert read_ids(tmp_path / "ids.parquet", "item") == ["7"]
    # written as tables may write them
    (tmp_path / "odd.csv").write_text("item\n7.0\n \u200b8\n")
    assert read_ids(tmp_path / "odd.csv", "item") == ["7", "8"]
    with pytest.raises(BadData, match="no user column"):
        read_ids(tmp_path / "ids.parquet", "user")
    with pytest.raises(InputMissing):
        read_ids(tmp_path / "none.txt", "user")
