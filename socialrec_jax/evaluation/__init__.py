"""Metrics, the protocol, baselines, the report."""
