"""The stages of a training run, one file each; `run.py` has their order."""
