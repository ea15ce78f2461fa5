"""The sample world keeps the rules of the input tables, and each structure that it plants shows in
the data alone.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import duckdb
import numpy as np
import pytest

from socialrec_jax.data.synthetic import write_tables
from socialrec_jax.errors import UsageError

TABLES = ("events", "social", "items", "users")
SMALL = {"num_users": 200, "num_items": 150, "events_per_user": 8}


def read(folder: Path, query: str) -> dict[str, np.ndarray]:
    """Columns of a query in which {events}, {social}, {items} and {users} name the tables."""
    with duckdb.connect() as database:
        files = {name: f"'{folder / name}.parquet'" for name in TABLES}
        return database.execute(query.format(**files)).fetchnumpy()


def number(folder: Path, query: str) -> float:
    """The single figure that a query finds."""
    with duckdb.connect() as database:
        files = {name: f"'{folder / name}.parquet'" for name in TABLES}
        (value,) = database.execute(query.format(**files)).fetchone() or (None,)
    return float(value or 0)


@pytest.fixture(scope="module")
def shop(tmp_path_factory) -> Path:
    """The world of the default size."""
    folder = tmp_path_factory.mktemp("shop")
    write_tables(folder)
    return folder


@pytest.fixture(scope="module")
def log(shop) -> dict[str, np.ndarray]:
    """Events by user and time, with what the catalogue says of each item, as integers where it is
    an id.
    """
    return read(
        shop,
        """select dense_rank() over (order by e."user") - 1 as person,
                  dense_rank() over (order by e.item) - 1 as item,
                  dense_rank() over (order by split_part(i.tags, '|', 2)) - 1 as kind,
                  dense_rank() over (order by i.category, split_part(i.tags, '|', 2)) - 1 as step,
                  i.price, e.event_type, e.timestamp
           from {events} e join {items} i using (item) order by e."user", e.timestamp""",
    )


def test_the_same_arguments_give_the_same_bytes(tmp_path):
    for name, seed in (("one", 3), ("again", 3), ("other", 4)):
        write_tables(tmp_path / name, seed=seed, **SMALL)
    for table in TABLES:
        one, again, other = (
            (tmp_path / n / f"{table}.parquet").read_bytes() for n in ("one", "again", "other")
        )
        assert one == again
        assert one != other


def test_tables_have_the_columns_of_the_contract(shop):
    needed = {
        "events": {"user", "item", "timestamp", "event_type"},
        "social": {"src", "dst", "weight", "timestamp"},
        "items": {"item", "title", "description", "tags", "category", "price", "available"},
        "users": {"user", "region", "language"},
    }
    for table, columns in needed.items():
        assert columns <= read(shop, f"select * from {{{table}}} limit 1").keys()


def test_every_reference_leads_somewhere(shop):
    people = 'select "user" from {users}'
    assert number(shop, 'select count(*) from {events} where "user" not in (' + people + ")") == 0
    assert (
        number(
            shop,
            f"select count(*) from {{social}} where src not in ({people}) or dst not in ({people})",
        )
        == 0
    )
    assert (
        number(shop, "select count(*) from {events} where item not in (select item from {items})")
        == 0
    )
    assert number(shop, 'select count(*) - count(distinct "user") from {users}') == 0
    assert number(shop, "select count(*) - count(distinct item) from {items}") == 0
    assert number(shop, "select count(*) from {social} where src = dst") == 0


def test_a_friendship_is_stored_once(shop):
    assert number(shop, "select count(*) - count(distinct (src, dst)) from {social}") == 0


def test_times_rise_and_items_do_not_repeat(log):
    same = log["person"][1:] == log["person"][:-1]
    assert (np.diff(log["timestamp"])[same] > 0).all()
    assert len(np.unique(np.stack([log["person"], log["item"]]), axis=1)[0]) == len(log["item"])


def test_sizes_are_those_requested(shop, log):
    lengths = np.bincount(log["person"])
    assert number(shop, "select count(*) from {users}") == 2000
    assert number(shop, "select count(*) from {items}") == 600
    assert 15 <= lengths.mean() <= 25
    assert lengths.min() >= 3
    assert 3 * np.median(lengths) < lengths.max() <= 100  # a few are far more active than most


def test_cold_items_and_cold_users_exist(shop):
    cold = "select avg((item not in (select item from {events}))::int) from {items}"
    assert 0.08 < number(shop, cold) < 0.25
    newcomers = 'select count(*) from {users} where "user" not in (select "user" from {events})'
    assert (
        number(
            shop,
            newcomers + ' and "user" in (select src from {social} union select dst from {social})',
        )
        > 0
    )


def test_many_goods_come_late_and_sell(log):
    """Text alone tells what they are good for: nearly nobody had them in what a model may learn
    from.
    """
    items, first = np.unique(
        log["item"][np.argsort(log["timestamp"], kind="stable")], return_index=True
    )
    born = np.sort(log["timestamp"])[first]
    late = items[born > np.quantile(log["timestamp"], 0.85)]
    assert 0.2 < len(late) / len(items) < 0.5
    last = log["timestamp"] > np.quantile(log["timestamp"], 0.95)
    assert np.isin(log["item"][last], late).mean() > 0.2


def test_few_items_have_most_events(log):
    counts = np.sort(np.bincount(log["item"]))[::-1]
    assert counts[: len(counts) // 10].sum() > 0.25 * counts.sum()
    assert (counts < counts.mean() / 2).mean() > 0.3


def test_days_have_nights(log):
    by_hour = np.bincount(log["timestamp"] % 86_400 // 3600, minlength=24)
    assert np.sort(by_hour)[-6:].sum() > 3 * np.sort(by_hour)[:6].sum()


def test_pauses_are_short_or_long(log):
    gaps = np.diff(log["timestamp"])[log["person"][1:] == log["person"][:-1]]
    assert np.quantile(gaps, 0.9) > 50 * np.quantile(gaps, 0.3)


def accuracy_of_what_usually_follows(
    log: dict[str, np.ndarray], next_step: np.ndarray, context: np.ndarray
) -> float:
    """Share of the even users' events whose step is the one that most often follows its context
    among odd users.
    """
    seen: dict[int, Counter] = {}
    odd = log["person"] % 2 == 1
    for before, after in zip(context[odd].tolist(), next_step[odd].tolist(), strict=True):
        seen.setdefault(before, Counter())[after] += 1
    rule = {before: after.most_common(1)[0][0] for before, after in seen.items()}
    even = zip(context[~odd].tolist(), next_step[~odd].tolist(), strict=True)
    return float(np.mean([rule.get(before) == after for before, after in even]))


def steps_and_contexts(log: dict[str, np.ndarray]) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """(events with two before them, rows [n, 3]: (topic, kind) now, that of the last event, kind of
    the one before).
    """
    whole = log["person"][2:] == log["person"][:-2]
    step, kind = log["step"], log["kind"]
    return {"person": log["person"][2:][whole]}, np.stack(
        [step[2:], step[1:-1], kind[:-2]], axis=1
    )[whole]


def test_what_comes_next_follows_from_the_order_of_the_last_two(log):
    events, rows = steps_and_contexts(log)
    by_chance = np.lexsort((np.random.default_rng(0).random(len(log["step"])), log["person"]))
    _, shuffled = steps_and_contexts({name: column[by_chance] for name, column in log.items()})
    popular = accuracy_of_what_usually_follows(events, rows[:, 0], np.zeros(len(rows), int))
    unordered = accuracy_of_what_usually_follows(events, shuffled[:, 0], shuffled[:, 1])
    first = accuracy_of_what_usually_follows(events, rows[:, 0], rows[:, 1])
    second = accuracy_of_what_usually_follows(events, rows[:, 0], rows[:, 1] * 100 + rows[:, 2])
    assert first > 2.5 * max(popular, unordered)
    assert second > 1.2 * first


def test_the_order_has_a_direction(log):
    same = log["person"][1:] == log["person"][:-1]
    flow = np.zeros((log["step"].max() + 1,) * 2)
    np.add.at(flow, (log["step"][:-1][same], log["step"][1:][same]), 1)
    assert np.abs(flow - flow.T).sum() > 0.4 * flow.sum()


def copied(log: dict[str, np.ndarray], friends: list[set[int]]) -> float:
    """Share of the users with friends whose last item a friend had strictly before."""
    history_ends = np.flatnonzero(np.diff(log["person"], append=-1))
    had: dict[int, list[tuple[int, int]]] = {}
    for person, item, time in zip(log["person"], log["item"], log["timestamp"], strict=True):
        had.setdefault(int(item), []).append((int(person), int(time)))
    hits = [
        any(
            other in friends[log["person"][end]] and time < log["timestamp"][end]
            for other, time in had[int(item)]
        )
        for end, item in zip(history_ends, log["item"][history_ends], strict=True)
        if friends[log["person"][end]]
    ]
    return float(np.mean(hits))


def neighbours(src: np.ndarray, dst: np.ndarray, count: int) -> list[set[int]]:
    friends = [set() for _ in range(count)]
    for one, other in zip(src.tolist(), dst.tolist(), strict=True):
        friends[one].add(other)
        friends[other].add(one)
    return friends


def test_friends_had_it_before_more_often_than_random_users(shop, log):
    edges = read(
        shop,
        """with people as (select "user", row_number() over (order by "user") - 1 as n
                           from (select distinct "user" from {events}))
           select a.n as src, b.n as dst from {social} s join people a on s.src = a."user"
           join people b on s.dst = b."user" order by 1, 2""",
    )
    count = int(log["person"].max()) + 1
    real = copied(log, neighbours(edges["src"], edges["dst"], count))
    rewired = np.random.default_rng(0).permutation(edges["dst"])  # every degree stays
    assert real > 1.5 * copied(log, neighbours(edges["src"], rewired, count))


def test_like_titles_are_on_like_shelves(shop):
    items = read(shop, "select title, category, tags from {items}")
    words = [set(title.split()) for title in items["title"]]
    similarity = np.array([[len(a & b) / len(a | b) for b in words] for a in words], float)
    np.fill_diagonal(similarity, -1)
    nearest = similarity.argmax(1)
    for column, chance in (("category", 5), ("tags", 10)):
        same = items[column][:, None] == items[column]
        np.fill_diagonal(same, False)
        assert (items[column] == items[column][nearest]).mean() > chance * same.mean()


def test_titles_are_written_in_several_scripts(shop):
    text = " ".join(read(shop, "select title, description from {items}")["title"])
    for low, high in ((0x41, 0x5A), (0x4E00, 0x9FFF), (0x600, 0x6FF), (0x1F300, 0x1FAFF)):
        assert any(low <= ord(letter) <= high for letter in text)


def test_the_type_of_an_event_follows_from_price_and_the_type_before(log):
    bought = log["event_type"] == "buy"
    cheap = log["price"] < np.median(log["price"])
    assert bought[cheap].mean() > 1.3 * bought[~cheap].mean()
    same = log["person"][1:] == log["person"][:-1]
    after_cart = log["event_type"][:-1][same] == "cart"
    assert bought[1:][same][after_cart].mean() > 1.3 * bought[1:][same][~after_cart].mean()
    assert set(log["event_type"]) == {"view", "cart", "buy", "comment"}


def test_tiny_shops_work_too(tmp_path):
    write_tables(tmp_path, num_users=30, num_items=40, events_per_user=5)
    assert number(tmp_path, "select count(*) from {events}") > 60


def test_a_world_too_small_to_hold_the_structure_is_refused(tmp_path):
    with pytest.raises(UsageError, match="give at least 2 users, 3 events a user, and 40 items"):
        write_tables(tmp_path, num_items=39)
