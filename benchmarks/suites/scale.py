"""How much faster are N devices? The same step shared by all (strong), and N times the step (weak).

Each number of devices is a process of its own, since JAX fixes its devices when it starts. The
process trains when it is told to on its standard input, so that all of them are measured in turn
like any other cases. A CPU is split into virtual devices that share its cores: what is measured
there is what devices cost, not what they gain.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import subprocess
import sys
from functools import partial
from typing import Any

import numpy as np

from benchmarks.harness import workloads
from benchmarks.harness.cases import Case, Work, expect_close
from benchmarks.harness.workloads import SEQUENCES

_MOST_VIRTUAL = 4


def cases(tiny: bool) -> list[Case]:
    (name,) = workloads.sized(("beauty-packed",), tiny)
    return [
        Case(f"{kind} {devices}", name, partial(scaled, name, devices, kind == "weak"), kind)
        for kind in ("strong", "weak")
        for devices in device_counts()
    ]


def device_counts() -> list[int]:
    """1, 2, 4, ... up to all devices here, or to some virtual ones."""
    import jax

    most = _MOST_VIRTUAL if jax.devices()[0].platform == "cpu" else jax.local_device_count()
    return [2**power for power in range(most.bit_length()) if 2**power <= most]


def scaled(name: str, devices: int, weak: bool) -> Work:
    """The step in a process with this many devices; its first loss has to be that of one device."""
    worker = Worker(name, devices, SEQUENCES[name].rows * (devices if weak else 1))
    return Work(
        call=worker.step,
        carry=None,
        check=lambda _: expect_close("the first loss", worker.first_loss, worker.reference, 1e-3),
        unit="events",
        units_per_call=worker.events,
        padding_share=worker.padding_share,
        flops=worker.flops,
        bytes=worker.bytes,
        network_bytes=worker.network_bytes,
        devices=devices,
        peak_memory=lambda: worker.peak_memory,
        close=worker.close,
    )


class Worker:
    """A process that makes a step for each line it is sent."""

    def __init__(self, name: str, devices: int, rows: int):
        self.peak_memory: int | None = None
        command = [sys.executable, "-m", "benchmarks.suites.scale", name, str(devices), str(rows)]
        environment = os.environ | {
            "XLA_PYTHON_CLIENT_PREALLOCATE": "false"
        }  # several processes share a device
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(
            command, stdin=pipe, stdout=pipe, text=True, env=environment
        )
        about = self._answer()
        self.events, self.padding_share = about["events"], about["padding_share"]
        self.first_loss, self.reference = about["first_loss"], about["reference"]
        self.flops, self.bytes, self.network_bytes = (
            about["flops"],
            about["bytes"],
            about["network_bytes"],
        )

    def step(self, _: Any) -> float:
        assert self._process.stdin is not None
        self._process.stdin.write("step\n")
        self._process.stdin.flush()
        answer = self._answer()
        self.peak_memory = answer["peak_memory"]
        return answer["loss"]

    def close(self) -> None:
        self._process.communicate()  # closes its input, which ends it

    def _answer(self) -> dict:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the process with more devices ended with {self._process.wait()}")
        return json.loads(line)


def work() -> None:
    """The other end: devices are fixed first, then lines of standard input are answered."""
    parser = argparse.ArgumentParser(description="a worker of the suite `scale`")
    parser.add_argument("name")
    parser.add_argument("devices", type=int)
    parser.add_argument("rows", type=int)
    options = parser.parse_args()
    import jax

    jax.config.update("jax_num_cpu_devices", options.devices)
    os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(map(str, range(options.devices)))
    from benchmarks.harness import flops
    from benchmarks.harness.hardware import PeakMemory
    from benchmarks.work import steps

    memory = PeakMemory()
    workload = dataclasses.replace(SEQUENCES[options.name], rows=options.rows)
    batches = workload.batches()
    batch = batches.at(0)
    trainer = steps.trainer_of(workload, batches.item_counts(workload.items))
    state, call = trainer.init(batch), trainer.compile()
    one_device = jax.tree.map(np.asarray, state)
    reference = float(steps.reference_loss(trainer, one_device, batch))
    state, losses = call(state, steps.as_call(batch))
    forward, traffic = steps.step_cost(workload, state, batch)
    sent = flops.all_reduce_bytes(steps.num_parameters(state.params), options.devices)
    about = {
        "events": int((batch.segments > 0).sum()),
        "first_loss": float(losses[0]),
        "reference": reference,
    }
    about |= {"flops": flops.TRAINING * forward, "bytes": traffic, "network_bytes": sent}
    print(
        json.dumps(about | {"padding_share": 1 - about["events"] / batch.segments.size}), flush=True
    )
    for _ in sys.stdin:
        state, losses = jax.block_until_ready(call(state, steps.as_call(batch)))
        print(json.dumps({"loss": float(losses[0]), "peak_memory": memory.read()}), flush=True)


if __name__ == "__main__":
    work()
