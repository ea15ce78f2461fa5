"""Self-contained pages: the report of a run, and what the benchmarks' pages share with it."""
