"""The engine of several machines: Spark, which runs the same statements, translated by sqlglot."""
