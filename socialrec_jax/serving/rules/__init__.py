"""Business rules of recommendations: which items may come, and how a list is put together."""
