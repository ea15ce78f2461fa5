"""Attention within segments in one GPU kernel, and its gradients in two more.

Nothing of size [T, T] is ever in memory: a program keeps one block of queries and passes over the
blocks of keys that they attend to, with a running maximum and sum (flash attention, Dao 2023).
Blocks of other segments are skipped, which cuDNN's attention cannot do. No atomic operations, so
equal inputs give equal bits.

Written in Pallas for its Triton backend. Block sizes are the fastest of those tried on an H100
(docs/results/accelerators.md).
"""

from socialrec_jax.models.kernels.fused.attend import attend

__all__ = ["attend"]
