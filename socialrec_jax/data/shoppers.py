"""How the shoppers of the synthetic shop fill their time: a catalogue, people, and a simulation.

Every event has one of four causes. *Sequence*: the goods of a topic form a project, walked one, two
or three steps at a time; how far depends on the item before the last and on whether the last one
was bought. So neither popularity nor symmetric co-occurrence tells what comes next, but an ordered
model can. *Social*: a friend's recent item, or what follows it. *Taste*: an item of a favourite
topic, mostly after a long pause. *Random*: any item.

Shoppers live in parallel: their times are drawn first, then events are filled in wave after wave,
in order of time.
"""

from __future__ import annotations

import dataclasses

import numpy as np

# Real logs repeat their sequences about half the time, show a friend's item 1.75-1.94 times as
# often as chance, and are never explained wholly. A long pause ends a project, so what follows it
# is taste. Whoever finds nothing new with friends or in the project falls back on taste: over all
# events the shares come to about .42, .24, .24, .1.
SEQUENCE, SOCIAL, TASTE, RANDOM = range(4)
SHARES_WITHIN_PROJECT = (0.64, 0.30, 0.00, 0.06)
SHARES_AFTER_PAUSE = (0.00, 0.30, 0.54, 0.16)

EVENT_TYPES = ("view", "cart", "buy", "comment")
BUY = EVENT_TYPES.index("buy")
# [type before, type]: a cart is followed by buying, buying by comments
TYPE_LOGITS = np.array(
    [[1.6, 0.6, -0.4, -1.2], [0.8, 0.0, 1.6, -1.0], [1.2, 0.2, -0.6, 1.6], [1.6, 0.4, -0.4, -0.8]]
)
# who can afford an item buys it, who cannot looks at it
TYPE_PER_BUDGET = np.array([-0.6, 0.3, 1.2, 0.2])

INTERESTS = 4  # projects that a shopper likes
NUM_KINDS = 8  # kinds of goods, and so the steps of a project
PATIENCE = 4  # refused ideas before a shopper turns to taste, and from taste to anything
DAY = 86_400
FIRST_TIME, HORIZON, SLICE = 1_672_531_200, 730 * DAY, 14 * DAY  # two years from 2023-01-01


@dataclasses.dataclass(frozen=True)
class Catalogue:
    """V items sorted by shelf; a shelf is one step of the project of one (topic, brand)."""

    shelves: np.ndarray  # [V] project * NUM_KINDS + step, rising
    kinds: np.ndarray  # [V] kind of goods of that step; their order differs between topics
    prices: np.ndarray  # [V]
    begins: np.ndarray  # [shelves + 1] shelf s owns rows begins[s]:begins[s + 1]
    # [slices, V + 1] running popularity, going on from slice to slice; what is not out adds none
    mass: np.ndarray

    @property
    def num_projects(self) -> int:
        return (len(self.begins) - 1) // NUM_KINDS

    def draw(
        self, rng: np.random.Generator, first: np.ndarray, last: np.ndarray, times: np.ndarray
    ) -> np.ndarray:
        """One item [n] by its popularity at the time from each range of shelves first..last - 1
        [n].
        """
        # the sums go on from slice to slice, so one search serves all slices
        slices = slices_of(times)
        low, high = self.mass[slices, self.begins[first]], self.mass[slices, self.begins[last]]
        target = low + rng.random(len(low)) * (high - low)
        places = np.searchsorted(self.mass.reshape(-1), target, "right") - 1
        items = places - slices * self.mass.shape[1]
        # rounding may reach the next shelf
        return np.clip(items, self.begins[first], self.begins[last] - 1)

    def draw_project(
        self, rng: np.random.Generator, projects: np.ndarray, times: np.ndarray, count: int = 1
    ) -> np.ndarray:
        """One item [n] from each of `projects` [n], or of the `count` projects that begin there."""
        return self.draw(rng, projects * NUM_KINDS, (projects + count) * NUM_KINDS, times)

    def successors(
        self,
        rng: np.random.Generator,
        items: np.ndarray,
        before: np.ndarray,
        bought: np.ndarray,
        times: np.ndarray,
    ) -> np.ndarray:
        """The planted next items [n]: three steps on after buying, else one or two by the kind of
        the item before.
        """
        # the stride depends on what lies two events back: a first-order model cannot see it
        strides = np.where(bought, 3, 1 + self.kinds[before] % 2)
        projects, steps = np.divmod(self.shelves[items], NUM_KINDS)
        target = projects * NUM_KINDS + (steps + strides) % NUM_KINDS
        return self.draw(rng, target, target + 1, times)


@dataclasses.dataclass(frozen=True)
class People:
    """U users sorted by community, and who knows whom."""

    interests: np.ndarray  # [U, INTERESTS] projects
    budgets: np.ndarray  # [U] logarithm of the price that feels right
    lengths: np.ndarray  # [U] events
    homes: np.ndarray  # [U] index into REGIONS
    edges: np.ndarray  # [E, 2] each friendship once
    since: np.ndarray  # [E] unix seconds
    real: np.ndarray  # [E] whether the two ever copy each other

    def friendships(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Real friends seen from both ends in CSR form: offsets [U + 1], friends, since."""
        edges = self.edges[self.real]
        both_ways = np.concatenate([edges, edges[:, ::-1]])
        order = np.argsort(both_ways[:, 0], kind="stable")
        counts = np.bincount(both_ways[:, 0], minlength=len(self.lengths))
        offsets = np.concatenate([[0], np.cumsum(counts)])
        since = np.tile(self.since[self.real], 2)
        return offsets, both_ways[order, 1], since[order]


@dataclasses.dataclass(frozen=True)
class Timeline:
    """When each of N events happens, user by user, oldest first."""

    users: np.ndarray  # [N]
    times: np.ndarray  # [N] unix seconds, strictly rising within a user
    paused: np.ndarray  # [N] whether a long pause went before, true for a user's first event


class Shoppers:
    """Users who fill their time with items; `shop` moves some of them on by one event."""

    def __init__(
        self, rng: np.random.Generator, catalogue: Catalogue, people: People, timeline: Timeline
    ):
        num_users, longest = len(people.lengths), people.lengths.max()
        self.rng, self.catalogue, self.people, self.times = rng, catalogue, people, timeline.times
        self.starts = np.cumsum(people.lengths) - people.lengths
        self.offsets, self.friends, self.since = people.friendships()
        self.taken = np.full((num_users, longest + 1), -1, np.int32)  # [U, longest + 1] items
        self.done = np.zeros(num_users, np.int64)
        self.last_types = np.zeros(num_users, np.int64)

    def shop(self, users: np.ndarray, times: np.ndarray, paused: np.ndarray) -> np.ndarray:
        """The next event's type [n] of each user; the item goes to `taken`."""
        # one number for both tables of shares, so that a pause changes nothing else
        uniform = self.rng.random(len(users))
        within = np.searchsorted(np.cumsum(SHARES_WITHIN_PROJECT)[:-1], uniform, "right")
        after = np.searchsorted(np.cumsum(SHARES_AFTER_PAUSE)[:-1], uniform, "right")
        items = self._new_items(users, times, np.where(paused, after, within))

        afford = np.clip(self.people.budgets[users] - np.log(self.catalogue.prices[items]), -2, 2)
        logits = TYPE_LOGITS[self.last_types[users]] + afford[:, None] * TYPE_PER_BUDGET
        types = (logits + self.rng.gumbel(size=logits.shape)).argmax(1)

        self.taken[users, self.done[users]], self.last_types[users] = items, types
        self.done[users] += 1
        return types

    def _new_items(self, users: np.ndarray, times: np.ndarray, causes: np.ndarray) -> np.ndarray:
        """An item [n] that each user never had, by its cause or, where that has nothing new, by
        taste or at random.
        """
        items, waiting, attempt = np.full(len(users), -1), np.arange(len(users)), 0
        while len(waiting):
            ideas = self._ideas(users[waiting], times[waiting], causes[waiting])
            # no idea is -1, which counts as had: the next place in `taken` is -1
            taken = self.taken[users[waiting], : self.done[users].max() + 1]
            had = (taken == ideas[:, None]).any(1)
            items[waiting[~had]] = ideas[~had]
            waiting, attempt = waiting[had], attempt + 1
            if attempt in (PATIENCE, 2 * PATIENCE):
                causes[waiting] = TASTE if attempt == PATIENCE else RANDOM
        return items

    def _ideas(self, users: np.ndarray, times: np.ndarray, causes: np.ndarray) -> np.ndarray:
        ideas = np.empty(len(users), np.int64)
        rules = (self._by_sequence, self._by_friend, self._by_taste, self._at_random)
        for cause, rule in enumerate(rules):
            chosen = causes == cause
            ideas[chosen] = rule(users[chosen], times[chosen])
        return ideas

    def _by_sequence(self, users: np.ndarray, times: np.ndarray) -> np.ndarray:
        done = self.done[users]
        last, before = self.taken[users, done - 1], self.taken[users, np.maximum(done - 2, 0)]
        bought = self.last_types[users] == BUY
        return self.catalogue.successors(self.rng, last, before, bought, times)

    def _by_taste(self, users: np.ndarray, times: np.ndarray) -> np.ndarray:
        interests = self.people.interests[users, self.rng.integers(INTERESTS, size=len(users))]
        return self.catalogue.draw_project(self.rng, interests, times)

    def _at_random(self, users: np.ndarray, times: np.ndarray) -> np.ndarray:
        everywhere = np.zeros(len(users), np.int64)
        return self.catalogue.draw_project(self.rng, everywhere, times, self.catalogue.num_projects)

    def _by_friend(self, users: np.ndarray, times: np.ndarray) -> np.ndarray:
        """What one friend took lately and strictly before, or what follows it; -1 where there is
        nothing.
        """
        if not len(self.friends):
            return np.full(len(users), -1)
        counts = self.offsets[users + 1] - self.offsets[users]
        # one of the user's friendships at random
        edges = self.offsets[users] + (self.rng.random(len(users)) * counts).astype(np.int64)
        # whoever has no friends gets an edge that `known` refuses
        edges = np.minimum(edges, len(self.friends) - 1)
        friends, lags = self.friends[edges], self.rng.geometric(0.4, len(users))
        places = np.maximum(self.done[friends] - lags, 0)
        rows = np.minimum(self.starts[friends] + places, len(self.times) - 1)

        has_item = (counts > 0) & (self.done[friends] >= lags)
        known = has_item & (self.times[rows] < times) & (self.since[edges] < times)
        items = self.taken[friends, places]
        before = self.taken[friends, np.maximum(places - 1, 0)]
        not_bought = np.zeros(len(users), bool)
        next_items = self.catalogue.successors(self.rng, items, before, not_bought, times)
        ideas = np.where(self.rng.random(len(users)) < 0.25, next_items, items)
        return np.where(known, ideas, -1)


def simulate(
    rng: np.random.Generator, catalogue: Catalogue, people: People, timeline: Timeline
) -> tuple[np.ndarray, np.ndarray]:
    """Items and types [N] of the timeline's events.

    A wave holds at most one event of a user: the k-th of each within one slice of time. Waves go in
    order of slices, so a friend's last events are known but for those later in the same slice.
    """
    shoppers = Shoppers(rng, catalogue, people, timeline)
    slices = slices_of(timeline.times)
    rows = np.arange(len(slices))
    # a user's events within one slice are counted from 0
    opens = np.append(True, (np.diff(slices) != 0) | (np.diff(timeline.users) != 0))
    place_in_slice = rows - np.maximum.accumulate(np.where(opens, rows, 0))
    waves = slices * (people.lengths.max() + 1) + place_in_slice

    order = np.argsort(waves, kind="stable")
    types = np.empty(len(rows), np.uint8)
    for wave in np.split(order, np.flatnonzero(np.diff(waves[order])) + 1):
        users, times = timeline.users[wave], timeline.times[wave]
        types[wave] = shoppers.shop(users, times, timeline.paused[wave])
    return shoppers.taken[shoppers.taken >= 0], types


def slices_of(times: np.ndarray) -> np.ndarray:
    """The slice of time that each unix second lies in."""
    return (times - FIRST_TIME) // SLICE
