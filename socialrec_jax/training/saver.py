"""Checkpoints of a training, written while the devices go on where they can."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor

import jax

from socialrec_jax.runtime import parallel
from socialrec_jax.runtime.checkpoint import Checkpoints
from socialrec_jax.training.state import TrainState


class Saver:
    """Saves states one after the other. Leaving the context waits for the last of them.

    On an accelerator another thread writes a copy on the host. It is written at once on CPUs, whose
    cores the training needs, and where several devices or processes hold parts of the state, which
    all of them write together.
    """

    def __init__(self, checkpoints: Checkpoints):
        self.checkpoints = checkpoints
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="saver")
        self._saving: Future | None = None

    def save(self, step: int, state: TrainState, progress: dict, keep: set[int]) -> None:
        """See Checkpoints.save. An error of the save before is raised here, or by `wait`."""
        self.wait()
        if not _may_go_on(state):
            self.checkpoints.save(step, state, progress, keep)
            return
        # The next step writes into the state's memory on the device.
        copy = parallel.on_host(state)
        self._saving = self._executor.submit(self.checkpoints.save, step, copy, progress, keep)

    def wait(self) -> None:
        """Until the last state is saved. Raises the error of saving it."""
        saving, self._saving = self._saving, None
        if saving is not None:
            saving.result()

    def __enter__(self) -> Saver:
        return self

    def __exit__(self, *_) -> None:
        try:
            self.wait()
        finally:
            self._executor.shutdown()


def _may_go_on(state: TrainState) -> bool:
    """Whether this process alone can copy the state, and has cores for it."""
    is_whole = all(leaf.is_fully_replicated for leaf in jax.tree.leaves(state))
    _, num_processes = parallel.process()
    return parallel.has_accelerator() and num_processes == 1 and is_whole
