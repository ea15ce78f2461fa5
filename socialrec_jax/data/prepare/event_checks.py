"""What is odd about the events of all tables together. It is logged, and stops nothing."""

from __future__ import annotations

import datetime
import logging
import re
from collections.abc import Sequence

import numpy as np

from socialrec_jax.config import DataConfig
from socialrec_jax.data.columns import Strings
from socialrec_jax.data.world import Events

log = logging.getLogger(__name__)
TIED_SHARE = 0.5  # of consecutive events at one time, from which on their order is unknown
# one id with so much is most likely what a shop writes for guests
ONE_USER_SHARE, MANY_USERS = 0.1, 50
_GUESTS = ("guest", "anonymous", "unknown", "anon", "visitor", "not logged in", "nobody", "gast")
_NOBODY = ("0", "-1")
MANY_TIMES = 10  # the events of a usual user
FIRST_SHOPS = 1995  # no public log of a shop is older
_OPPOSITE = re.compile(
    r"refund|return|cancel|remove|dislike|unlike|unfollow|unsubscribe|block|downvote"
)


def warn_of_odd_events(
    events: Events, user_ids: Strings, event_types: Sequence[str], config: DataConfig
) -> None:
    """Log repeats, ties, a user with a large share, old times, negative values, opposite types."""
    if not len(events.times):
        return
    _warn_of_repeats(events)
    _warn_of_one_user(events, user_ids)
    _warn_of_guests(events, user_ids)
    _warn_of_negative_values(events)
    _warn_of_opposite_types(event_types)
    # places of rows are no times
    if config.order == "time":
        _warn_of_ties(events)
        _warn_of_old_times(events)


def users_with_new_items(events: Events, is_test: np.ndarray) -> int:
    """How many users have an item in the test part [N] bool that they did not know before."""
    num_items = np.int64(events.items.max() + 1)
    keys = events.owners * num_items + events.items
    tested = np.unique(keys[is_test])
    if not len(tested):
        return 0
    # only pairs of user and item that are tested are looked up in the histories
    earlier = keys[~is_test]
    places = np.minimum(np.searchsorted(tested, earlier), len(tested) - 1)
    is_known = np.zeros(len(tested), bool)
    is_known[places[tested[places] == earlier]] = True
    return len(np.unique(tested[~is_known] // num_items))


def _warn_of_repeats(events: Events) -> None:
    """Events that are the same as the one before them; a test passes over known items."""
    same = events.owners[1:] == events.owners[:-1]
    for column in (events.items, events.times, events.types):
        same &= column[1:] == column[:-1]
    if same.any():
        log.warning(
            "events: %d of %d repeat user, item, time and type of an earlier one; "
            "--data.deduplicate rejects them",
            *(same.sum(), len(events.times)),
        )


def _warn_of_ties(events: Events) -> None:
    same_user = events.owners[1:] == events.owners[:-1]
    # a pair of events of two users has no order that counts
    tied = int((same_user & (events.times[1:] == events.times[:-1])).sum())
    pairs = int(same_user.sum())
    if pairs and tied > TIED_SHARE * pairs:
        log.warning(
            "events: %.0f%% of a user's consecutive events have the same time: their order, and "
            "which one is tested, is that of the rows; is there a column with the time of the day?",
            100 * tied / pairs,
        )


def _warn_of_one_user(events: Events, user_ids: Strings) -> None:
    counts = np.diff(events.offsets)
    # in a shop of a few users each has a large share
    largest = int(counts.argmax())
    share = counts[largest] / len(events.times)
    if share >= ONE_USER_SHARE and np.count_nonzero(counts) >= MANY_USERS:
        log.warning(
            "events: user %s has %.0f%% of all events: if that stands for visitors who are not "
            "known, leave these rows out",
            *(user_ids[largest], 100 * share),
        )


def _warn_of_guests(events: Events, user_ids: Strings) -> None:
    """Ids that stand for everybody who is not known: a word, or a 0 with many events."""
    counts = np.diff(events.offsets)
    guests = [spell(word) for word in _GUESTS for spell in (str.lower, str.capitalize, str.upper)]
    names = guests + list(_NOBODY)
    # in some data sets 0 is a user like others
    many = MANY_TIMES * np.median(counts[counts > 0])
    for name, user in zip(names, user_ids.lookup(names), strict=True):
        if user >= 0 and counts[user] > (many if name in _NOBODY else 0):
            log.warning(
                "events: user %s has %d events: if that stands for visitors who are not known, "
                "leave these rows out",
                *(name, counts[user]),
            )


def _warn_of_negative_values(events: Events) -> None:
    # zero may be a rating that was not given
    negative = int((events.values < 0).sum())
    if negative:
        log.warning(
            "events: %d of %d have a negative value: if these are refunds or dislikes, "
            "--data.min-value 0 leaves them out",
            *(negative, len(events.times)),
        )


def _warn_of_opposite_types(event_types: Sequence[str]) -> None:
    # names alone: what a type means only the shop knows
    opposite = [name for name in event_types if _OPPOSITE.search(name.lower())]
    if opposite:
        log.warning(
            "events: types %s count as interest, like all others: leave out rows that say the "
            "opposite",
            ", ".join(opposite[:5]),
        )


def _warn_of_old_times(events: Events) -> None:
    newest = int(events.times.max())
    first = datetime.datetime(FIRST_SHOPS, 1, 1, tzinfo=datetime.UTC).timestamp()
    oldest_date = datetime.datetime(1972, 1, 1, tzinfo=datetime.UTC).timestamp()
    # a clock of its own is named already
    if oldest_date < newest < first:
        date = datetime.datetime.fromtimestamp(newest, datetime.UTC)
        log.warning(
            "events: the newest is of %s: do the times count from another year than 1970?",
            f"{date:%Y-%m-%d}",
        )
