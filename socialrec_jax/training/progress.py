"""How far a stage is, and how long its calls took."""

from __future__ import annotations

import dataclasses
import time


@dataclasses.dataclass
class StageProgress:
    """Progress of a stage: JSON beside every checkpoint."""

    best_step: int = 0
    best_value: float = -1.0
    worse_in_a_row: int = 0
    finished: bool = False
    steps: int = 0
    events: float = 0.0  # trained in `seconds`
    # In device calls and waiting for batches, without compilation and validation.
    seconds: float = 0.0
    compile_seconds: float = 0.0
    skipped: int = 0
    skipped_in_a_row: int = 0
    # (loss, gradient norm) of the last steps, where spikes are looked for.
    recent: list[list[float]] = dataclasses.field(default_factory=list)


class CallTimer:
    """Adds the time of device calls to the progress; that of a process's first call, which
    compiles, is kept apart.
    """

    def __init__(self, progress: StageProgress):
        self.progress = progress
        self.is_compiled = False
        self.events_per_second = 0.0  # of the last call
        self.restart()

    def restart(self) -> None:
        """What was between the last call and now does not count."""
        self.started_at = time.perf_counter()

    def stop(self, events: float) -> None:
        """A call on so many events is done; the next one counts from here."""
        elapsed = time.perf_counter() - self.started_at
        self.restart()
        self.events_per_second = events / elapsed
        if self.is_compiled:
            self.progress.seconds += elapsed
            self.progress.events += events
        else:
            # The first call runs its steps, too; compiling takes far longer.
            self.progress.compile_seconds += elapsed
            self.is_compiled = True
