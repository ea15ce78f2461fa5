"""The engine of one machine: DuckDB, which sorts and joins on disk within a bound of memory."""
