"""Prefetching keeps the order, makes no more than it may, and ends with its consumer."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator

import pytest

from socialrec_jax.runtime import background


class Source:
    """Counts up, and remembers how many items were made and in which threads."""

    def __init__(self) -> None:
        self.made = 0
        self.threads: set[str] = set()

    def __iter__(self) -> Iterator[int]:
        for number in itertools.count():
            self.made += 1
            self.threads.add(threading.current_thread().name)
            yield number


def wait_until_idle(source: Source) -> None:
    """Until the source has made nothing for a while."""
    before = -1
    while source.made != before:
        before = source.made
        time.sleep(0.05)


def prefetch_threads() -> list[threading.Thread]:
    return [t for t in threading.enumerate() if t.name.startswith("prefetch")]


def test_items_come_in_order_and_to_the_end():
    assert list(background.prefetch(range(10))) == list(range(10))
    assert list(background.prefetch([])) == []
    assert list(background.prefetch([None, 0, []], depth=5)) == [None, 0, []]


@pytest.mark.parametrize("depth", [1, 3])
def test_no_more_than_depth_items_are_made_ahead(depth):
    source = Source()
    items = background.prefetch(source, depth)
    assert [next(items) for _ in range(4)] == [0, 1, 2, 3]
    wait_until_idle(source)
    assert source.made == 4 + depth
    items.close()
    assert source.threads == {"prefetch_0"}


def test_an_error_comes_through_after_what_was_made_before_it():
    def broken() -> Iterator[int]:
        yield from (1, 2)
        raise ValueError("no more")

    items = background.prefetch(broken())
    assert [next(items), next(items)] == [1, 2]
    with pytest.raises(ValueError, match="no more"):
        next(items)


def test_nothing_is_made_after_the_consumer_stops():
    source = Source()
    for number in background.prefetch(source):
        if number == 3:
            break
    wait_until_idle(source)
    made = source.made
    time.sleep(0.1)
    assert source.made == made
    assert not prefetch_threads()
