"""What a World holds, in figures for people: sizes, long tails, times, friends, texts and leaks.

`summarize` reads the columns once and samples where a figure would take long. Its counts are exact
unless their description says that they are of a sample.
"""

from __future__ import annotations

import dataclasses
import datetime
import unicodedata
from collections import Counter
from collections.abc import Sequence

import numpy as np
from scipy import sparse

from socialrec_jax.data.columns import Strings
from socialrec_jax.data.ranks import average_ranks
from socialrec_jax.data.world import TEST, TRAIN, World

Bars = Sequence[tuple[str, float]]
"""Labels with a count or a share each, in the order of a picture."""

_BOUNDS = [0, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 10_000]  # first counts of the groups
_TOP_SHARES = (0.01, 0.1, 0.5)
_SAMPLE = 20_000  # of friendships, and of texts
_PERIODS = 24  # at most, over all times
_TOP_VALUES = 8  # of a user attribute
_WEEK = 7 * 86_400
_SCRIPT_NAMES = {"CJK": "Chinese characters", "FULLWIDTH": "Latin"}


@dataclasses.dataclass(frozen=True)
class Summary:
    """Figures of one World; a list is empty where the World has nothing of the kind."""

    events_per_user: Bars  # users by the number of their events
    events_per_item: Bars
    popular_items: Bars  # share of all events of the most popular items
    periods: Bars  # events by time
    event_types: Bars
    held_out: Bars  # shares of the test events that are hard, or leak
    friends_per_user: Bars
    common_items: Bars  # similarity of friends, and of the same users paired at random
    scripts: Bars  # titles of a sample by the script of their first letter
    attributes: dict[str, Bars]  # users by value
    order_of_ids: dict[str, float]  # rank correlation of numeric ids with first appearance


def summarize(world: World) -> Summary:
    """The figures of a World."""
    events = world.events
    per_user = np.diff(events.offsets)[~world.deleted_users]
    per_item = np.bincount(events.items, minlength=world.num_items)[~world.deleted_items]
    types = np.bincount(events.types, minlength=len(world.event_types))
    return Summary(
        events_per_user=_groups(per_user),
        events_per_item=_groups(per_item),
        popular_items=_popular_items(per_item),
        periods=_periods(events.times),
        event_types=list(zip(world.event_types, types.tolist(), strict=True)),
        held_out=_held_out(world),
        friends_per_user=_friends_per_user(world),
        common_items=_common_items(world),
        scripts=_scripts(world.items.titles),
        attributes={name: _top_values(column) for name, column in world.attributes.items()},
        order_of_ids=_order_of_ids(world),
    )


def _groups(counts: np.ndarray) -> Bars:
    """How many counts lie in each group of sizes, without empty groups at the ends."""
    numbers = np.bincount(np.searchsorted(_BOUNDS, counts, "right") - 1, minlength=len(_BOUNDS))
    used = np.flatnonzero(numbers)
    if not len(used):
        return []
    groups = range(used[0], used[-1] + 1)
    return [(_group_name(group), int(numbers[group])) for group in groups]


def _group_name(group: int) -> str:
    first = _BOUNDS[group]
    if group + 1 == len(_BOUNDS):
        return f"{first:,} and more"
    last = _BOUNDS[group + 1] - 1
    return f"{first:,}" if first == last else f"{first:,} to {last:,}"


def _popular_items(per_item: np.ndarray) -> Bars:
    """Which share of the events the most popular items have."""
    falling = np.sort(per_item)[::-1]
    if not falling.sum():
        return []
    shares = []
    for share in _TOP_SHARES:
        number = max(1, round(share * len(falling)))
        label = f"{share:.0%} of the items ({number:,})"
        shares.append((label, float(falling[:number].sum() / falling.sum())))
    return shares


def _periods(times: np.ndarray) -> Bars:
    """Events by periods of equal length: days, weeks, or whatever fits the picture."""
    if not len(times):
        return []
    first, last = int(times.min()), int(times.max())
    length = 86_400 * max(1, -(-(last - first + 1) // (86_400 * _PERIODS)))
    # whole weeks have every day of the week, so they can be compared
    length = length if length < _WEEK else _WEEK * -(-length // _WEEK)
    numbers = np.bincount((times - first) // length)
    return [(_date(first + n * length), count) for n, count in enumerate(numbers.tolist())]


def _date(seconds: int) -> str:
    # unlike `fromtimestamp`, days can be added up beyond the clock's own range
    epoch = datetime.date(1970, 1, 1)
    try:
        return (epoch + datetime.timedelta(days=seconds // 86_400)).isoformat()
    except OverflowError:
        return f"{seconds:,} s"


def _held_out(world: World) -> Bars:
    """Shares of the test events: of items without training events, repeats, tied in time."""
    # What a published figure hides most often: how many test events are easy, or cannot be found.
    events, is_test = world.events, world.event_splits == TEST
    rows = np.flatnonzero(is_test)
    if not len(rows):
        return []
    trained = np.bincount(events.items[world.event_splits == TRAIN], minlength=world.num_items) > 0
    starts = events.offsets[events.owners[rows]]
    # The first event of a user has none before it, and ties with nothing.
    previous = np.maximum(rows - 1, starts)
    is_tied = (previous < rows) & (events.times[previous] == events.times[rows])
    return [
        ("of an item without training events", float((~trained[events.items[rows]]).mean())),
        ("of a user without training events", float((world.event_splits[starts] != TRAIN).mean())),
        ("of an item that the user had before", float(_is_repeat(world)[rows].mean())),
        ("at the same time as the event before", float(is_tied.mean())),
    ]


def _is_repeat(world: World) -> np.ndarray:
    """Which events [N] bool are of an item that their user had in an earlier row."""
    events = world.events
    keys = events.owners.astype(np.int64) * world.num_items + events.items
    _, first_rows = np.unique(keys, return_index=True)
    is_repeat = np.ones(len(keys), bool)
    is_repeat[first_rows] = False
    return is_repeat


def _friends_per_user(world: World) -> Bars:
    if not len(world.friends.ids):
        return []
    return _groups(np.diff(world.friends.offsets)[~world.deleted_users])


def _common_items(world: World) -> Bars:
    """Mean cosine of the items of two users: friends, and the same users paired at random.

    Of a sample of the friendships between users with events. Pairs at random keep how many friends
    everybody has, so what is left is what friendship says.
    """
    friends, rng = world.friends, np.random.default_rng(0)
    users = np.repeat(np.arange(world.num_users), np.diff(friends.offsets))
    has_events = np.diff(world.events.offsets) > 0
    edges = np.flatnonzero(has_events[users] & has_events[friends.ids])
    if not len(edges):
        return []
    # Users without events have nothing in common with anybody, whoever their friends are.
    edges = rng.permutation(edges)[:_SAMPLE]
    left, right = users[edges], friends.ids[edges]

    rows = _unit_rows(world)
    cosines = {"friends": right, "pairs at random": rng.permutation(right)}
    return [(name, _mean_cosine(rows, left, other)) for name, other in cosines.items()]


def _unit_rows(world: World) -> sparse.csr_array:
    """The items of each user [U, V], once each, as rows of length 1."""
    events = world.events
    shape = (world.num_users, world.num_items)
    entries = (np.ones(len(events.items), np.float32), events.items, events.offsets)
    matrix = sparse.csr_array(entries, shape=shape, copy=True)
    matrix.sum_duplicates()
    numbers = np.diff(matrix.indptr)
    matrix.data = np.repeat(1 / np.sqrt(np.maximum(numbers, 1)), numbers).astype(np.float32)
    return matrix


def _mean_cosine(rows: sparse.csr_array, left: np.ndarray, right: np.ndarray) -> float:
    return float(rows[left].multiply(rows[right]).sum() / len(left))


def _scripts(titles: Strings) -> Bars:
    """Titles of a sample by the script of their first letter, most frequent first."""
    rows = np.flatnonzero(~titles.blank)
    chosen = np.random.default_rng(0).permutation(rows)[:_SAMPLE]
    return Counter(map(_script, titles[chosen])).most_common()


def _script(text: str) -> str:
    """The first word of the first letter's Unicode name, such as `Latin` or `Cyrillic`."""
    letter = next((character for character in text if character.isalpha()), None)
    if letter is None:
        return "no letters"
    script = unicodedata.name(letter, "other").split()[0]
    return _SCRIPT_NAMES.get(script, script.capitalize())


def _top_values(column: Strings) -> Bars:
    """The most frequent values of a user attribute, and all others together.

    Empty where most values are of one user each, as those of another id are.
    """
    counts = Counter(column.tolist())
    # A picture of it would say nothing, and could name people.
    if 2 * len(counts) > counts.total():
        return []
    bars = [(value or "unknown", count) for value, count in counts.most_common(_TOP_VALUES)]
    rest = counts.total() - sum(count for _, count in bars)
    return [*bars, ("others", rest)] if rest else bars


def _order_of_ids(world: World) -> dict[str, float]:
    """Rank correlation of numeric ids with the time of the first event, of users and items.

    Near 1 or -1 the ids were given in the order of time. The numbers in a World are not, so no
    model sees it; a table joined by such ids could tell the future.
    """
    events = world.events
    users = np.flatnonzero(np.diff(events.offsets) > 0)
    by_time = np.lexsort((events.items, events.times))
    items, first_rows = np.unique(events.items[by_time], return_index=True)
    found = {
        "users": _correlation(world.user_ids, users, events.times[events.offsets[users]]),
        "items": _correlation(world.items.ids, items, events.times[by_time][first_rows]),
    }
    return {table: value for table, value in found.items() if value is not None}


def _correlation(ids: Strings, rows: np.ndarray, first_times: np.ndarray) -> float | None:
    """None where the ids are no numbers, or there is no order."""
    # Leading signs and blanks would be names that only look like numbers.
    texts = ids.take(rows).tolist()
    if len(texts) < 3 or not all(text.isascii() and text.isdigit() for text in texts):
        return None
    if len(np.unique(first_times)) < 2:
        return None
    numbers = np.array(texts, np.float64)
    ranks = [average_ranks(numbers), average_ranks(first_times)]
    return float(np.corrcoef(ranks)[0, 1])  # of ranks: Spearman's
