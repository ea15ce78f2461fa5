"""Benchmarks: one question a file, ratios within one run, the last line one JSON object.

numpy's BLAS threads sleep here when they are done: by default they spin on for some 20 ms, in what
is timed next.
"""

import os

os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "4")  # log2 of cycles, read when numpy is imported
