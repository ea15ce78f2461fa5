"""How much faster are N devices? The same step shared by all (strong), and N times the step (weak).

A CPU is split into virtual devices that share its cores: what is measured there is what devices
cost, not what they gain.
"""

from __future__ import annotations

from functools import partial

import jax

from benchmarks.harness import workloads
from benchmarks.harness.cases import Case
from benchmarks.harness.workloads import SEQUENCES
from benchmarks.work.device_scaling import step_on_devices

_VIRTUAL_DEVICES = 4  # at most


def cases(tiny: bool) -> list[Case]:
    (name,) = workloads.sized(("beauty-packed",), tiny)
    rows = SEQUENCES[name].rows
    strong, weak = [], []
    for devices in device_counts():
        # Strong: the same rows, shared by all devices.
        shared = partial(step_on_devices, name, devices, rows)
        strong.append(Case(f"strong {devices}", name, shared, "strong"))
        # Weak: each device has as many rows as one device alone.
        grown = partial(step_on_devices, name, devices, rows * devices)
        weak.append(Case(f"weak {devices}", name, grown, "weak"))
    return strong + weak


def device_counts() -> list[int]:
    """1, 2, 4, ... up to all devices here, or to some virtual ones."""
    on_cpu = jax.devices()[0].platform == "cpu"
    most = _VIRTUAL_DEVICES if on_cpu else jax.local_device_count()
    return [2**power for power in range(most.bit_length()) if 2**power <= most]
