"""Joins concurrent requests into one call of the model.

One thread computes. While it works, requests wait in a queue of bounded length; those that may be
joined with the oldest one are then answered by one call.
"""

from __future__ import annotations

import collections
import dataclasses
import threading
import time
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future
from typing import Any


class Overloaded(Exception):
    """The queue is full, or a request has waited too long in it."""


@dataclasses.dataclass(frozen=True, eq=False)
class Job:
    """A request that waits for its answer.

    key: jobs of an equal key may be joined. weight: how much of a call it takes. compute: from the
    payloads of joined jobs to their answers, in the same order.
    """

    key: Hashable
    weight: int
    payload: Any
    compute: Callable[[Sequence[Any]], Sequence[Any]]
    answer: Future = dataclasses.field(default_factory=Future)
    arrived: float = dataclasses.field(default_factory=time.monotonic)


@dataclasses.dataclass(frozen=True, kw_only=True)
class BatchSettings:
    """Bounds of the queue and of a call."""

    most_waiting: int = 1000  # requests
    most_joined: int = 512  # weight of a call, where one request alone is not heavier
    join_seconds: float = 0.002  # for others to arrive
    timeout_seconds: float = 10.0  # in the queue


class Batcher:
    """A queue and the thread that computes. observe: is called with the number of joined jobs."""

    def __init__(self, settings: BatchSettings, observe: Callable[[int], None] = lambda _: None):
        self._settings, self._observe = settings, observe
        self._waiting: collections.deque[Job] = collections.deque()
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="batcher", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Compute what waits, then end the thread."""
        # Requests that were taken in are answered, also while the service stops.
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    @property
    def is_alive(self) -> bool:
        """Whether the thread computes or waits for requests."""
        return self._thread.is_alive()

    @property
    def is_full(self) -> bool:
        """Whether no request is taken in now."""
        return self._closed or self.num_waiting >= self._settings.most_waiting

    @property
    def num_waiting(self) -> int:
        return len(self._waiting)

    def submit(self, job: Job) -> Future:
        """The future answer of a job. Raises Overloaded where the queue is full."""
        with self._changed:
            if self.is_full:
                raise Overloaded("too many requests are waiting; try again")
            self._waiting.append(job)
            self._changed.notify()
        return job.answer

    def _work(self) -> None:
        while jobs := self._next_jobs():
            self._observe(len(jobs))
            _compute(jobs)

    def _next_jobs(self) -> list[Job]:
        """The oldest job and those that are joined with it; none when the batcher is closed."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closed)
                if not self._waiting:
                    return []
            time.sleep(self._settings.join_seconds)
            with self._changed:
                if jobs := self._take():
                    return jobs

    def _take(self) -> list[Job]:
        """Take jobs of one key, the oldest first, as many as one call may have."""
        oldest_allowed = time.monotonic() - self._settings.timeout_seconds
        taken, others, weight = [], [], 0
        for job in self._waiting:
            if job.arrived < oldest_allowed:
                _fail(job, Overloaded("the request waited too long; try again"))
            # Jobs of other options wait for the next call, and stay in their order.
            elif not taken or self._may_join(taken[0], job, weight):
                taken.append(job)
                weight += job.weight
            else:
                others.append(job)
        self._waiting = collections.deque(others)
        return [job for job in taken if job.answer.set_running_or_notify_cancel()]

    def _may_join(self, first: Job, job: Job, weight: int) -> bool:
        return job.key == first.key and weight + job.weight <= self._settings.most_joined


def _compute(jobs: list[Job]) -> None:
    """Answer joined jobs. Where the call fails, each is computed alone, and fails alone."""
    try:
        answers = jobs[0].compute([job.payload for job in jobs])
        answered = list(zip(jobs, answers, strict=True))
    # One bad request must not spoil the others that it was joined with.
    except Exception as error:
        if len(jobs) == 1:
            jobs[0].answer.set_exception(error)
            return
        for job in jobs:
            _compute([job])
        return
    for job, answer in answered:
        job.answer.set_result(answer)


def _fail(job: Job, error: Exception) -> None:
    if job.answer.set_running_or_notify_cancel():
        job.answer.set_exception(error)
