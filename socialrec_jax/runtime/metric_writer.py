"""The metrics of a training: JSON lines for programs, TensorBoard for people."""

from __future__ import annotations

import time

from socialrec_jax.runtime import processes
from socialrec_jax.runtime.run import RunDirectory


class MetricWriter:
    """Appends to RUN/metrics.jsonl and RUN/tensorboard/STAGE; only process 0 writes.

    Lines after `step`, which a killed run wrote and this one will write again, are deleted.
    """

    def __init__(self, run: RunDirectory, stage: str, step: int):
        self.run = run
        self.stage = stage
        self.tensorboard = None
        if processes.is_main():
            # Imported late: it imports torch where that is installed, which takes seconds.
            from tensorboardX import SummaryWriter

            run.delete_metrics_after(stage, step)
            # TensorBoard hides what a killed run wrote after this step.
            folder = run.path / "tensorboard" / stage
            self.tensorboard = SummaryWriter(str(folder), purge_step=step + 1)

    def write(self, step: int, **values: float) -> None:
        if self.tensorboard is None:
            return
        self.run.log(stage=self.stage, step=step, time=round(time.time(), 3), **values)
        for name, value in values.items():
            self.tensorboard.add_scalar(name, value, step)

    def close(self) -> None:
        if self.tensorboard is not None:
            self.tensorboard.close()
