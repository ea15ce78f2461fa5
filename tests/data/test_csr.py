"""Sorted sets of numbers."""

from __future__ import annotations

import numpy as np
import pytest

from socialrec_jax.data.csr import is_among, sorted_distinct


@pytest.mark.parametrize("count", [0, 1, 500])
def test_sets_are_those_of_numpy(count):
    values, others = np.random.default_rng(count).integers(200, size=(2, count))
    np.testing.assert_array_equal(sorted_distinct(values), np.unique(values))
    np.testing.assert_array_equal(is_among(values, np.sort(others)), np.isin(values, others))
    assert not is_among(values, others[:0]).any()
