"""Recommendations for social shops: behavior transformer, friend graph, product text, ranker.

from socialrec_jax import Recommender

recommender = Recommender.load("run")
recommender.recommend(["u1", "u2"], k=20).to_pandas()
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from socialrec_jax.serving.recommender import Recommender

__all__ = ["Recommender"]
__version__ = "0.2.0"


def __getattr__(name: str) -> Any:
    # Imported on first use: importing the package must not import JAX.
    if name == "Recommender":
        from socialrec_jax.serving.recommender import Recommender

        return Recommender
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
