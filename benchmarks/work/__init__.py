"""What is timed, one thing a file: each function returns a `Work` for the runner."""
