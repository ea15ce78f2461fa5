"""Does what the host computes grow with the catalogue?

    python -m benchmarks run --suite scale-host [--items 10000 100000 1000000] [--only TEXT]
        --out DIR

Shops of V items and V / 5 users are made, and each piece of the host's work is timed in all of them
in turn. Its cost grows as V to the power of an exponent: 0 is what is hoped for of a user, an item
or an event.
"""

from __future__ import annotations

import dataclasses
import time
import tracemalloc
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from benchmarks.work.host_pieces import Piece, made_up_world, pieces

_ROUNDS = 5  # the least of them counts: other programs can but add
_LONG = 2.0  # seconds of a call that is not repeated

PiecesByName = dict[str, dict[int, Piece]]  # by the number of items


@dataclasses.dataclass(frozen=True)
class Cost:
    """What a unit of a piece takes in a shop of some size."""

    items: int
    cpu_seconds: float
    bytes: float  # of numpy's arrays at their most


@dataclasses.dataclass(frozen=True)
class Growth:
    """The costs of a piece by size of the shop, and the exponents of their growth."""

    piece: str
    unit: str
    costs: list[Cost]
    exponent: float
    exponent_of_bytes: float

    @property
    def ratio(self) -> float:
        """Seconds in the largest shop over those in the smallest."""
        return self.costs[-1].cpu_seconds / self.costs[0].cpu_seconds


def run(
    sizes: Sequence[int], folder: Path, only: str = "", show: Callable[[str], None] = print
) -> list[Growth]:
    """Measure all pieces with `only` in their name; the shops are kept in folder.

    show: gets a line for each shop.
    """
    by_name: PiecesByName = {}
    for num_items in sorted(sizes):
        show(f"shop of {num_items:,} items")
        for piece in pieces(made_up_world(folder, num_items)):
            if only in piece.name:
                by_name.setdefault(piece.name, {})[num_items] = piece
    return [_growth(name, of_sizes) for name, of_sizes in by_name.items()]


def _growth(name: str, of_sizes: dict[int, Piece]) -> Growth:
    seconds = _least_seconds(of_sizes)
    costs = []
    for num_items, piece in of_sizes.items():
        num_bytes = _most_bytes(piece.call) / piece.units
        costs.append(Cost(num_items, seconds[num_items] / piece.units, num_bytes))
    items = [cost.items for cost in costs]
    return Growth(
        piece=name,
        unit=next(iter(of_sizes.values())).unit,
        costs=costs,
        exponent=exponent(items, [cost.cpu_seconds for cost in costs]),
        exponent_of_bytes=exponent(items, [cost.bytes for cost in costs]),
    )


def _least_seconds(of_sizes: dict[int, Piece]) -> dict[int, float]:
    """Processor seconds of a call in each shop, of all threads; shops are timed in turn."""
    least = dict.fromkeys(of_sizes, float("inf"))
    for number in range(_ROUNDS):
        for num_items, piece in of_sizes.items():
            if number == 0 or not (piece.is_long and least[num_items] > _LONG):
                least[num_items] = min(least[num_items], _seconds(piece.call))
    return least


def _seconds(call: Callable[[], object]) -> float:
    began = time.process_time()
    call()
    return time.process_time() - began


def _most_bytes(call: Callable[[], object]) -> int:
    """The most that a call held of Python's and numpy's memory at a time."""
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def exponent(sizes: Sequence[float], costs: Sequence[float]) -> float:
    """The slope of log cost over log size, by least squares; 0 for one size alone."""
    if len(sizes) < 2:
        return 0.0
    # A cost below what can be measured is none.
    logs = np.log(np.maximum(costs, 1e-12))
    return float(np.polyfit(np.log(sizes), logs, 1)[0])
