"""Benchmarks: one question a suite, ratios within one run, the last line one JSON object.

`harness/` times and records, `work/` is what is timed, `suites/` says which work answers which
question, `peers/` runs other systems, and `output/` shows the results.
"""

import os

# By default numpy's BLAS threads spin for some 20 ms after a product, in what is timed next. This
# lets them sleep at once: log2 of cycles, read when numpy is imported.
os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "4")
