"""How likely a user looks at each place of a list.

The position-based model says: a user takes an item if the place is looked at and the item is
relevant. In lists whose order was random, all places hold equally relevant items on average. So
the share of taken items at a place is proportional to how likely the place is looked at (Joachims,
Swaminathan & Schnabel 2017; Wang et al. 2018). A place lower down is not looked at more often, so
shares are made not to rise (isotonic regression). Only ratios matter: the first place has 1.
"""

from __future__ import annotations

import numpy as np

from socialrec_jax.data.impressions import ShownLists

_LEAST = 0.1  # clips the inverse at 10 (clipped propensity scoring, Strehl et al. 2010)


def examination(shown: ShownLists) -> np.ndarray | None:
    """Probability [K] that each place is looked at, relative to the first; at least 0.1.

    None where no list in random order has an item that was taken.
    """
    explored = shown.part(shown.explored)
    exists = explored.items >= 0
    num_shown = exists.sum(axis=0)
    num_taken = (explored.taken.any(axis=-1) & exists).sum(axis=0)
    if not num_taken.sum():
        return None
    from scipy.optimize import isotonic_regression  # its import takes half a second

    # The regression weighs a place by its lists, and places without any follow the one above.
    shares = num_taken / np.maximum(num_shown, 1)
    weights = np.maximum(num_shown, 1e-9)
    falling = isotonic_regression(shares, weights=weights, increasing=False).x
    return np.maximum(falling / max(falling[0], 1e-12), _LEAST)
