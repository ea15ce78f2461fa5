"""Tests on several devices: JAX fixes their number when it starts, so each number is a process of its own.

A worker is a module that is run with a place to write to; `run` starts it, `options` is its first line.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import jax

ROOT = Path(__file__).parents[1]


def run(module: str, place: Path, devices: int, *more: str, timeout: int = 120) -> None:
    """Let a worker do its work, which must end well."""
    command = [sys.executable, "-m", module, str(place), "--devices", str(devices), *more]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=timeout)
    assert done.returncode == 0, done.stderr[-2000:]


def options(parser: argparse.ArgumentParser | None = None) -> argparse.Namespace:
    """place and devices of a worker, and what its parser knows besides; JAX has that many devices from here on."""
    parser = parser or argparse.ArgumentParser()
    parser.add_argument("place", type=Path)
    parser.add_argument("--devices", type=int, default=1)
    found = parser.parse_args()
    jax.config.update("jax_num_cpu_devices", found.devices)
    return found
