"""The search that is measured is right, with seen items and without."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.harness.cases import WrongResult
from benchmarks.work.search import search


@pytest.mark.parametrize("seen_per_user", [0, 20])
def test_a_search_finds_the_best_items_that_were_not_seen(seen_per_user):
    work = search("catalogue-1m-tiny", k=50, seen_per_user=seen_per_user)
    items, scores, sums = work.call(work.carry)
    work.check((items, scores, sums))
    assert len(items) == work.units_per_call


def test_a_search_that_gives_seen_items_is_wrong():
    with_seen = search("catalogue-1m-tiny", k=50, seen_per_user=100)
    without_seen = search("catalogue-1m-tiny", k=50)
    with pytest.raises(WrongResult):
        with_seen.check(without_seen.call(None))


def test_the_same_users_search_in_both_cases():
    """Else the two cases of the suite could not be compared."""
    some_seen = search("catalogue-1m-tiny", k=5, seen_per_user=1).call(None)
    none_seen = search("catalogue-1m-tiny", k=5).call(None)
    assert (some_seen[0] == none_seen[0]).mean() > 0.9
    assert np.isfinite(some_seen[1]).all()
