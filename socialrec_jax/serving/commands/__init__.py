"""The command line of `serve.py`: one class a task. JAX is imported when a task starts."""
