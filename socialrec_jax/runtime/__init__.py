"""Devices, processes, run directories, checkpoints, the command line; knows nothing of models."""
