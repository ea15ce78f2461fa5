"""Where the time of a run goes: for each stage the seconds of compiling, of waiting for devices,
and of work on the host.

Time belongs to the innermost stage that was entered. JAX reports when it traces, lowers and
compiles (`jax.monitoring`). Waits are measured where this package blocks on a result (`waiting`).
What is left is the host's.

On CPUs, JAX runs small programs within the call, so part of the devices' time counts as the host's.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import jax

from socialrec_jax.files import write_atomically

START = "start"  # imports, devices, and all that belongs to no stage

_COMPILING = "/jax/core/compile/"  # prefix of tracing, lowering, and compiling by XLA or its cache
_PROGRAM = "/jax/core/compile/backend_compile_duration"
_CACHE_HIT = "/jax/compilation_cache/cache_hits"


@dataclasses.dataclass
class StageTime:
    """What one stage took, in seconds."""

    stage: str
    seconds: float = 0.0  # by the clock
    compile_seconds: float = 0.0
    device_seconds: float = 0.0  # in which the host waited for a device
    programs: int = 0  # that JAX compiled or found in its cache
    compiled: int = 0  # of these, not found in the cache

    @property
    def host_seconds(self) -> float:
        return max(0.0, self.seconds - self.compile_seconds - self.device_seconds)

    def to_json(self) -> dict:
        values = dataclasses.asdict(self) | {"host_seconds": self.host_seconds}
        return {
            name: round(value, 3) if isinstance(value, float) else value
            for name, value in values.items()
        }


class Timeline:
    """The stages of a run in the order of their first visit, those of earlier processes
    included.
    """

    def __init__(self) -> None:
        self.begin()

    def begin(self, file: Path | None = None, started_at: float | None = None) -> None:
        """Start a process's timeline, and add it to what earlier processes left in file.

        started_at: when the process started, by time.perf_counter(); by default now.
        """
        self.file = file
        processes, self._stages = _read(file)
        self.processes = 1 + processes
        self._current = START
        self._since = time.perf_counter() if started_at is None else started_at
        self._spans: list[tuple[float, float]] = []

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Count the time of the block as this stage's, without that of stages inside it."""
        outer = self._current
        self._go_on_as(name)
        try:
            yield
        finally:
            self._go_on_as(outer)
            self.save()

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """Count the time of the block as waiting for a device. Nothing may compile in it."""
        began = time.perf_counter()
        try:
            yield
        finally:
            if _in_main_thread():
                self._stage().device_seconds += time.perf_counter() - began

    def to_json(self) -> dict:
        """What report.json says: docs/contracts.md has the fields."""
        self._go_on_as(self._current)
        stages = [stage.to_json() for stage in self._stages.values()]
        return {"processes": self.processes, "stages": stages}

    def save(self) -> None:
        """Write what was measured so far, for a process that resumes the run."""
        if self.file is not None:
            write_atomically(self.file, json.dumps(self.to_json(), indent=1) + "\n")

    # ---- Listeners of JAX

    def on_span(self, event: str, start_time: float, end_time: float, **_: str | int) -> None:
        """Add a span of tracing, lowering or compiling."""
        if not event.startswith(_COMPILING):
            return
        stage = self._stage()
        if event == _PROGRAM:
            stage.programs += 1
            stage.compiled += 1
        # Another thread's compiling delays nobody.
        if _in_main_thread():
            stage.compile_seconds += self._seconds_of(start_time, end_time)

    def on_event(self, event: str, **_: str | int) -> None:
        """Note a program that was found in the cache."""
        if event == _CACHE_HIT:
            self._stage().compiled -= 1

    def _seconds_of(self, start: float, end: float) -> float:
        """Seconds of a span, without those of the spans inside it, which are counted already."""
        inside = 0.0
        while self._spans and self._spans[-1][0] >= start:
            inner_start, inner_end = self._spans.pop()
            inside += inner_end - inner_start
        self._spans.append((start, end))
        return end - start - inside

    def _stage(self) -> StageTime:
        return self._stages.setdefault(self._current, StageTime(self._current))

    def _go_on_as(self, name: str) -> None:
        """Give the time until now to the current stage, and the time from now to another."""
        now = time.perf_counter()
        self._stage().seconds += now - self._since
        self._current, self._since = name, now


def _read(file: Path | None) -> tuple[int, dict[str, StageTime]]:
    """How many processes and which stages `Timeline.save` wrote; none where there is no file, or it
    is damaged.
    """
    if file is None or not file.exists():
        return 0, {}
    try:
        earlier = json.loads(file.read_text())
        stages = {row["stage"]: _from_json(row) for row in earlier["stages"]}
        return int(earlier["processes"]), stages
    except (ValueError, TypeError, KeyError, AttributeError):
        return 0, {}


def _from_json(row: dict) -> StageTime:
    return StageTime(**{name: value for name, value in row.items() if name != "host_seconds"})


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


# JAX's listeners belong to the process, and so does the timeline.
timeline = Timeline()
jax.monitoring.register_event_time_span_listener(timeline.on_span)
jax.monitoring.register_event_listener(timeline.on_event)
