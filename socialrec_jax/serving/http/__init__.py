"""`serve.py http`: the tasks of a Recommender behind HTTP, concurrent requests joined."""
