"""Tags and categories of the items, numbered."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Sequence

import numpy as np

from socialrec_jax.data.csr import Pairs, offsets_of, ranges
from socialrec_jax.data.world import Items
from socialrec_jax.errors import BadData


@dataclasses.dataclass(frozen=True)
class Labels:
    """The labels of V items, in alphabetical order."""

    kind: str  # tag or category
    names: np.ndarray  # [L] str
    of_items: Pairs  # the labels of each item; an item may have none

    @classmethod
    def tags(cls, items: Items) -> Labels:
        """The tags; an item may have several."""
        return cls._of("tag", [set(listed.split("|")) for listed in items.tags.tolist()])

    @classmethod
    def categories(cls, items: Items) -> Labels:
        """The categories; an item has at most one."""
        return cls._of("category", [{category} for category in items.categories.tolist()])

    @classmethod
    def _of(cls, kind: str, labels_of_items: Sequence[set[str]]) -> Labels:
        # In order, so that the same labels get the same sums whatever the hashes of the process.
        named = [sorted(labels - {""}) for labels in labels_of_items]
        owners = np.repeat(np.arange(len(named)), [len(labels) for labels in named])
        texts = np.array([label for labels in named for label in labels], dtype=str)
        names, numbers = np.unique(texts, return_inverse=True)
        return cls(kind, names, Pairs(offsets_of(owners, len(named)), numbers.astype(np.int32)))

    def numbers(self, names: Sequence[str]) -> np.ndarray:
        """The numbers [n] of labels. Raises BadData for a label that no item has."""
        number_of = {name: number for number, name in enumerate(self.names.tolist())}
        for name in names:
            if name not in number_of:
                raise BadData(f"no item has the {self.kind} {name!r}{_suggestion(name, number_of)}")
        return np.array([number_of[name] for name in names], np.int64)

    def items_of(self, numbers: np.ndarray) -> Pairs:
        """The items of each label [n]."""
        by_label = np.argsort(self.of_items.items, kind="stable")
        items = self.of_items.owners[by_label].astype(np.int32)
        offsets = offsets_of(self.of_items.items[by_label], len(self.names))
        return Pairs(offsets, items).of(numbers)

    def single(self) -> np.ndarray:
        """The first label [V] of each item, -1 where it has none."""
        offsets = self.of_items.offsets
        has_label = np.diff(offsets) > 0
        first = np.full(len(has_label), -1, np.int64)
        first[has_label] = self.of_items.items[offsets[:-1][has_label]]
        return first

    def expanded(self, items: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(place [m] in items, label [m]) of all labels of items [n]."""
        offsets = self.of_items.offsets
        lengths = offsets[items + 1] - offsets[items]
        places = np.repeat(np.arange(len(items)), lengths)
        return places, self.of_items.items[ranges(offsets[items], lengths)]


def _suggestion(name: str, known: dict[str, int]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {close[0]!r}?" if close else ""
