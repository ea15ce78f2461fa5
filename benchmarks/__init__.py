"""Benchmarks: one question a file, ratios within one run, the last line one JSON object.

Every process here allocates memory as train.py and serve.py do.
"""

from socialrec_jax.allocator import keep_freed_memory

keep_freed_memory()
