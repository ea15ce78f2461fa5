"""What a device can do at most: dense peaks, memory and interconnect, from data sheets; of CPUs,
measured on the spot.

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

from socialrec_jax.runtime import memory

_TERA, _GIGA = 1e12, 1e9
CACHE_BYTES = (
    256 << 20
)  # traffic below this may never leave a cache (the largest here: server CPUs): not judged


@dataclasses.dataclass(frozen=True)
class Peaks:
    """Ceilings of one device; None where no source says."""

    device: str
    source: str
    float32: float | None = None  # FLOP/s of matrix products with JAX's default precision
    bfloat16: float | None = None  # FLOP/s, dense
    bandwidth: float | None = None  # bytes/s of main memory
    interconnect: float | None = None  # bytes/s to the other devices of this host, one way

    def flops(self, dtype: str) -> float | None:
        return self.bfloat16 if dtype == "bfloat16" else self.float32


# device_kind: (TFLOP/s of float32 products and of bfloat16, GB/s of memory, GB/s to other devices
# one way, source). On GPUs JAX multiplies float32 in TF32 by default, which is what the first
# figure says; TPUs multiply float32 in bfloat16 passes. Figures with sparsity are halved,
# bidirectional ones too: NVLink 4 says 900 GB/s and 3 says 600, PCIe of 16 lanes 64 (generation 4)
# and 128 (5). The cards below send over PCIe, whatever bridges may join two of them. Read in 2026
# in NVIDIA's data sheets and at docs.cloud.google.com/tpu/docs/{v4,v5e,v5p,v6e}; these give the ICI
# of a chip but for v4, which is Jouppi et al. 2023, "TPU v4", table 4: 6 links of 50 GB/s.
_SHEETS = {
    "NVIDIA A100-SXM4-40GB": (156, 312, 1555, 300, "NVIDIA A100 data sheet, 40GB SXM"),
    "NVIDIA A100-SXM4-80GB": (156, 312, 2039, 300, "NVIDIA A100 data sheet, 80GB SXM"),
    "NVIDIA A100-PCIE-40GB": (156, 312, 1555, 32, "NVIDIA A100 data sheet, 40GB PCIe"),
    "NVIDIA A100 80GB PCIe": (156, 312, 1935, 32, "NVIDIA A100 data sheet, 80GB PCIe"),
    "NVIDIA H100 80GB HBM3": (
        494.7,
        989.4,
        3350,
        450,
        "NVIDIA H100 data sheet, SXM, without sparsity",
    ),
    "NVIDIA H100 PCIe": (378, 756.5, 2000, 64, "NVIDIA H100 data sheet, PCIe, without sparsity"),
    "NVIDIA H200": (494.7, 989.4, 4800, 450, "NVIDIA H200 data sheet, SXM, without sparsity"),
    "NVIDIA L4": (60, 121, 300, 32, "NVIDIA L4 data sheet, without sparsity"),
    "NVIDIA L40S": (183, 362, 864, 32, "NVIDIA L40S data sheet, without sparsity"),
    "TPU v4": (275, 275, 1200, 300, "Google Cloud documentation, TPU v4; ICI: Jouppi et al. 2023"),
    "TPU v5 lite": (197, 197, 819, 200, "Google Cloud documentation, TPU v5e"),
    "TPU v5e": (197, 197, 819, 200, "Google Cloud documentation, TPU v5e"),
    "TPU v5": (459, 459, 2765, 600, "Google Cloud documentation, TPU v5p"),  # it calls itself so
    "TPU v5p": (459, 459, 2765, 600, "Google Cloud documentation, TPU v5p"),
    "TPU v6 lite": (918, 918, 1638, 400, "Google Cloud documentation, TPU v6e"),
    "TPU v6e": (918, 918, 1638, 400, "Google Cloud documentation, TPU v6e"),
}


def peaks() -> Peaks:
    """Of the first device; CPUs are measured, which takes about two seconds."""
    device = jax.devices()[0]
    return measured() if device.platform == "cpu" else listed(device.device_kind)


def listed(kind: str) -> Peaks:
    """Of a device_kind, all of it: a part of a card, or a namesake with another memory, is another
    device.
    """
    if kind not in _SHEETS:
        return Peaks(kind, "n/a: not in the list of data sheets")
    float32, bfloat16, bandwidth, interconnect, source = _SHEETS[kind]
    return Peaks(
        kind, source, float32 * _TERA, bfloat16 * _TERA, bandwidth * _GIGA, interconnect * _GIGA
    )


def measured() -> Peaks:
    """The best of several products and copies on this CPU: a ceiling, so the best and not the
    median.

    Its virtual devices are one memory: nothing travels, so they have no interconnect.
    """
    n, bytes_each_way = 1536, 256 << 20
    product = _best(lambda square: square @ square / n, jnp.ones((n, n)))
    copied = _best(lambda column: column + 1, jnp.ones(bytes_each_way // 4))
    rate = 2 * n**3 / product
    source = "measured here: a product of 1,536 x 1,536 and 256 MiB written over themselves"
    return Peaks("cpu", source, rate, rate, 2 * bytes_each_way / copied)


def at_least(first: Peaks, second: Peaks) -> Peaks:
    """The higher ceiling of two measurements: another program may have had the cores during one of
    them.
    """
    best = {
        n: max(getattr(first, n) or 0, getattr(second, n) or 0)
        for n in ("float32", "bfloat16", "bandwidth")
    }
    return dataclasses.replace(first, **best)


def _best(function, carry, repeats: int = 8) -> float:
    """Seconds of the fastest call; in place, as training updates: fresh memory costs more than
    writing to it.
    """
    call = jax.jit(function, donate_argnums=0)
    carry = jax.block_until_ready(call(carry))
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        carry = jax.block_until_ready(call(carry))
        times.append(time.perf_counter() - began)
    return min(times)


def peak_resident_bytes() -> int:
    """The most memory that this process ever held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (
        1 if sys.platform == "darwin" else 1024
    )


def stay_within_memory() -> None:
    """Let an allocation fail that would take more than 95% of what the machine has left; on CPUs,
    with Linux.

    A case that is too large is then a row that says so; the system would kill the process, rows and
    all.
    """
    if (
        sys.platform != "linux" or jax.devices()[0].platform != "cpu"
    ):  # drivers of accelerators map what they please
        return
    left = _kilobytes("/proc/meminfo", "MemAvailable") * 1024
    held = _kilobytes("/proc/self/status", "VmData") * 1024
    resource.setrlimit(
        resource.RLIMIT_DATA, (held + int(0.95 * left), resource.getrlimit(resource.RLIMIT_DATA)[1])
    )


def _kilobytes(file: str, name: str) -> int:
    return next(
        int(line.split()[1])
        for line in Path(file).read_text().splitlines()
        if line.startswith(f"{name}:")
    )


class PeakMemory:
    """Peak bytes since it was made: of the process on CPUs (Linux), of the first device elsewhere.

    A device's own counter cannot be set back, so there the peak is that of the process so far.
    """

    def __init__(self) -> None:
        self._on_cpu = jax.devices()[0].platform == "cpu"
        self._linux = sys.platform == "linux"
        if self._on_cpu and self._linux:
            memory.release_freed_memory()
            try:
                Path("/proc/self/clear_refs").write_text(
                    "5"
                )  # sets VmHWM back to what is resident now
            except OSError:  # not allowed here: the peak of the process so far
                self._linux = False

    def read(self) -> int | None:
        if not self._on_cpu:
            return (jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use")
        if not self._linux:
            return peak_resident_bytes()
        return _kilobytes("/proc/self/status", "VmHWM") * 1024
