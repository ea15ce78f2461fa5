"""What the exact search does differently on an accelerator and on a CPU. The answers are the same.

The figures behind these choices are in docs/results/accelerators.md.
"""

from __future__ import annotations

import dataclasses

import jax

from socialrec_jax.models.attention import current_platform
from socialrec_jax.runtime import parallel


@dataclasses.dataclass(frozen=True)
class SearchTuning:
    """How the scores [q, V] of a chunk of queries are made and read."""

    chunk_bytes: int  # of the scores of one chunk, on each device
    least_blocks: int  # of scores for each of the k, for ranking the maxima of blocks to pay
    most_queries: int = 1024  # of a chunk on each device


# 32 queries of a million items. Larger chunks are slower there.
CPU_CHUNK_BYTES = 1 << 27

# Fewer than 2^31 scores, so that 32 bits number them.
_MOST_CHUNK_BYTES = (1 << 33) - 4

# One user alone costs what a whole chunk costs (see `Index`), so a chunk is small where products
# are slow: 128 queries are 10% slower a query than 1024.
_CPU = SearchTuning(CPU_CHUNK_BYTES, least_blocks=32, most_queries=128)


def search_tuning() -> SearchTuning:
    """The tuning for this process's devices."""
    if jax.default_backend() == "cpu":
        return _CPU
    # A chunk reads the whole catalogue and starts a dozen kernels, so a large one is fast. Scores
    # may take an eighth of the memory, and twice that where XLA copies them.
    chunk_bytes = min(parallel.memory_for_data() // 2, _MOST_CHUNK_BYTES)
    return SearchTuning(chunk_bytes, least_blocks=4)


def exact_precision() -> jax.lax.Precision | jax.lax.DotAlgorithmPreset:
    """The fastest product of float32 matrices whose error is that of float32.

    By default, accelerators round the factors to TF32 or bfloat16. BF16_BF16_F32_X6 splits each
    float32 into three bfloat16 and adds the six largest of the nine products. That is what the
    precision "highest" means on a TPU. On a GPU "highest" does not use the tensor cores.
    """
    # An NVIDIA GPU whose tensor cores multiply bfloat16.
    if current_platform() == "cuda":
        return jax.lax.DotAlgorithmPreset.BF16_BF16_F32_X6
    return jax.lax.Precision.HIGHEST
