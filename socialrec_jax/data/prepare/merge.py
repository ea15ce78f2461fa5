"""Columns of a World and columns of newly read tables become one set of columns.

Known columns are memory-mapped and stay in numpy: they are copied once, never sorted again.
Newcomers follow after everything known, so that no number changes.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from socialrec_jax.data.columns import Strings
from socialrec_jax.data.csr import first_at_or_after, offsets_of, ranges
from socialrec_jax.data.world import Events, Friends, Items
from socialrec_jax.errors import BadData

TEXTS = ("titles", "descriptions", "tags", "categories")


def numbers_of(known: Strings, ids: Strings) -> np.ndarray:
    """The number [n] int64 of each id: the known one, or the next free ones in the order of ids."""
    # the ids come in the order of their md5, so newcomers keep that order among themselves
    numbers = known.lookup(ids)
    is_new = numbers < 0
    numbers[is_new] = len(known) + np.arange(is_new.sum())
    return numbers


def extend_ids(known: Strings, ids: Strings, numbers: np.ndarray) -> Strings:
    """The known ids, and after them those that got a new number."""
    return known.extended(ids.take(np.flatnonzero(numbers >= len(known))))


def renumber_events(
    events: Events, users: np.ndarray, items: np.ndarray, types: np.ndarray, num_users: int
) -> Events:
    """The events sorted by the new numbers of their users; users, items, types: new by old."""
    owners = users[events.owners]
    # stable: within a user the events are sorted already
    order = np.argsort(owners, kind="stable")
    return Events(
        offsets=offsets_of(owners[order], num_users),
        items=items[events.items[order]].astype(np.int32),
        times=events.times[order],
        types=types[events.types[order]].astype(np.uint8),
        values=events.values[order],
    )


def merge_events(known: Events, added: Events) -> Events:
    """All events by (user, time, known before added, place in the file).

    added: numbered as in the merged World, with all its users.
    """
    # Newcomers have empty slices of known events.
    starts, stops = _padded_slices(known.offsets, added.num_users)
    owners = added.owners
    # behind the known events of the same second
    rows = first_at_or_after(known.times, starts[owners], stops[owners], added.times + 1)
    # rows rise, since the added events are sorted by the same key
    lengths = stops - starts + np.diff(added.offsets)
    return Events(
        offsets=np.concatenate([[0], np.cumsum(lengths)]),
        items=_insert(known.items, rows, added.items),
        times=_insert(known.times, rows, added.times),
        types=_insert(known.types, rows, added.types),
        values=_insert(known.values, rows, added.values),
    )


def delete_events(events: Events, users: np.ndarray, items: np.ndarray) -> Events:
    """The events of neither these users [U] bool nor these items [V] bool."""
    return keep_events(events, ~(users[events.owners] | items[events.items]))


def are_known(
    known: Events, added: Events, users: np.ndarray, items: np.ndarray, types: np.ndarray
) -> np.ndarray:
    """Which added events [n] bool have the user, item, second and type of a known one.

    users, items, types: known number by added one, -1 for an unknown user or item.
    """
    owners = users[added.owners]
    # Unknown users have an empty slice.
    starts, stops = known.offsets[owners], np.where(owners < 0, 0, known.offsets[owners + 1])
    starts = np.minimum(starts, stops)
    first = first_at_or_after(known.times, starts, stops, added.times)
    last = first_at_or_after(known.times, starts, stops, added.times + 1)

    # Every added event beside each known one of its user and second.
    rows, places = ranges(first, last - first), np.repeat(np.arange(len(first)), last - first)
    same = known.items[rows] == items[added.items[places]]
    same &= known.types[rows] == types[added.types[places]]
    return np.bincount(places[same], minlength=len(first)) > 0


def keep_events(events: Events, keep: np.ndarray) -> Events:
    """Those of the events that keep [N] bool marks."""
    # Rows stay in their order, so nothing needs to be sorted.
    return Events(
        offsets=offsets_of(events.owners[keep], events.num_users),
        items=events.items[keep],
        times=events.times[keep],
        types=events.types[keep],
        values=events.values[keep],
    )


def renumber_friends(friends: Friends, users: np.ndarray, num_users: int) -> Friends:
    """The friend graph sorted by the new numbers of both ends; users: new number by old one."""
    owners, ids = users[_owners(friends)], users[friends.ids]
    # by owner, then friend: the order that bisection below relies on
    order = np.lexsort((ids, owners))
    return Friends(
        offsets=offsets_of(owners[order], num_users),
        ids=ids[order].astype(np.int32),
        weights=friends.weights[order],
        times=friends.times[order],
    )


def merge_friends(known: Friends, added: Friends) -> Friends:
    """All friendships; of a repeated one the largest weight and the earliest time stay.

    added: numbered as in the merged World, with all its users.
    """
    owners = _owners(added)
    starts, stops = _padded_slices(known.offsets, len(added.offsets) - 1)
    # friends of a user are sorted by number, so bisection finds the same friend or its place
    rows = first_at_or_after(known.ids, starts[owners], stops[owners], added.ids)
    # the end of a slice is a row of the next user, or none at all, so it is not compared
    repeated = rows < stops[owners]
    repeated[repeated] = known.ids[rows[repeated]] == added.ids[repeated]

    # copies: the known columns are mapped read-only
    weights, times, same = np.array(known.weights), np.array(known.times), rows[repeated]
    weights[same] = np.maximum(weights[same], added.weights[repeated])
    times[same] = np.minimum(times[same], added.times[repeated])

    new, new_rows = ~repeated, rows[~repeated]
    lengths = stops - starts + np.bincount(owners[new], minlength=len(starts))
    return Friends(
        offsets=np.concatenate([[0], np.cumsum(lengths)]),
        ids=_insert(known.ids, new_rows, added.ids[new]),
        weights=_insert(weights, new_rows, added.weights[new]),
        times=_insert(times, new_rows, added.times[new]),
    )


def delete_friends(friends: Friends, users: np.ndarray) -> Friends:
    """The friendships that none of these users [U] bool has."""
    owners = _owners(friends)
    # A friendship goes with either of its two ends.
    keep = ~(users[owners] | users[friends.ids])
    return Friends(
        offsets=offsets_of(owners[keep], len(users)),
        ids=friends.ids[keep],
        weights=friends.weights[keep],
        times=friends.times[keep],
    )


def merge_items(
    known: Items, added: Items, numbers: np.ndarray, availability_known: np.ndarray
) -> Items:
    """What is known of all items.

    The texts and the vector of an item stay as they were first given; an item that has none takes
    the added ones. Of price and availability the newest that is given holds. numbers [n]: of the
    added items in the merged World. BadData: the vectors have another width than the known ones.
    """
    # Items of events may come before their description does.
    new_rows = np.flatnonzero(numbers >= len(known.ids))
    filled_rows = _rows_that_describe(known, added, numbers)
    filled = numbers[filled_rows]

    texts = {}
    for name in TEXTS:
        column: Strings = getattr(known, name)
        added_column: Strings = getattr(added, name)
        column = column.replaced(filled, added_column.take(filled_rows))
        texts[name] = column.extended(added_column.take(new_rows))

    # concatenation copies, so that filling in does not write into the memory-mapped file
    added_vectors = _vectors_of_width(added, known.vectors.shape[1])
    vectors = np.concatenate([known.vectors, added_vectors[new_rows]])
    vectors[filled] = added_vectors[filled_rows]
    return Items(
        ids=extend_ids(known.ids, added.ids, numbers),
        prices=_newest(known.prices, added.prices, numbers, ~np.isnan(added.prices)),
        available=_newest(known.available, added.available, numbers, availability_known),
        vectors=vectors,
        **texts,
    )


def delete_items(items: Items, rows: np.ndarray) -> Items:
    """The items without id, texts, price and vector in these rows, which rise; none available."""
    # Nothing of the item may be readable in the files of the next generation.
    blank = [""] * len(rows)
    prices, available = np.array(items.prices), np.array(items.available)
    vectors = np.array(items.vectors)
    prices[rows], available[rows], vectors[rows] = np.nan, False, 0
    texts = {name: getattr(items, name).replaced(rows, blank) for name in ("ids", *TEXTS)}
    return dataclasses.replace(items, prices=prices, available=available, vectors=vectors, **texts)


def merge_attributes(
    known: dict[str, Strings], added: dict[str, Strings], numbers: np.ndarray, num_known: int
) -> dict[str, Strings]:
    """The attributes of all users: the newest that is given, blank where none is.

    numbers [u]: of the added users in the merged World, which has num_known users before them.
    """
    # as in SQL, `Region` and `region` are one attribute
    known_by_plain_name = {name.lower(): name for name in known}
    added_by_name = {known_by_plain_name.get(name.lower(), name): added[name] for name in added}
    unknown = Strings.of([""] * num_known)
    nothing_added = Strings.of([""] * len(numbers))
    return {
        name: _merge_attribute(
            known.get(name, unknown), added_by_name.get(name, nothing_added), numbers
        )
        for name in {**known, **added_by_name}
    }


def _merge_attribute(known: Strings, added: Strings, numbers: np.ndarray) -> Strings:
    # a blank attribute is unknown, and does not replace a known one
    given = np.flatnonzero((numbers < len(known)) & ~added.blank)
    # `Strings.replaced` takes rows in rising order
    given = given[np.argsort(numbers[given])]
    new_rows = np.flatnonzero(numbers >= len(known))
    return known.replaced(numbers[given], added.take(given)).extended(added.take(new_rows))


def _owners(friends: Friends) -> np.ndarray:
    return np.repeat(np.arange(len(friends.offsets) - 1), np.diff(friends.offsets))


def _padded_slices(offsets: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Starts and stops of `count` slices: those of the offsets, then empty ones at the end."""
    # newcomers have no known rows, and their place is behind all others
    padding = np.full(count + 1 - len(offsets), offsets[-1])
    padded = np.concatenate([offsets, padding])
    return padded[:-1], padded[1:]


def _insert(column: np.ndarray, rows: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The column with values[i] before row rows[i]; the rows rise or stay equal."""
    # np.insert would sort the rows for each column
    places = rows + np.arange(len(rows))
    is_known = np.ones(len(column) + len(rows), bool)
    is_known[places] = False
    merged = np.empty(len(is_known), column.dtype)
    merged[is_known] = column
    merged[places] = values
    return merged


def _newest(
    known: np.ndarray, added: np.ndarray, numbers: np.ndarray, is_given: np.ndarray
) -> np.ndarray:
    """The known values, over them the added ones that are given, and those of new items."""
    count = max(len(known), int(numbers.max(initial=-1)) + 1)
    merged = np.empty(count, known.dtype)
    merged[: len(known)] = known
    # a new item has no known value, so what the reader filled in holds
    taken = is_given | (numbers >= len(known))
    merged[numbers[taken]] = added[taken]
    return merged


def _rows_that_describe(known: Items, added: Items, numbers: np.ndarray) -> np.ndarray:
    """Rows of added items that describe a known one which had no description, by its number."""
    rows = np.flatnonzero((numbers < len(known.ids)) & _is_described(added))
    rows = rows[~_is_described(known)[numbers[rows]]]
    return rows[np.argsort(numbers[rows])]


def _is_described(items: Items) -> np.ndarray:
    """Which items [V] bool have a text or a vector."""
    # an item without a vector has zeros
    return items.has_text | items.vectors.any(axis=1)


def _vectors_of_width(items: Items, width: int) -> np.ndarray:
    added_width = items.vectors.shape[1]
    if added_width not in (0, width):
        raise BadData(
            f"items: the vectors hold {added_width} numbers, those of the World {width}: "
            "give vectors of that width, or prepare all tables anew"
        )
    return items.vectors if added_width else np.zeros((len(items.ids), width), np.float32)
