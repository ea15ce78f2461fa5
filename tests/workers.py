"""Tests on several devices: JAX fixes their number when it starts, so each number is a process of
its own, or several.

A worker is a module that is run with a place to write to; `run` starts it, `options` is its first
line.
"""

from __future__ import annotations

import argparse
import os
import socket
import subprocess
import sys
from pathlib import Path

import jax

ROOT = Path(__file__).parents[1]
PATIENCE = 900  # seconds that a process may take: against those that hang, not those that are slow


def run(module: str, place: Path, devices: int, *more: str, processes: int = 1) -> list[str]:
    """Let a worker do its work in so many processes with so many devices each: see `launch`."""
    return launch("-m", module, place, "--devices", devices, *more, processes=processes)


def launch(*command, processes: int = 1, devices: int = 1) -> list[str]:
    """What each of the processes that run Python's command together prints; all must end well.

    {process} in a word of the command stands for the number of the process.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    started = []
    for number in range(processes):
        words = [sys.executable, *(str(word).replace("{process}", str(number)) for word in command)]
        place = os.environ | _place(port, processes, number) | {"JAX_NUM_CPU_DEVICES": str(devices)}
        started.append(subprocess.Popen(words, cwd=ROOT, env=place, **_PIPES))
    try:
        said = [process.communicate(timeout=PATIENCE) for process in started]
    finally:
        for process in started:
            process.kill()
    assert not any(process.returncode for process in started), "\n".join(
        errors[-3000:] for _, errors in said
    )
    return [out for out, _ in said]


_PIPES = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}


def _place(port: int, processes: int, number: int) -> dict[str, str]:
    """What tells a process of its company."""
    if processes == 1:
        return {}
    cluster = {"JAX_COORDINATOR_ADDRESS": f"127.0.0.1:{port}", "JAX_NUM_PROCESSES": str(processes)}
    return cluster | {"JAX_PROCESS_ID": str(number)}


def options(parser: argparse.ArgumentParser | None = None) -> argparse.Namespace:
    """place and devices of a worker, and what its parser knows besides; JAX has that many devices
    from here on.
    """
    parser = parser or argparse.ArgumentParser()
    parser.add_argument("place", type=Path)
    parser.add_argument("--devices", type=int, default=1)
    found = parser.parse_args()
    jax.config.update("jax_num_cpu_devices", found.devices)
    return found
