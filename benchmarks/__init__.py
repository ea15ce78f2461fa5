"""Benchmarks: one question a file, ratios within one run, the last line one JSON object."""
