"""What a person sees of a running training: a bar on a terminal, one plain line a report
elsewhere.
"""

from __future__ import annotations

import sys
import time

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress

from socialrec_jax.runtime import processes

_SECONDS_BETWEEN_LINES = 10.0


class ProgressBar:
    """Follows one stage from step `begin` to `num_steps`; of several processes the first alone
    speaks.
    """

    def __init__(self, stage: str, num_steps: int, begin: int):
        self.stage, self.num_steps = stage, num_steps
        self.bar = None
        if sys.stdout.isatty() and processes.is_main():
            numbers = TextColumn("loss {task.fields[loss]:.3f}  {task.fields[rate]:,.0f} events/s")
            self.bar = RichProgress(
                TextColumn(stage),
                BarColumn(),
                MofNCompleteColumn(),
                numbers,
                TimeRemainingColumn(),
                console=Console(),
            )
            self.task = self.bar.add_task(
                stage, total=num_steps, completed=begin, loss=0.0, rate=0.0
            )
        self.last_line = 0.0

    def __enter__(self) -> ProgressBar:
        if self.bar:
            self.bar.start()
        return self

    def __exit__(self, *_) -> None:
        if self.bar:
            self.bar.stop()

    def advance(self, step: int, loss: float, events_per_second: float) -> None:
        if self.bar:
            self.bar.update(self.task, completed=step, loss=loss, rate=events_per_second)
        elif time.monotonic() - self.last_line > _SECONDS_BETWEEN_LINES:
            self.last_line = time.monotonic()
            self._say(
                f"step {step}/{self.num_steps}  loss {loss:.4f}  {events_per_second:,.0f} events/s"
            )

    def validated(self, step: int, metrics: dict[str, float]) -> None:
        figures = "  ".join(f"{name} {metrics[name]:.4f}" for name in ("hr@10", "ndcg@10"))
        self._say(f"step {step}/{self.num_steps}  validation {figures}")

    def _say(self, text: str) -> None:
        line = f"{self.stage}  {text}"
        if self.bar:
            self.bar.console.print(line, highlight=False)
        elif processes.is_main():
            print(line, flush=True)
