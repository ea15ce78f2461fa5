"""train.py or serve.py with short trainings, which prints a line for each stage that it enters.

python -m tests.torture.staged train.py|serve.py OPTIONS
"""

from __future__ import annotations

import functools
import sys

from socialrec_jax.runtime.signals import exit_at_once


def main() -> None:
    exit_at_once()
    print("stage start", flush=True)
    program, *arguments = sys.argv[1:]

    import jax
    import pytest

    from socialrec_jax.runtime.timeline import Timeline
    from tests.pipeline.short_run import shorten_training

    enter = Timeline._go_on_as

    def enter_and_print(timeline: Timeline, stage: str) -> None:
        print(f"stage {stage}", flush=True)
        enter(timeline, stage)

    with pytest.MonkeyPatch.context() as patch:
        shorten_training(patch)
        patch.setattr(Timeline, "_go_on_as", enter_and_print)
        # By default JAX waits for 100 seconds until it takes a silent process for dead, and for 300
        # until all have come.
        initialize = functools.partial(
            jax.distributed.initialize, heartbeat_timeout_seconds=20, initialization_timeout=30
        )
        patch.setattr(jax.distributed, "initialize", initialize)
        _run(program, arguments)


def _run(program: str, arguments: list[str]) -> None:
    if program == "train.py":
        import train

        train.main(arguments)
    else:
        import serve

        serve.main(arguments)


if __name__ == "__main__":
    main()
