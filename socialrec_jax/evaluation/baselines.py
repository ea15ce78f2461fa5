"""What a good engineer would try first: popular, recently popular, items bought together.

Everything is counted from the training part. The few settings are chosen on validation NDCG@10, as the model's are,
so that a model that wins has won against a baseline at its best.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from socialrec_jax.data.cooccurrence import CosineSettings, ItemCosine
from socialrec_jax.data.popularity import recent_popularity
from socialrec_jax.data.world import Events

_CHOICES = {
    "reverse": (1.0, 0.6, 0.3),
    "damping": (0.5, 0.4, 0.3),
    "history_decay": (0.8, 0.6, 0.9),
    "window": (10, 20, 3),
    "distance_decay": (0.9, 0.7, 0.8),
}


def tune_cosine(
    events: Events, ends: np.ndarray, num_items: int, validate: Callable[[ItemCosine], float]
) -> tuple[ItemCosine, CosineSettings]:
    """The settings that validate best, one after another from the plain cosine on."""
    best = CosineSettings()
    chosen = ItemCosine.fit(events, ends, num_items, best)
    value = validate(chosen)
    for name, choices in _CHOICES.items():
        for settings in [dataclasses.replace(best, **{name: choice}) for choice in choices[1:]]:
            candidate = ItemCosine.fit(events, ends, num_items, settings)
            if (candidate_value := validate(candidate)) > value:
                best, chosen, value = settings, candidate, candidate_value
    return chosen, best


def popular(events: Events, ends: np.ndarray, num_items: int) -> np.ndarray:
    """Visible events of each item [V] float32."""
    visible = np.arange(len(events.items)) < ends[events.owners]
    return np.bincount(events.items[visible], minlength=num_items).astype(np.float32)


def tune_recently_popular(
    events: Events, ends: np.ndarray, num_items: int, validate: Callable[[np.ndarray], float]
) -> np.ndarray:
    """Decayed popularity [V] with the half-life, as a share of the time span, that validates best."""
    candidates = [recent_popularity(events, ends, num_items, share) for share in (0.05, 0.01, 0.2)]
    return max(candidates, key=validate)
