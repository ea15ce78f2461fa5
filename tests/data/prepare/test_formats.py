"""Public formats on samples made by hand: each is recognised by its files and read into the same
four tables.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from socialrec_jax.config import DataConfig
from socialrec_jax.data.prepare.formats import find_tables
from socialrec_jax.data.prepare.layouts.movies import GENRES
from socialrec_jax.data.prepare.prepare import prepare
from socialrec_jax.data.world import World
from socialrec_jax.errors import BadData, InputMissing


def world_of(folder: Path, files: dict[str, str], encoding: str = "utf-8") -> World:
    source = folder / "raw"
    source.mkdir()
    for name, content in files.items():
        (source / name).write_text(content, encoding=encoding)
    return prepare(source, folder / "world", DataConfig(), "leave-one-out")


def item(world: World, name: str) -> tuple[str, str]:
    place = world.items.ids.lookup([name])[0]
    return world.items.titles[int(place)], world.items.tags[int(place)]


def first_event(world: World) -> tuple[str, str, int, float]:
    events = world.events
    values = events.items[0], events.times[0], events.values[0]
    return (
        world.user_ids[int(events.owners[0])],
        world.items.ids[int(values[0])],
        int(values[1]),
        float(values[2]),
    )


def test_recbole(tmp_path):
    world = world_of(
        tmp_path,
        {
            "x.inter": "user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
            "7\t10\t4.5\t9.0\n",
            "x.item": "item_id:token\tname:token_seq\tgenre:token_seq\n"
            '10\t"Red" shoe\tA B\n11\tHat\tC\n',
            "x.user": "user_id:token\tage:float\n7\t33\n",
            "x.net": "source_id:token\ttarget_id:token\n7\t8\n",
        },
    )
    assert first_event(world) == ("7", "10", 9, 4.5)
    assert item(world, "10") == ('"Red" shoe', "A|B")
    assert len(world.friends.ids) == 2


def test_movielens_100k(tmp_path):
    flags = ["1" if genre in ("Children's", "War") else "0" for genre in GENRES]
    film = "|".join(["10", "Café (1995)", "01-Jan-1995", "", "http://x", *flags])
    files = {
        "u.data": "7\t10\t3\t881250949\n",
        "u.item": film + "\n",
        "u.user": "7|24|M|technician|85711\n",
    }
    world = world_of(tmp_path, files, encoding="latin-1")
    assert first_event(world) == ("7", "10", 881250949, 3)
    assert item(world, "10") == ("Café (1995)", "Children's|War")


def test_movielens_1m(tmp_path):
    files = {
        "ratings.dat": "7::10::5::978300760\n",
        "movies.dat": '10::Misérables, "Les" (1995)::Drama|War\n',
        "users.dat": "7::F::1::10::48067\n",
    }
    world = world_of(tmp_path, files, encoding="latin-1")
    assert first_event(world) == ("7", "10", 978300760, 5)
    assert item(world, "10") == ('Misérables, "Les" (1995)', "Drama|War")


def test_movielens_csv(tmp_path):
    ratings = "userId,movieId,rating,timestamp\n7,10,3.5,1112486027\n"
    movies = 'movieId,title,genres\n10,"City, The",Drama|War\n'
    world = world_of(tmp_path, {"ratings.csv": ratings, "movies.csv": movies})
    assert first_event(world) == ("7", "10", 1112486027, 3.5)
    assert item(world, "10") == ("City, The", "Drama|War")


@pytest.mark.parametrize(
    ("review", "product", "seconds"),
    [
        (
            {"reviewerID": "A1", "asin": "B1", "overall": 5.0, "unixReviewTime": 1400000000},
            {
                "asin": "B1",
                "title": "Soap",
                "categories": [["Beauty", "Bath"]],
                "price": 3.5,
                "description": "Mild.",
            },
            1400000000,
        ),
        (
            {
                "user_id": "A1",
                "asin": "B9",
                "parent_asin": "B1",
                "rating": 5.0,
                "timestamp": 1588687728923,
            },
            {
                "parent_asin": "B1",
                "title": "Soap",
                "categories": ["Beauty", "Bath"],
                "price": "from 3.50",
                "description": ["Mild", "soap"],
                "main_category": "All Beauty",
            },
            1588687728,
        ),
    ],
)
def test_amazon(tmp_path, review, product, seconds):
    other = {
        key: "B2" if value == "B1" else None if key == "price" else value
        for key, value in product.items()
    }
    files = {
        "Beauty.jsonl": json.dumps(review),
        "meta_Beauty.jsonl": json.dumps(product) + "\n" + json.dumps(other),
    }
    world = world_of(tmp_path, files)
    assert first_event(world) == ("A1", "B1", seconds, 5)
    assert item(world, "B1") == ("Soap", "Beauty|Bath")
    prices = world.items.prices[world.items.ids.lookup(["B1", "B2"])]
    np.testing.assert_array_equal(prices, [3.5, np.nan])


def test_hetrec_lastfm(tmp_path):
    world = world_of(
        tmp_path,
        {
            "user_taggedartists-timestamps.dat": "userID\tartistID\ttagID\ttimestamp\n"
            "2\t52\t13\t1238536800000\n",
            "user_artists.dat": "userID\tartistID\tweight\n2\t51\t13883\n",
            "user_friends.dat": "userID\tfriendID\n2\t275\n275\t2\n",
            "artists.dat": 'id\tname\turl\tpictureURL\n52\tMorcheeba "live"\thttp://x\thttp://y\n',
        },
    )
    assert first_event(world) == ("2", "52", 1238536800, 1)
    assert item(world, "52")[0] == 'Morcheeba "live"'
    assert len(world.friends.ids) == 2
    assert world.event_types == ["tag"]


def test_our_own_names_come_first_and_a_folder_without_events_names_what_it_found(tmp_path):
    (tmp_path / "ratings.csv").write_text("userId,movieId,rating,timestamp\n1,2,3,4\n")
    (tmp_path / "events.csv").write_text("user,item,timestamp\n1,2,3\n")
    assert [source.path.name for source in find_tables(tmp_path)["events"]] == ["events.csv"]
    (tmp_path / "events.tsv").write_text("user\titem\ttimestamp\n1\t2\t3\n")
    with pytest.raises(BadData, match="both events"):
        find_tables(tmp_path)
    for name in ("events.csv", "events.tsv", "ratings.csv"):
        (tmp_path / name).unlink()
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(InputMissing, match=r"notes\.txt"):
        find_tables(tmp_path)
