"""The search that is measured is right, and holds the catalogue few times over."""

from benchmarks.work.search import measure


def test_a_small_twin_of_the_large_search():
    found = measure(num_items=20_000, width=16, num_users=20, k=50)  # checks an answer
    assert found["users"] == 20
    assert found["catalogue_mb"] == 1
    assert found["gflop_per_second"] > 0
