"""Implementations of attention, one file each; `models/attention.py` chooses among them."""
