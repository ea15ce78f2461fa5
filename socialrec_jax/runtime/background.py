"""Work on the host by another thread, while devices train: the next batches, and what later stages
need.
"""

from __future__ import annotations

import functools
import itertools
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from socialrec_jax.runtime import parallel, processes

Item = TypeVar("Item")
Result = TypeVar("Result")


class Background:
    """One thread, which calls functions in their order.

    There is none where the devices are CPUs, since training needs all cores there: each function is
    called when its result is needed. Nor is there one on processes other than 0, which do not call
    the functions at all.
    """

    def __init__(self) -> None:
        self._executor = None
        if parallel.has_accelerator() and processes.is_main():
            self._executor = ThreadPoolExecutor(1, thread_name_prefix="background")

    def submit(self, function: Callable[[], Result]) -> Callable[[], Result]:
        """A function that returns the result, or raises the error; it may be called again."""
        if self._executor is None:
            return functools.cache(function)
        return self._executor.submit(function).result

    def ahead(self, function: Callable[[], None]) -> Callable[[], None]:
        """A function that waits for a call whose only use is to save time later, or raises its
        error. Where there is no thread it is not called at all.
        """
        if self._executor is None:
            return lambda: None
        return self._executor.submit(function).result

    def __enter__(self) -> Background:
        return self

    def __exit__(self, *_) -> None:
        if self._executor is not None:
            self._executor.shutdown(cancel_futures=True)


def prefetch(items: Iterable[Item], depth: int = 2) -> Generator[Item]:
    """The same items in the same order, made by another thread while the devices work.

    depth: items that are made ahead; memory grows with it. An error of items is raised here. When
    the consumer stops, no further item is made.
    """
    iterator = iter(items)

    def next_item() -> list[Item]:
        return list(itertools.islice(iterator, 1))  # empty at the end

    # One worker makes the items one after the other, in their order.
    executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="prefetch")
    try:
        waiting = deque(executor.submit(next_item) for _ in range(depth))
        while item := waiting.popleft().result():
            waiting.append(executor.submit(next_item))
            yield from item
    finally:
        # Reached also when the consumer stops: the generator is closed.
        executor.shutdown(cancel_futures=True)
