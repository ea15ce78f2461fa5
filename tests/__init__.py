import gc

# JAX makes many objects while it traces, and few of them are garbage: with Python's thresholds,
# looking for it takes a tenth of the processor time of tests.
gc.set_threshold(20_000, 20, 50)
