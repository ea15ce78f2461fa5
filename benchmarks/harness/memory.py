"""Peak memory of a case, and a limit that lets too large a case fail instead of the process."""

from __future__ import annotations

import resource
import sys
from pathlib import Path

import jax

from socialrec_jax.runtime import memory

_LIMIT_SHARE = 0.95  # of the memory that is available


def peak_resident_bytes() -> int:
    """The most memory that this process ever held."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # macOS counts bytes, Linux kilobytes.
    return peak if sys.platform == "darwin" else peak * 1024


def limit_allocations() -> None:
    """Let an allocation fail that would take more than 95% of the memory that is available; on
    CPUs, with Linux.

    A case that is too large is then a row that says so. Without a limit the system would kill the
    process, and the rows that are not yet measured with it.
    """
    # Drivers of accelerators map much more than they use.
    if sys.platform != "linux" or jax.devices()[0].platform != "cpu":
        return
    available = _kilobytes("/proc/meminfo", "MemAvailable") * 1024
    allocated = _kilobytes("/proc/self/status", "VmData") * 1024
    limit = allocated + int(_LIMIT_SHARE * available)
    _, hard_limit = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, hard_limit))


def _kilobytes(file: str, name: str) -> int:
    for line in Path(file).read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1])
    raise KeyError(f"{file} has no {name}")


class PeakMemory:
    """Peak bytes since it was made: of the process on CPUs (Linux), of the first device elsewhere.

    A device's own counter cannot be reset, so there the peak is that of the process so far.
    """

    def __init__(self) -> None:
        self._on_cpu = jax.devices()[0].platform == "cpu"
        self._can_reset = self._on_cpu and sys.platform == "linux" and _reset_peak()

    def read(self) -> int | None:
        if not self._on_cpu:
            statistics = jax.devices()[0].memory_stats() or {}
            return statistics.get("peak_bytes_in_use")
        if not self._can_reset:
            return peak_resident_bytes()
        return _kilobytes("/proc/self/status", "VmHWM") * 1024


def _reset_peak() -> bool:
    """Set Linux's peak of this process (VmHWM) back to what is resident now, where that is
    allowed.
    """
    memory.give_back()
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True
