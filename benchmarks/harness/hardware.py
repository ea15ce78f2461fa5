"""What a device can do at most: dense peaks, memory and interconnect, from data sheets; of CPUs,
measured on the spot.

A device that is in no list has no ceiling here: shares are then None ("n/a"), never a guess.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks.harness.schema import Peaks

_TERA, _GIGA = 1e12, 1e9

# Traffic below this may never leave a cache, so it is not compared with the bandwidth. It is the
# largest cache here, that of server CPUs.
CACHE_BYTES = 256 << 20

# device_kind: (TFLOP/s of float32 products, TFLOP/s of bfloat16, GB/s of memory, GB/s to other
# devices one way, source).
#
# On GPUs JAX multiplies float32 in TF32 by default, which is what the first figure says; TPUs
# multiply float32 in bfloat16 passes. Figures with sparsity are halved, bidirectional ones too:
# NVLink 4 says 900 GB/s and 3 says 600, PCIe of 16 lanes 64 (generation 4) and 128 (5). The PCIe
# cards send over PCIe, whatever bridges may join two of them.
#
# Read in 2026 in NVIDIA's data sheets and at docs.cloud.google.com/tpu/docs/{v4,v5e,v5p,v6e}. These
# give the ICI of a chip but for v4, which is Jouppi et al. 2023, "TPU v4", table 4: 6 links of
# 50 GB/s.
_H100_SXM = "NVIDIA H100 data sheet, SXM, without sparsity"
_SHEETS = {
    "NVIDIA A100-SXM4-40GB": (156, 312, 1555, 300, "NVIDIA A100 data sheet, 40GB SXM"),
    "NVIDIA A100-SXM4-80GB": (156, 312, 2039, 300, "NVIDIA A100 data sheet, 80GB SXM"),
    "NVIDIA A100-PCIE-40GB": (156, 312, 1555, 32, "NVIDIA A100 data sheet, 40GB PCIe"),
    "NVIDIA A100 80GB PCIe": (156, 312, 1935, 32, "NVIDIA A100 data sheet, 80GB PCIe"),
    "NVIDIA H100 80GB HBM3": (494.7, 989.4, 3350, 450, _H100_SXM),
    "NVIDIA H100 PCIe": (378, 756.5, 2000, 64, "NVIDIA H100 data sheet, PCIe, without sparsity"),
    "NVIDIA H200": (494.7, 989.4, 4800, 450, "NVIDIA H200 data sheet, SXM, without sparsity"),
    "NVIDIA L4": (60, 121, 300, 32, "NVIDIA L4 data sheet, without sparsity"),
    "NVIDIA L40S": (183, 362, 864, 32, "NVIDIA L40S data sheet, without sparsity"),
    "TPU v4": (275, 275, 1200, 300, "Google Cloud documentation, TPU v4; ICI: Jouppi et al. 2023"),
    "TPU v5 lite": (197, 197, 819, 200, "Google Cloud documentation, TPU v5e"),
    "TPU v5e": (197, 197, 819, 200, "Google Cloud documentation, TPU v5e"),
    "TPU v5": (459, 459, 2765, 600, "Google Cloud documentation, TPU v5p"),  # the v5p's own name
    "TPU v5p": (459, 459, 2765, 600, "Google Cloud documentation, TPU v5p"),
    "TPU v6 lite": (918, 918, 1638, 400, "Google Cloud documentation, TPU v6e"),
    "TPU v6e": (918, 918, 1638, 400, "Google Cloud documentation, TPU v6e"),
}


def peaks() -> Peaks:
    """Of the first device; CPUs are measured, which takes about two seconds."""
    device = jax.devices()[0]
    return measured() if device.platform == "cpu" else listed(device.device_kind)


def listed(kind: str) -> Peaks:
    """Of a device_kind, by its whole name.

    A part of a card, or a card of the same family with another memory, is another device.
    """
    if kind not in _SHEETS:
        return Peaks(kind, "n/a: not in the list of data sheets")
    float32, bfloat16, bandwidth, interconnect, source = _SHEETS[kind]
    return Peaks(
        device=kind,
        source=source,
        float32=float32 * _TERA,
        bfloat16=bfloat16 * _TERA,
        bandwidth=bandwidth * _GIGA,
        interconnect=interconnect * _GIGA,
    )


def measured() -> Peaks:
    """The best of several products and copies on this CPU: a ceiling, so the best and not the
    median.

    Its virtual devices are one memory: nothing travels, so they have no interconnect.
    """
    n, bytes_each_way = 1536, 256 << 20
    product_seconds = _fastest(lambda square: square @ square / n, jnp.ones((n, n)))
    copy_seconds = _fastest(lambda column: column + 1, jnp.ones(bytes_each_way // 4))
    flops = 2 * n**3 / product_seconds
    return Peaks(
        device="cpu",
        source="measured here: a product of 1,536 x 1,536 and 256 MiB written over themselves",
        float32=flops,
        bfloat16=flops,
        bandwidth=2 * bytes_each_way / copy_seconds,
    )


def at_least(first: Peaks, second: Peaks) -> Peaks:
    """The higher ceiling of two measurements: another program may have had the cores during one of
    them.
    """
    return Peaks(
        device=first.device,
        source=first.source,
        float32=max(first.float32 or 0, second.float32 or 0),
        bfloat16=max(first.bfloat16 or 0, second.bfloat16 or 0),
        bandwidth=max(first.bandwidth or 0, second.bandwidth or 0),
        interconnect=first.interconnect,
    )


def _fastest(function: Callable, carry: Any, repeats: int = 8) -> float:
    """Seconds of the fastest call.

    It writes in place, as training updates do: fresh memory costs more than writing to it.
    """
    call = jax.jit(function, donate_argnums=0)
    carry = jax.block_until_ready(call(carry))
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        carry = jax.block_until_ready(call(carry))
        seconds.append(time.perf_counter() - start)
    return min(seconds)
