"""Times cases, checks them and records them as rows; knows nothing of the models."""
