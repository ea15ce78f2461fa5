"""Benchmarks: one question a file, ratios within one run, the last line one JSON object.

Every process here allocates memory as train.py and serve.py do. numpy's BLAS threads sleep when they are done: by
default they would spin on for some 20 ms, in what is timed next.
"""

import os

from socialrec_jax.allocator import keep_freed_memory

keep_freed_memory()
os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "4")  # log2 of cycles, read when numpy is imported
