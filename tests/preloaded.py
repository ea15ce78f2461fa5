"""What `tests.workers` imports once, before it forks the processes of tests.

Importing starts no JAX backend, which could not be forked.
"""

# ruff: noqa: F401
import gc
import sys

import duckdb
import flax.linen
import jax
import matplotlib.figure
import optax
import orbax.checkpoint
import scipy.optimize
import tokenizers

import socialrec_jax.pipeline.evaluate
import socialrec_jax.pipeline.refit
import socialrec_jax.pipeline.text
import socialrec_jax.serving.tasks.recommend

# tensorboardX imports torch where it is installed, which takes a second and a half, and does
# without it.
if "torch" not in sys.modules:
    sys.modules["torch"] = None
    import tensorboardX

    del sys.modules["torch"]

# No forked process looks for garbage among what was imported.
gc.freeze()
