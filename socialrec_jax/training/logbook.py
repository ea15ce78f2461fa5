"""Where the numbers of a training go: one JSON object a line for programs, TensorBoard for people."""

from __future__ import annotations

import time

from tensorboardX import SummaryWriter

from socialrec_jax.run import RunDirectory


class Logbook:
    """Appends to RUN/metrics.jsonl and RUN/tensorboard/STAGE; what a killed run wrote after `step` is forgotten."""

    def __init__(self, run: RunDirectory, stage: str, step: int):
        self.run, self.stage = run, stage
        run.forget_metrics_after(stage, step)
        self.board = SummaryWriter(str(run.path / "tensorboard" / stage), purge_step=step + 1)

    def write(self, step: int, **values: float) -> None:
        self.run.log(stage=self.stage, step=step, time=round(time.time(), 3), **values)
        for name, value in values.items():
            self.board.add_scalar(name, value, step)

    def close(self) -> None:
        self.board.close()
