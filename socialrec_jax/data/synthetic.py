"""A deterministic social-shopping world as input tables: what a model claims to have learnt can be
checked here.

Every event has one of four causes. *Sequence*: a topic's goods form a project, walked one, two or
three steps at a time; how far depends on the item before the last and on whether the last one was
bought, so neither popularity nor symmetric co-occurrence tells what comes next, an ordered model
can. *Social*: a friend's recent item, or what follows it. *Taste*: something of a favourite topic,
mostly after a long pause. *Noise*: anything. Titles name topic and kind in one of four languages,
so text tells what a rare or a new item is good for: some goods come in the last weeks only, and
sell well.

Shoppers live in parallel: their times are drawn first, then events are filled in wave after wave,
in order of time.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import duckdb
import numpy as np

from socialrec_jax.errors import UsageError

# Causes of an event (sequence, social, taste, noise). Real logs repeat their sequences about half
# the time, show a friend's item 1.75-1.94 times as often as chance, and are never explained wholly.
# A long pause ends a project, so what follows it is taste. Whoever finds nothing new with friends
# or in the project falls back on taste: over all events the shares come to about .42, .24, .24, .1.
SEQUENCE, SOCIAL, TASTE, NOISE = range(4)
SHARES_WITHIN_PROJECT = (0.64, 0.30, 0.00, 0.06)
SHARES_AFTER_PAUSE = (0.00, 0.30, 0.54, 0.16)
PAUSE_SHARE = 0.25

EVENT_TYPES = ("view", "cart", "buy", "comment")
BUY = EVENT_TYPES.index("buy")
TYPE_LOGITS = np.array(  # [type before, type]: a cart is followed by buying, buying by comments
    [[1.6, 0.6, -0.4, -1.2], [0.8, 0.0, 1.6, -1.0], [1.2, 0.2, -0.6, 1.6], [1.6, 0.4, -0.4, -0.8]]
)
TYPE_PER_BUDGET = np.array(
    [-0.6, 0.3, 1.2, 0.2]
)  # who can afford an item buys it, who cannot looks at it

COLD_ITEM_SHARE, COLD_USER_SHARE, NOISE_EDGE_SHARE = 0.08, 0.02, 0.2
LATE_ITEM_SHARE, LAST_LAUNCHES = (
    0.4,
    5,
)  # goods that come in the last slices of time, as sought as the best tenth
SHORTEST, LONGEST_PER_MEAN = 3, 5  # events of a user: heavy-tailed from 3 to five times the mean
INTERESTS, COMMUNITY_SIZE, FRIENDSHIPS = 4, 40, 4
PATIENCE = 4  # refused ideas before a shopper turns to taste, and from taste to anything
DAY = 86_400
FIRST_TIME, HORIZON, SLICE = 1_672_531_200, 730 * DAY, 14 * DAY  # two years from 2023-01-01
ACTIVITY_BY_HOUR = (2, 1, 1, 1, 1, 2, 4, 6, 7, 7, 8, 9, 10, 9, 8, 8, 9, 11, 13, 15, 16, 14, 9, 5)

LANGUAGES, REGIONS = ("en", "zh", "ar", "es"), ("us", "cn", "eg", "mx")
TOPICS = (  # one row a language
    "painting|coffee|camping|cycling|baking|gaming|gardening|skincare|knitting|fishing|photography|running",
    "绘画|咖啡|露营|骑行|烘焙|游戏|园艺|护肤|编织|钓鱼|摄影|跑步",
    "الرسم|القهوة|التخييم|الدراجات|الخبز|الألعاب|البستنة|البشرة|الحياكة|الصيد|التصوير|الجري",
    "pintura|café|acampada|ciclismo|repostería|videojuegos|jardinería|cosmética|tejido|pesca|fotografía|atletismo",
)
KINDS = (
    "starter kit|refill|brush|case|stand|handbook|cleaner|gift set",
    "入门套装|补充装|刷子|收纳盒|支架|手册|清洁剂|礼盒",
    "طقم البداية|عبوة|فرشاة|حقيبة|حامل|دليل|منظف|هدية",
    "kit inicial|recambio|cepillo|estuche|soporte|manual|limpiador|regalo",
)
EMOJI = "🎨☕🏕🚲🍰🎮🌱🧴🧶🎣📷👟"
DESCRIPTIONS = (
    "A {kind} for everyone who loves {topic}, by {brand}.",
    "{brand} 出品 适合 {topic} 爱好者的 {kind}。",
    "{kind} لكل من يحب {topic} من {brand}.",
    "{kind} para quienes aman {topic}, de {brand}.",
)
NUM_TOPICS, NUM_KINDS = 12, 8
SYLLABLES = tuple(consonant + vowel for consonant in "bdfklmnrstvz" for vowel in "aeiou")


@dataclasses.dataclass(frozen=True)
class Catalogue:
    """V items sorted by shelf; a shelf is one step of the project of one (topic, brand)."""

    shelves: np.ndarray  # [V] project * NUM_KINDS + step, rising
    kinds: (
        np.ndarray
    )  # [V] which kind of goods that step is; the order of kinds differs from topic to topic
    prices: np.ndarray  # [V]
    begins: np.ndarray  # [shelves + 1] shelf s owns rows begins[s]:begins[s + 1]
    mass: (
        np.ndarray
    )  # [slices, V + 1] running popularity, going on from slice to slice; what is not out adds none

    @property
    def num_projects(self) -> int:
        return (len(self.begins) - 1) // NUM_KINDS

    def draw(
        self, rng: np.random.Generator, first: np.ndarray, last: np.ndarray, times: np.ndarray
    ) -> np.ndarray:
        """One item [n] by its popularity at the time from each range of shelves first..last - 1
        [n].
        """
        slices = _slices(times)
        low, high = self.mass[slices, self.begins[first]], self.mass[slices, self.begins[last]]
        found = (
            np.searchsorted(
                self.mass.reshape(-1), low + rng.random(len(low)) * (high - low), "right"
            )
            - 1
        )
        found -= slices * self.mass.shape[1]
        return np.clip(
            found, self.begins[first], self.begins[last] - 1
        )  # rounding may reach the next shelf

    def draw_project(
        self, rng, projects: np.ndarray, times: np.ndarray, count: int = 1
    ) -> np.ndarray:
        """One item [n] from each of `projects` [n], or of the `count` projects that begin there."""
        return self.draw(rng, projects * NUM_KINDS, (projects + count) * NUM_KINDS, times)

    def follow(
        self, rng, items: np.ndarray, before: np.ndarray, bought: np.ndarray, times: np.ndarray
    ) -> np.ndarray:
        """The planted successors: one or two steps on by the kind of the item before, three after
        buying.
        """
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
        history_ends = np.concatenate([self.edges[self.real], self.edges[self.real][:, ::-1]])
        order = np.argsort(history_ends[:, 0], kind="stable")
        offsets = np.concatenate(
            [[0], np.cumsum(np.bincount(history_ends[:, 0], minlength=len(self.lengths)))]
        )
        return offsets, history_ends[order, 1], np.tile(self.since[self.real], 2)[order]


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
        self.rng, self.catalogue, self.people, self.times = rng, catalogue, people, timeline.times
        self.starts = np.cumsum(people.lengths) - people.lengths
        self.offsets, self.friends, self.since = people.friendships()
        self.taken = np.full(
            (len(people.lengths), people.lengths.max() + 1), -1, np.int32
        )  # [U, longest + 1] items
        self.done = np.zeros(len(people.lengths), np.int64)
        self.last_types = np.zeros(len(people.lengths), np.int64)

    def shop(self, users: np.ndarray, times: np.ndarray, paused: np.ndarray) -> np.ndarray:
        """The next event's type [n] of each user; the item goes to `taken`."""
        within, after = (
            np.cumsum(shares)[:-1] for shares in (SHARES_WITHIN_PROJECT, SHARES_AFTER_PAUSE)
        )
        chance = self.rng.random(len(users))
        causes = np.where(
            paused,
            np.searchsorted(after, chance, "right"),
            np.searchsorted(within, chance, "right"),
        )
        items = self._new_items(users, times, causes)
        afford = np.clip(self.people.budgets[users] - np.log(self.catalogue.prices[items]), -2, 2)
        logits = TYPE_LOGITS[self.last_types[users]] + afford[:, None] * TYPE_PER_BUDGET
        types = (logits + self.rng.gumbel(size=logits.shape)).argmax(1)
        self.taken[users, self.done[users]], self.last_types[users] = items, types
        self.done[users] += 1
        return types

    def _new_items(self, users: np.ndarray, times: np.ndarray, causes: np.ndarray) -> np.ndarray:
        """An item [n] that each user never had, by its cause or, where that has nothing new, by
        taste or noise.
        """
        items, waiting, attempt = np.full(len(users), -1), np.arange(len(users)), 0
        while len(waiting):
            ideas = self._ideas(users[waiting], times[waiting], causes[waiting])
            had = (self.taken[users[waiting], : self.done[users].max() + 1] == ideas[:, None]).any(
                1
            )
            items[waiting[~had]] = ideas[~had]
            waiting, attempt = (
                waiting[had],
                attempt + 1,
            )  # no idea is -1, which counts as had: the next place is -1
            if attempt in (PATIENCE, 2 * PATIENCE):
                causes[waiting] = TASTE if attempt == PATIENCE else NOISE
        return items

    def _ideas(self, users: np.ndarray, times: np.ndarray, causes: np.ndarray) -> np.ndarray:
        ideas = np.empty(len(users), np.int64)
        for cause, rule in enumerate((self._continue, self._copy, self._like, self._anything)):
            chosen = causes == cause
            ideas[chosen] = rule(users[chosen], times[chosen])
        return ideas

    def _continue(self, users: np.ndarray, times: np.ndarray) -> np.ndarray:
        done = self.done[users]
        last, before = self.taken[users, done - 1], self.taken[users, np.maximum(done - 2, 0)]
        return self.catalogue.follow(self.rng, last, before, self.last_types[users] == BUY, times)

    def _like(self, users: np.ndarray, times: np.ndarray) -> np.ndarray:
        interests = self.people.interests[users, self.rng.integers(INTERESTS, size=len(users))]
        return self.catalogue.draw_project(self.rng, interests, times)

    def _anything(self, users: np.ndarray, times: np.ndarray) -> np.ndarray:
        everywhere = np.zeros(len(users), np.int64)
        return self.catalogue.draw_project(self.rng, everywhere, times, self.catalogue.num_projects)

    def _copy(self, users: np.ndarray, times: np.ndarray) -> np.ndarray:
        """What one friend took lately and strictly before, or what follows it; -1 where there is
        nothing.
        """
        if not len(self.friends):
            return np.full(len(users), -1)
        counts = self.offsets[users + 1] - self.offsets[users]
        edges = self.offsets[users] + (self.rng.random(len(users)) * counts).astype(np.int64)
        edges = np.minimum(
            edges, len(self.friends) - 1
        )  # whoever has no friends gets an edge that `known` refuses
        friends, lags = self.friends[edges], self.rng.geometric(0.4, len(users))
        places = np.maximum(self.done[friends] - lags, 0)
        rows = np.minimum(self.starts[friends] + places, len(self.times) - 1)
        known = (
            (counts > 0)
            & (self.done[friends] >= lags)
            & (self.times[rows] < times)
            & (self.since[edges] < times)
        )
        items = self.taken[friends, places]
        before = self.taken[friends, np.maximum(places - 1, 0)]
        next_items = self.catalogue.follow(
            self.rng, items, before, np.zeros(len(users), bool), times
        )
        return np.where(known, np.where(self.rng.random(len(users)) < 0.25, next_items, items), -1)


def write_tables(
    folder: Path,
    *,
    num_users: int = 2000,
    num_items: int = 600,
    events_per_user: int = 20,
    seed: int = 0,
) -> None:
    """Write events, social, items and users as parquet into folder; the same arguments give the
    same bytes.

    events_per_user: mean of a heavy-tailed number. Raises UsageError for a world too small to hold
    the structure.
    """
    least = max(2 * NUM_KINDS, 2 * events_per_user)
    if num_users < 2 or events_per_user < SHORTEST or num_items < least:
        raise UsageError(
            f"a sample world of {num_users} users, {num_items} items, {events_per_user} events a user is too small: "
            f"give at least 2 users, {SHORTEST} events a user, and {least} items for {events_per_user} events"
        )
    rng = np.random.default_rng(seed)
    catalogue = _catalogue(rng, num_items)
    longest = min(
        LONGEST_PER_MEAN * events_per_user, num_items // 2
    )  # half the items stay new to everybody
    people = _people(rng, num_users, catalogue.num_projects, events_per_user, longest)
    timeline = _timeline(rng, people.lengths)
    items, types = _live(rng, catalogue, people, timeline)
    user_ids, item_ids = (
        rng.permutation(num_users),
        rng.permutation(num_items),
    )  # numbers tell nothing
    order = np.argsort(timeline.times, kind="stable")
    folder.mkdir(parents=True, exist_ok=True)
    log = {
        "u": user_ids[timeline.users],
        "i": item_ids[items],
        "timestamp": timeline.times,
        "t": types,
    }
    log = {name: column[order] for name, column in log.items()}
    names = f"({list(EVENT_TYPES)})[t + 1] as event_type"
    _write(
        folder / "events.parquet",
        log,
        f"""'u' || u as "user", 'i' || i as item, timestamp, {names}""",
    )
    edges = {
        "a": user_ids[people.edges[:, 0]],
        "b": user_ids[people.edges[:, 1]],
        "timestamp": people.since,
    }
    edges["weight"] = 1.0 + rng.poisson(np.where(people.real, 3, 1))  # how often the two talk
    _write(folder / "social.parquet", edges, "'u' || a as src, 'u' || b as dst, weight, timestamp")
    _write(
        folder / "items.parquet",
        {"i": item_ids, **_texts(rng, catalogue)},
        "'i' || i as item, * exclude (i)",
    )
    homes = f"({list(REGIONS)})[home + 1] as region, ({list(LANGUAGES)})[home + 1] as language"
    _write(
        folder / "users.parquet",
        {"u": user_ids, "home": people.homes},
        f"""'u' || u as "user", {homes}""",
    )


def _catalogue(rng: np.random.Generator, num_items: int) -> Catalogue:
    num_shelves = NUM_KINDS * min(num_items // NUM_KINDS, NUM_TOPICS * max(1, num_items // 300))
    extra = rng.integers(num_shelves, size=max(0, num_items - num_shelves))
    shelves = np.sort(np.concatenate([np.arange(num_shelves), extra]))
    walks = rng.permuted(np.tile(np.arange(NUM_KINDS), (NUM_TOPICS, 1)), axis=1)
    kinds = walks[shelves // NUM_KINDS % NUM_TOPICS, shelves % NUM_KINDS]
    popularity = (1.0 + rng.permutation(num_items)) ** -1.1
    spare = np.flatnonzero(
        shelves[:-1] == shelves[1:]
    )  # the last of a shelf stays warm: no shelf is empty
    cold, rest = np.split(rng.permutation(spare), [int(COLD_ITEM_SHARE * num_items)])
    popularity[cold] = 0
    late, slices = rest[: int(LATE_ITEM_SHARE * num_items)], np.arange(HORIZON // SLICE + 2)
    popularity[late] = np.quantile(popularity, 0.9)
    launches = np.zeros(num_items, np.int64)
    launches[late] = HORIZON // SLICE - rng.integers(LAST_LAUNCHES, size=len(late))
    running = np.cumsum(np.where(launches <= slices[:, None], popularity, 0), axis=1)
    before = np.cumsum(running[:, -1]) - running[:, -1]
    return Catalogue(
        shelves=shelves,
        kinds=kinds,
        prices=np.exp(rng.normal(3 + 0.2 * (kinds - 3.5), 0.6)).round(2),
        begins=np.searchsorted(shelves, np.arange(num_shelves + 1)),
        mass=before[:, None] + np.pad(running, [(0, 0), (1, 0)]),
    )


def _people(
    rng: np.random.Generator, num_users: int, num_projects: int, events_per_user: int, longest: int
) -> People:
    num_communities = max(1, num_users // COMMUNITY_SIZE)
    community = np.sort(rng.integers(num_communities, size=num_users))
    fame = (1.0 + rng.permutation(num_projects)) ** -0.5
    shared = rng.choice(num_projects, (num_communities, INTERESTS), p=fame / fame.sum())
    own = rng.choice(num_projects, (num_users, INTERESTS), p=fame / fame.sum())
    lengths = rng.lognormal(np.log(events_per_user) - 0.32, 0.8, num_users)
    lengths = np.clip(lengths.round(), SHORTEST, longest).astype(np.int64)
    lengths[rng.permutation(num_users)[: int(np.ceil(COLD_USER_SHARE * num_users))]] = 0
    home = np.where(
        rng.random(num_users) < 0.8, rng.integers(4, size=num_communities)[community], 0
    )
    edges, real = _edges(rng, np.searchsorted(community, np.arange(num_communities + 1)), community)
    return People(
        interests=np.where(rng.random((num_users, INTERESTS)) < 0.75, shared[community], own),
        budgets=rng.normal(3, 0.8, num_users),
        lengths=lengths,
        homes=home,
        edges=edges,
        since=FIRST_TIME + (HORIZON * rng.uniform(-1, 0.5, len(edges))).astype(np.int64),
        real=real,
    )


def _edges(
    rng: np.random.Generator, begins: np.ndarray, community: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Friendships [E, 2], each once, most of them in one's community, and which of them are real
    [E].
    """
    src = np.repeat(np.arange(len(community)), rng.geometric(1 / FRIENDSHIPS, len(community)))
    low, high = begins[community[src]], begins[community[src] + 1]
    real = rng.random(len(src)) >= NOISE_EDGE_SHARE
    dst = np.where(real, rng.integers(low, high), rng.integers(len(community), size=len(src)))
    key = np.minimum(src, dst) * len(community) + np.maximum(src, dst)
    first = np.sort(np.unique(key, return_index=True)[1])
    first = first[src[first] != dst[first]]
    return np.stack([src, dst], axis=1)[first], real[first]


def _timeline(rng: np.random.Generator, lengths: np.ndarray) -> Timeline:
    """Short gaps of minutes within a project and long ones that spread the projects from joining to
    the horizon.
    """
    users = np.repeat(np.arange(len(lengths)), lengths)
    starts = np.cumsum(lengths) - lengths
    place = np.arange(len(users)) - starts[users]
    paused = (rng.random(len(users)) < PAUSE_SHARE) | (place == 0)
    rest = np.where(
        paused & (place > 0), 0.1 + rng.exponential(size=len(users)), 0
    )  # in a unit of each user's own
    busy = np.where(paused, 0, rng.exponential(600, len(users)))  # seconds
    last_rest = 0.1 + rng.exponential(size=len(lengths))
    joined = rng.random(len(lengths)) * 0.7 * HORIZON
    unit = (HORIZON - joined) / (np.bincount(users, rest, minlength=len(lengths)) + last_rest)
    elapsed = np.cumsum(rest * unit[users] + busy)
    active = joined[users] + elapsed - elapsed[starts[users]]
    share_of_day = np.cumsum([0, *ACTIVITY_BY_HOUR]) / sum(ACTIVITY_BY_HOUR)
    clock = np.interp(
        active % DAY / DAY, share_of_day, np.arange(25) / 24
    )  # even time is bent into days with nights
    times = FIRST_TIME + ((active // DAY + clock) * DAY).astype(np.int64)
    return Timeline(
        users=users, times=times + place, paused=paused
    )  # the place parts events of one second


def _live(rng: np.random.Generator, catalogue: Catalogue, people: People, timeline: Timeline):
    """Items and types [N] of the timeline's events.

    A wave holds at most one event of a user: the k-th of each within one slice of time. Waves go in
    order of slices, so a friend's last events are known but for those later in the same slice.
    """
    shoppers = Shoppers(rng, catalogue, people, timeline)
    slices = _slices(timeline.times)
    rows = np.arange(len(slices))
    opens = np.append(True, (np.diff(slices) != 0) | (np.diff(timeline.users) != 0))
    waves = (
        slices * (people.lengths.max() + 1) + rows - np.maximum.accumulate(np.where(opens, rows, 0))
    )
    order = np.argsort(waves, kind="stable")
    types = np.empty(len(rows), np.uint8)
    for wave in np.split(order, np.flatnonzero(np.diff(waves[order])) + 1):
        types[wave] = shoppers.shop(
            timeline.users[wave], timeline.times[wave], timeline.paused[wave]
        )
    return shoppers.taken[shoppers.taken >= 0], types


def _slices(times: np.ndarray) -> np.ndarray:
    """The slice of time that each unix second lies in."""
    return (times - FIRST_TIME) // SLICE


def _texts(rng: np.random.Generator, catalogue: Catalogue) -> dict[str, np.ndarray]:
    """Title, description, tags, category, price and availability of each item."""
    topics, kinds = ([row.split("|") for row in words] for words in (TOPICS, KINDS))
    languages = rng.choice(4, len(catalogue.kinds), p=[0.4, 0.25, 0.15, 0.2])
    projects, rows = catalogue.shelves // NUM_KINDS, []
    for project, kind, language in zip(
        projects.tolist(), catalogue.kinds.tolist(), languages.tolist(), strict=True
    ):
        brand, topic = divmod(project, NUM_TOPICS)
        brand = (
            SYLLABLES[brand * 7 % 60] + SYLLABLES[brand // 60 % 60] + SYLLABLES[brand * 11 % 60]
        ).title()
        words = {"topic": topics[language][topic], "kind": kinds[language][kind], "brand": brand}
        title = "{brand} {topic} {kind}".format(**words) + f" {EMOJI[topic]}" * (kind == 0)
        tags = f"{topics[0][topic]}|{kinds[0][kind]}|{brand}"
        rows.append((title, DESCRIPTIONS[language].format(**words), tags, topics[0][topic]))
    columns = (np.array(column) for column in zip(*rows, strict=True))
    text = dict(zip(("title", "description", "tags", "category"), columns, strict=True))
    return {**text, "price": catalogue.prices, "available": rng.random(len(rows)) < 0.97}


def _write(path: Path, columns: dict[str, np.ndarray], select: str) -> None:
    target = str(path).replace("'", "''")
    with duckdb.connect(config={"threads": 1}) as database:  # one thread writes rows in one order
        database.register("columns", columns)
        database.execute(f"copy (select {select} from columns) to '{target}' (format parquet)")
