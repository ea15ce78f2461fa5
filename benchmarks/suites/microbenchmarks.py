"""Are the pieces that are written by hand faster than a library's or a textbook's way?

The two ways of a piece take turns; the textbook's comes first, and is what the other one is
compared with.
"""

from __future__ import annotations

from functools import partial

from benchmarks.harness.cases import Case
from benchmarks.work.microbenchmarks import (
    SIZES,
    TINY_SIZES,
    dropout,
    softmax,
)

# Name: (work, the textbook's way, the product's way).
_PIECES = {
    "full softmax": (softmax, "logits computed again, in chunks", "gradient in the forward pass"),
    "dropout": (dropout, "jax.random.bernoulli", "hash of row and place"),
}


def cases(tiny: bool) -> list[Case]:
    sizes = TINY_SIZES if tiny else SIZES
    cases = []
    for piece, (make, textbook, product) in _PIECES.items():
        textbook_work = partial(make, product=False, sizes=sizes)
        product_work = partial(make, product=True, sizes=sizes)
        cases.append(Case(f"{textbook} (textbook)", piece, textbook_work, piece))
        cases.append(Case(f"{product} (the product's)", piece, product_work, piece))
    return cases
