"""Short calls for tiny shops.

A call of a compiled program is filled up to a fixed number of queries, so that few shapes compile.
The numbers suit large shops: most of what a test computed was padding.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from socialrec_jax.evaluation import out_of_fold
from socialrec_jax.inference import candidates, encoder, engine, text_encoder

_SIZES = (
    (out_of_fold, "_QUERIES_AT_ONCE", 64),
    (candidates, "_QUERIES_AT_ONCE", 64),
    (encoder, "_TOKENS_AT_ONCE_ON_CPU", 512),
    (encoder, "_TREES_AT_ONCE", 64),
    (engine, "_PAIRS_AT_ONCE", 512),
    (engine, "_STATES_AT_ONCE", 64),
    (text_encoder, "_TOKENS_AT_ONCE", 1024),
)


def shorten_calls(patch: pytest.MonkeyPatch) -> None:
    """In this process, as long as the patch holds."""
    for module, name, size in _SIZES:
        patch.setattr(module, name, size)


@pytest.fixture(scope="module", autouse=True)
def short_calls(request) -> Iterator[None]:
    """For a conftest.py: all tests of its folder but those of the real sizes' programs."""
    with pytest.MonkeyPatch.context() as patch:
        if request.node.get_closest_marker("optimized") is None:
            shorten_calls(patch)
        yield
