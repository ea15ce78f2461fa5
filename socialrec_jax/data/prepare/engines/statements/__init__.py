"""What happens to whole tables, as SQL in DuckDB's dialect, whichever database runs it."""
