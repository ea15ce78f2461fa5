"""What a device can do at most: dense peaks and memory bandwidth, from data sheets; of CPUs, measured on the spot.

A device that is in no list has no ceiling here: shares are then None ("n/a"), never a guess.
"""

from __future__ import annotations

import dataclasses
import resource
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp

_TERA, _GIGA = 1e12, 1e9
CACHE_BYTES = 256 << 20  # traffic below this may never leave a cache (the largest here: server CPUs): not judged


@dataclasses.dataclass(frozen=True)
class Peaks:
    """Ceilings of one device; None where no source says."""

    device: str
    source: str
    float32: float | None = None  # FLOP/s of matrix products with JAX's default precision
    bfloat16: float | None = None  # FLOP/s, dense
    bandwidth: float | None = None  # bytes/s of main memory

    def flops(self, dtype: str) -> float | None:
        return self.bfloat16 if dtype == "bfloat16" else self.float32


# (part of jax's device_kind, TFLOP/s of float32 products, TFLOP/s of bfloat16, GB/s, source). On GPUs JAX multiplies
# float32 in TF32 by default, which is what the first figure says. TPUs multiply float32 in bfloat16 passes by default.
# The longer name first: "TPU v5" alone is how v5p calls itself.
_SHEETS = (
    ("A100-SXM4-40GB", 156, 312, 1555, "NVIDIA A100 data sheet, 40GB SXM"),
    ("A100-SXM4-80GB", 156, 312, 2039, "NVIDIA A100 data sheet, 80GB SXM"),
    ("H100 80GB HBM3", 494.7, 989.4, 3350, "NVIDIA H100 data sheet, SXM, without sparsity"),
    ("H200", 494.7, 989.4, 4800, "NVIDIA H200 data sheet, SXM, without sparsity"),
    ("TPU v4", 275, 275, 1228, "Google Cloud documentation, TPU v4"),
    ("TPU v5 lite", 197, 197, 819, "Google Cloud documentation, TPU v5e"),
    ("TPU v5e", 197, 197, 819, "Google Cloud documentation, TPU v5e"),
    ("TPU v5", 459, 459, 2765, "Google Cloud documentation, TPU v5p"),
    ("TPU v6 lite", 918, 918, 1640, "Google Cloud documentation, TPU v6e"),
    ("TPU v6e", 918, 918, 1640, "Google Cloud documentation, TPU v6e"),
)


def peaks() -> Peaks:
    """Of the first device; CPUs are measured, which takes about two seconds."""
    device = jax.devices()[0]
    return measured() if device.platform == "cpu" else listed(device.device_kind)


def listed(kind: str) -> Peaks:
    for name, float32, bfloat16, bandwidth, source in _SHEETS:
        if name in kind:
            return Peaks(kind, source, float32 * _TERA, bfloat16 * _TERA, bandwidth * _GIGA)
    return Peaks(kind, "n/a: not in the list of data sheets")


def measured() -> Peaks:
    """The best of several products and copies on this CPU: a ceiling, so the best and not the median."""
    n = 1536
    square = jnp.ones((n, n))
    product = _best(jax.jit(lambda x: x @ x), square)
    column = jnp.ones(1 << 26)
    copied = _best(jax.jit(lambda x: x + 1), column)
    rate = 2 * n**3 / product
    return Peaks(
        "cpu", "measured here: a product of 1,536 x 1,536 and a copy of 256 MiB", rate, rate, 2 * column.nbytes / copied
    )


def at_least(first: Peaks, second: Peaks) -> Peaks:
    """The higher ceiling of two measurements: another program may have had the cores during one of them."""
    best = {n: max(getattr(first, n) or 0, getattr(second, n) or 0) for n in ("float32", "bfloat16", "bandwidth")}
    return dataclasses.replace(first, **best)


def _best(function, argument, repeats: int = 8) -> float:
    jax.block_until_ready(function(argument))
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        jax.block_until_ready(function(argument))
        times.append(time.perf_counter() - began)
    return min(times)


def peak_resident_bytes() -> int:
    """The most memory that this process ever held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


class PeakMemory:
    """Peak bytes since it was made: of the process on CPUs (Linux), of the first device elsewhere.

    A device's own counter cannot be set back, so there the peak is that of the process so far.
    """

    def __init__(self) -> None:
        self._on_cpu = jax.devices()[0].platform == "cpu"
        self._linux = sys.platform == "linux"
        if self._on_cpu and self._linux:
            try:
                Path("/proc/self/clear_refs").write_text("5")  # sets VmHWM back to what is resident now
            except OSError:  # not allowed here: the peak of the process so far
                self._linux = False

    def read(self) -> int | None:
        if not self._on_cpu:
            return (jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use")
        if not self._linux:
            return peak_resident_bytes()
        status = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))
