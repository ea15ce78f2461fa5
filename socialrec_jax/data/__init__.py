"""Raw tables to World, World to Batch: numpy and DuckDB only."""
