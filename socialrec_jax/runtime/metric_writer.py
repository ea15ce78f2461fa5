"""Where the numbers of a training go: one JSON object a line for programs, TensorBoard for
people.
"""

from __future__ import annotations

import time

from socialrec_jax.runtime import processes
from socialrec_jax.runtime.run import RunDirectory


class MetricWriter:
    """Appends to RUN/metrics.jsonl and RUN/tensorboard/STAGE; what a killed run wrote after `step`
    is forgotten.

    Of several processes the first alone writes.
    """

    def __init__(self, run: RunDirectory, stage: str, step: int):
        self.run, self.stage = run, stage
        self.board = None
        if processes.is_main():
            from tensorboardX import (
                SummaryWriter,  # imports torch where there is one: seconds, for who trains alone
            )

            run.forget_metrics_after(stage, step)
            self.board = SummaryWriter(str(run.path / "tensorboard" / stage), purge_step=step + 1)

    def write(self, step: int, **values: float) -> None:
        if self.board is None:
            return
        self.run.log(stage=self.stage, step=step, time=round(time.time(), 3), **values)
        for name, value in values.items():
            self.board.add_scalar(name, value, step)

    def close(self) -> None:
        if self.board is not None:
            self.board.close()
