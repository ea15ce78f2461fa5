"""Words, tags and categories that an item shares with a user's recent items, by name."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable

import numpy as np
import scipy.sparse as sparse

from socialrec_jax.data.csr import Pairs, offsets_of
from socialrec_jax.data.features.recent_items import recent_items
from socialrec_jax.data.features.sparse_rows import entries_of, num_columns, positions
from socialrec_jax.data.query import Query
from socialrec_jax.data.world import Items

# Scripts without spaces between words: a run of characters is one term, as one says nothing.
_WORD = re.compile(r"[^\W_]{2,}")

# A term of more than this share of the items says nothing of any of them.
_MOST_ITEMS = 0.2


@dataclasses.dataclass(frozen=True, eq=False)
class SharedTerms:
    """The tags, categories and title words of all items; upper and lower case are one term."""

    names: np.ndarray  # [W] str objects, as people read them
    of_items: sparse.csr_array  # [V, W] the rarity log(V / items with the term)

    @classmethod
    def of(cls, items: Items) -> SharedTerms:
        """The terms of at least two items, and of at most a fifth of them."""
        columns = (items.titles, items.tags, items.categories)
        texts = zip(*(column.tolist() for column in columns), strict=True)
        names: dict[str, str] = {}
        numbers: dict[str, int] = {}
        rows = [_numbered(_terms(*of_item), numbers, names) for of_item in texts]
        matrix = _rarities(rows, len(numbers))
        return cls(np.array([names[key] for key in numbers], dtype=object), matrix)

    def shared(self, query: Query, pairs: Pairs, count: int) -> Pairs:
        """The rarest terms, `count` at most, of each pair's item [N] that are terms of the last 20
        events of its query's user, too.
        """
        num_items = len(self.of_items.indptr) - 1
        recent = recent_items(query, num_items, decay=1.0)
        known = sparse.csr_array(recent @ self.of_items)
        of_pairs = sparse.csr_array(self.of_items[pairs.items])
        terms = Pairs(of_pairs.indptr[pairs.offsets], of_pairs.indices)
        is_shared = positions(terms, entries_of(known), num_columns(known)) >= 0

        owners = np.repeat(np.arange(len(pairs.items)), np.diff(of_pairs.indptr))
        chosen = _rarest(
            owners[is_shared], of_pairs.indices[is_shared], of_pairs.data[is_shared], count
        )
        return Pairs(offsets_of(chosen[0], len(pairs.items)), chosen[1].astype(np.int32))


def _terms(title: str, tags: str, category: str) -> list[str]:
    """In one order, so that the same items give the same numbers."""
    labels = [*tags.split("|"), category]
    return [*(label for label in labels if label), *_WORD.findall(title.lower())]


def _numbered(terms: Iterable[str], numbers: dict[str, int], names: dict[str, str]) -> set[int]:
    """The numbers of terms; new ones get the next numbers and keep their first name."""
    found = set()
    for term in terms:
        key = term.casefold()
        names.setdefault(key, term)
        found.add(numbers.setdefault(key, len(numbers)))
    return found


def _rarities(rows: list[set[int]], num_terms: int) -> sparse.csr_array:
    """[V, W] from the terms of each item, without those that are too rare or too frequent."""
    columns = np.array([term for row in rows for term in sorted(row)], np.int64)
    owners = np.repeat(np.arange(len(rows)), [len(row) for row in rows])
    counts = np.bincount(columns, minlength=num_terms)
    says_something = (counts >= 2) & (counts <= max(2, _MOST_ITEMS * len(rows)))
    rarity = np.log(len(rows) / np.maximum(counts, 1)).astype(np.float32)
    stays = says_something[columns]
    owners, columns = owners[stays], columns[stays]
    entries = (rarity[columns], (owners, columns))
    return sparse.csr_array(entries, (len(rows), num_terms))


def _rarest(
    owners: np.ndarray, terms: np.ndarray, rarities: np.ndarray, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """(owner, term) of the `count` rarest terms of each owner; of equal ones the lower number."""
    order = np.lexsort([terms, -rarities, owners])
    sorted_owners = owners[order]
    place = np.arange(len(order)) - np.searchsorted(sorted_owners, sorted_owners)
    chosen = order[place < count]
    return owners[chosen], terms[chosen]
