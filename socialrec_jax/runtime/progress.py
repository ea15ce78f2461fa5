"""Progress of a training: a bar on a terminal, lines of text elsewhere."""

from __future__ import annotations

import sys
import time

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from socialrec_jax.runtime import processes

_SECONDS_BETWEEN_LINES = 10.0
_SHOWN_METRICS = ("hr@10", "ndcg@10")


class ProgressBar:
    """Shows a stage from step `begin` to `num_steps`; only process 0 prints."""

    def __init__(self, stage: str, num_steps: int, begin: int):
        self.stage = stage
        self.num_steps = num_steps
        self.last_line = 0.0
        self.bar = None
        # A bar redraws its line, which makes a log unreadable.
        if sys.stdout.isatty() and processes.is_main():
            self.bar = _bar(stage)
            self.task = self.bar.add_task(
                stage, total=num_steps, completed=begin, loss=0.0, rate=0.0
            )

    def __enter__(self) -> ProgressBar:
        if self.bar:
            self.bar.start()
        return self

    def __exit__(self, *_) -> None:
        if self.bar:
            self.bar.stop()

    def advance(self, step: int, loss: float, events_per_second: float) -> None:
        """Show a step: always on a bar, at most every ten seconds as text."""
        if self.bar:
            self.bar.update(self.task, completed=step, loss=loss, rate=events_per_second)
            return
        now = time.monotonic()
        if now - self.last_line > _SECONDS_BETWEEN_LINES:
            self.last_line = now
            self._print(step, f"loss {loss:.4f}  {events_per_second:,.0f} events/s")

    def validated(self, step: int, metrics: dict[str, float]) -> None:
        """Show the metrics of a validation."""
        figures = "  ".join(f"{name} {metrics[name]:.4f}" for name in _SHOWN_METRICS)
        self._print(step, f"validation {figures}")

    def _print(self, step: int, text: str) -> None:
        line = f"{self.stage}  step {step}/{self.num_steps}  {text}"
        if self.bar:
            self.bar.console.print(line, highlight=False)
        elif processes.is_main():
            print(line, flush=True)


def _bar(stage: str) -> Progress:
    return Progress(
        TextColumn(stage),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("loss {task.fields[loss]:.3f}  {task.fields[rate]:,.0f} events/s"),
        TimeRemainingColumn(),
        console=Console(),
    )
