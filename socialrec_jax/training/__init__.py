"""Losses, optimiser, the step, the loop, checkpoints."""
