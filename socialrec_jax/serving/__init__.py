"""From histories to ranked products: the path that evaluation judges and serve.py runs."""
