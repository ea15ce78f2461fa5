"""How accuracy is measured: queries, ranks, metrics, baselines and evaluators."""
