"""What `tests.workers` imports once, before it forks the processes of tests.

Importing starts no JAX backend, which could not be forked.
"""

# ruff: noqa: F401
import gc

import duckdb
import flax.linen
import jax
import matplotlib.pyplot
import optax
import orbax.checkpoint
import scipy.optimize
import tensorboardX  # imports torch where it is installed, which takes seconds
import tokenizers

import socialrec_jax.pipeline.evaluate
import socialrec_jax.pipeline.refit
import socialrec_jax.pipeline.text
import socialrec_jax.serving.tasks.recommend

# No forked process looks for garbage among what was imported.
gc.freeze()
