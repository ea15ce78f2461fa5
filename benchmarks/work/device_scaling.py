"""The retriever's step in a process with a chosen number of devices.

Each number of devices is a process of its own, since JAX fixes its devices when it starts. The
process makes one step for each line on its standard input, so that several processes are measured
in turn like any other cases.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import subprocess
import sys
from typing import IO, Any

import numpy as np

from benchmarks.harness.cases import Work, expect_close
from benchmarks.harness.workloads import SEQUENCES, Sequences


def step_on_devices(name: str, devices: int, rows: int) -> Work:
    """A step of so many rows over so many devices; its first loss must be that of one device."""
    worker = WorkerProcess(name, devices, rows)
    about = worker.about

    def check(_) -> None:
        expect_close("the first loss", about["first_loss"], about["reference_loss"], 1e-3)

    return Work(
        call=worker.step,
        carry=None,
        check=check,
        unit="events",
        units_per_call=about["events"],
        padding_share=about["padding_share"],
        flops=about["flops"],
        bytes=about["bytes"],
        network_bytes=about["network_bytes"],
        devices=devices,
        peak_memory=lambda: worker.peak_memory,
        close=worker.close,
    )


class WorkerProcess:
    """A process that makes one step for each line that it is sent."""

    def __init__(self, name: str, devices: int, rows: int):
        self.peak_memory: int | None = None
        command = [sys.executable, "-m", __name__, name, str(devices), str(rows)]
        # Several processes share the devices, so none may reserve all of their memory.
        variables = os.environ | {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=variables)
        self.about = self._answer()

    def step(self, _: Any) -> float:
        requests = _open(self._process.stdin)
        requests.write("step\n")
        # Else the line could wait in a buffer.
        requests.flush()
        # The answer comes when the step is done, so that the clock of this process is right.
        answer = self._answer()
        self.peak_memory = answer["peak_memory"]
        return answer["loss"]

    def close(self) -> None:
        # This closes the process's input, which ends it.
        self._process.communicate()

    def _answer(self) -> dict:
        line = _open(self._process.stdout).readline()
        if not line:
            raise RuntimeError(f"the worker process ended with {self._process.wait()}")
        return json.loads(line)


def _open(stream: IO[str] | None) -> IO[str]:
    assert stream is not None
    return stream


def worker(name: str, devices: int, rows: int) -> None:
    """The other end: devices are fixed first, then lines of standard input are answered."""
    _set_devices(devices)
    import jax

    from benchmarks.harness.memory import PeakMemory
    from benchmarks.work import steps

    # From here on: what importing took does not count.
    memory = PeakMemory()
    workload = dataclasses.replace(SEQUENCES[name], rows=rows)
    batches = workload.batches()
    batch = batches.at(0)
    trainer = steps.trainer_of(workload, batches.item_counts(workload.items))
    state, call = trainer.init(batch), trainer.compile()
    about = _describe(workload, state, batch, devices)
    # numpy arrays: the reference then runs on the first device alone.
    on_one_device = jax.tree.map(np.asarray, state)
    about["reference_loss"] = float(steps.reference_loss(trainer, on_one_device, batch))
    state, losses = call(state, steps.as_call(batch))
    about["first_loss"] = float(losses[0])
    print(json.dumps(about), flush=True)
    # The input ends when the other end closes it.
    for _ in sys.stdin:
        state, losses = jax.block_until_ready(call(state, steps.as_call(batch)))
        answer = {"loss": float(losses[0]), "peak_memory": memory.read()}
        print(json.dumps(answer), flush=True)


def _set_devices(devices: int) -> None:
    """Before JAX looks for its devices."""
    import jax

    jax.config.update("jax_num_cpu_devices", devices)
    os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(map(str, range(devices)))


def _describe(workload: Sequences, state: Any, batch: Any, devices: int) -> dict[str, float]:
    """Units and closed-form costs of a step."""
    from benchmarks.harness import flops
    from benchmarks.work import steps

    events = steps.num_events(batch)
    forward_flops, traffic = steps.step_cost(workload, state, batch)
    parameters = steps.num_parameters(state.params)
    return {
        "events": events,
        "padding_share": 1 - events / batch.segments.size,
        "flops": flops.TRAINING * forward_flops,
        "bytes": traffic,
        "network_bytes": flops.all_reduce_bytes(parameters, devices),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="a worker process of the suite `scale`")
    parser.add_argument("name")
    parser.add_argument("devices", type=int)
    parser.add_argument("rows", type=int)
    worker(**vars(parser.parse_args()))
