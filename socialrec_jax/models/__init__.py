"""Flax modules: no files, no devices, no losses."""
