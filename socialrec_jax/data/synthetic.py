"""A deterministic shopping world with planted structure, as raw tables: what a model claims to learn can be proven.

Shoppers carry out projects: a project walks through the kinds of goods of one topic (starter kit, refill, brush, ...)
in steps of one, two or five of six. The next kind therefore follows from the last two events together: neither
co-occurrence nor popularity can tell it, an ordered model can. Friends like the same topics and copy
each other's latest item. Titles name topic and kind in one of four languages, so that text tells what a rare or a
brand-new item is. A long pause ends a project. Event types follow from price, budget and the previous type.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from pathlib import Path

import duckdb
import numpy as np

SEQUENCE, SOCIAL, TASTE = 0.6, 0.2, 0.1  # causes of an event; the rest is noise, as in any real log
EVENT_TYPES = ["view", "cart", "buy", "comment"]
COLD_SHARE = 0.08  # items without any event
_SLOTS, _SLOT_SECONDS, _FIRST_TIME = 365 * 4, 6 * 3600, 1_672_531_200  # a year from 2023-01-01 in quarters of a day
_MAX_EVENTS = 100
_KINDS = {
    "en": ["starter kit", "refill pack", "brush", "carry case", "stand", "gift set"],
    "zh": ["入门套装", "补充装", "刷子", "收纳盒", "支架", "礼盒"],
    "es": ["kit inicial", "recambio", "cepillo", "estuche", "soporte", "set de regalo"],
    "ar": ["طقم البداية", "عبوة إضافية", "فرشاة", "حقيبة", "حامل", "طقم هدية"],
}
_TOPICS = {
    "en": ["painting", "coffee", "camping", "cycling", "baking", "gaming", "gardening", "skincare"],
    "zh": ["绘画", "咖啡", "露营", "骑行", "烘焙", "游戏", "园艺", "护肤"],
    "es": ["pintura", "café", "acampada", "ciclismo", "repostería", "videojuegos", "jardinería", "cosmética"],
    "ar": ["الرسم", "القهوة", "التخييم", "الدراجات", "الخبز", "الألعاب", "البستنة", "العناية"],
}
_EMOJI = ["🎨", "☕", "⛺", "🚲", "🍰", "🎮", "🌱", "🧴"]
_LANGUAGES = list(_KINDS)
_NUM_KINDS, _NUM_WORDS = 6, 8
_STRIDES = [1, 2, 5]
_EVENT_COLUMNS = f"'u' || u as \"user\", 'i' || i as item, timestamp, ({EVENT_TYPES})[type + 1] as event_type, value"


@dataclasses.dataclass(frozen=True)
class Catalogue:
    topics: np.ndarray  # [V]
    kinds: np.ndarray  # [V]
    prices: np.ndarray  # [V]
    popularity: np.ndarray  # [V], 0 for cold items
    languages: np.ndarray  # [V], index into _LANGUAGES

    @property
    def num_topics(self) -> int:
        return int(self.topics.max()) + 1

    @functools.cached_property
    def _shelves(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Items shelf by shelf, where each shelf begins, and the running popularity."""
        shelf = self.topics * _NUM_KINDS + self.kinds
        order = np.argsort(shelf, kind="stable")
        sizes = np.bincount(shelf, minlength=self.num_topics * _NUM_KINDS)
        return order, np.concatenate([[0], np.cumsum(sizes)]), np.concatenate([[0], np.cumsum(self.popularity[order])])

    def draw(self, topics: np.ndarray, kinds: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """One item of each (topic, kind) by popularity, -1 where that shelf is empty."""
        order, begins, running = self._shelves
        shelf = topics * _NUM_KINDS + kinds
        low, high = running[begins[shelf]], running[begins[shelf + 1]]
        found = np.searchsorted(running, low + rng.random(len(topics)) * (high - low), "right") - 1
        return np.where(high > low, order[np.minimum(found, len(order) - 1)], -1)


@dataclasses.dataclass(frozen=True)
class Shoppers:
    favourites: np.ndarray  # [U, 2] topics
    budgets: np.ndarray  # [U] standard normal
    lengths: np.ndarray  # [U] events; 0 for newcomers who only have friends
    offsets: np.ndarray  # [U + 1] friends in CSR form
    friends: np.ndarray


def write_tables(
    folder: Path, *, num_users: int = 2000, num_items: int = 600, events_per_user: int = 20, seed: int = 0
) -> None:
    """Write events, social, items and users as parquet into folder; the same arguments give the same bytes.

    num_items: at least 100. events_per_user: mean of a heavy-tailed number between 3 and 100.
    """
    rng = np.random.default_rng(seed)
    catalogue = _catalogue(num_items, rng)
    shoppers = _shoppers(num_users, catalogue.num_topics, events_per_user, rng)
    log = _shop(catalogue, shoppers, rng)
    folder.mkdir(parents=True, exist_ok=True)
    with duckdb.connect(config={"threads": 1}) as database:  # one thread writes rows in one order
        _write(database, folder / "events.parquet", log, _EVENT_COLUMNS)
        _write(
            database,
            folder / "social.parquet",
            _edges(shoppers, rng),
            "'u' || a as src, 'u' || b as dst, weight, timestamp",
        )
        _write(database, folder / "items.parquet", _texts(catalogue, rng), "'i' || i as item, * exclude (i)")
        _write(database, folder / "users.parquet", _people(num_users, rng), "'u' || u as \"user\", * exclude (u)")


def _catalogue(num_items: int, rng: np.random.Generator) -> Catalogue:
    topics = rng.integers(0, max(4, num_items // 50), num_items)
    popularity = (1 + rng.permutation(num_items)) ** -0.7
    popularity[rng.random(num_items) < COLD_SHARE] = 0
    return Catalogue(
        topics=topics,
        kinds=rng.integers(0, _NUM_KINDS, num_items),
        prices=np.exp(rng.normal(3, 1, num_items)).round(2),
        popularity=popularity,
        languages=rng.choice(4, num_items, p=[0.5, 0.2, 0.2, 0.1]),
    )


def _shoppers(num_users: int, num_topics: int, events_per_user: int, rng: np.random.Generator) -> Shoppers:
    first = rng.integers(0, num_topics, num_users)
    lengths = np.clip(np.exp(rng.normal(np.log(events_per_user) - 0.25, 0.7, num_users)), 3, _MAX_EVENTS).astype(
        np.int64
    )
    lengths[rng.random(num_users) < 0.02] = 0
    degrees = 1 + rng.geometric(0.2, num_users)
    owners = np.repeat(np.arange(num_users), degrees)
    by_topic = np.argsort(first, kind="stable")
    begins, sizes = (
        np.searchsorted(first[by_topic], first[owners]),
        np.bincount(first, minlength=num_topics)[first[owners]],
    )
    alike = by_topic[begins + (rng.random(len(owners)) * sizes).astype(np.int64)]
    friends = np.where(rng.random(len(owners)) < 0.85, alike, rng.integers(0, num_users, len(owners)))
    friends = np.where(friends == owners, (friends + 1) % num_users, friends)
    return Shoppers(
        favourites=np.stack([first, rng.integers(0, num_topics, num_users)], axis=1),
        budgets=rng.normal(size=num_users),
        lengths=lengths,
        offsets=np.concatenate([[0], np.cumsum(degrees)]),
        friends=friends,
    )


def _moments(lengths: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(user, slot, whether a long pause went before) of every event, in order of slots; slots rise within a user."""
    users = np.repeat(np.arange(len(lengths)), lengths)
    starts = np.repeat(np.cumsum(lengths) - lengths, lengths)
    paused = rng.random(len(users)) < 0.25
    pauses = np.where(paused, rng.exponential(1, len(users)), 0.0)
    total = np.maximum(np.bincount(users, pauses, minlength=len(lengths)), 2.0)
    room = _SLOTS - lengths - 1
    gaps = 1 + np.floor(pauses * (room / total)[users]).astype(np.int64)
    running = np.concatenate([[0], np.cumsum(gaps)])
    slots = running[1:] - running[starts]
    order = np.argsort(slots, kind="stable")
    return users[order], slots[order], paused[order]


def _shop(catalogue: Catalogue, shoppers: Shoppers, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Let everybody shop, slot after slot; columns u, i, timestamp, event_type, value."""
    users, slots, paused = _moments(shoppers.lengths, rng)
    items, types = np.full(len(users), -1), np.zeros(len(users), np.int64)
    had = np.full((len(shoppers.lengths), shoppers.lengths.max()), -1, np.int32)
    counts = np.zeros(len(shoppers.lengths), np.int64)
    last_item, last_type = np.full(len(counts), -1), np.zeros(len(counts), np.int64)
    stride = rng.choice(_STRIDES, len(counts))
    bounds = np.searchsorted(slots, np.arange(_SLOTS + 2))
    for begin, end in itertools.pairwise(bounds):
        if begin == end:
            continue
        now = users[begin:end]
        fresh = paused[begin:end] | (last_item[now] < 0)
        stride[now] = np.where(fresh, rng.choice(_STRIDES, len(now)), stride[now])
        chosen = _choose(catalogue, shoppers, now, fresh, last_item, stride, had, rng)
        kind_of_event = _act(catalogue, shoppers, now, chosen, last_type[now], rng)
        items[begin:end], types[begin:end] = chosen, kind_of_event
        bought = now[chosen >= 0]
        had[bought, counts[bought]] = last_item[bought] = chosen[chosen >= 0]
        last_type[bought] = kind_of_event[chosen >= 0]
        counts[bought] += 1
    keep = items >= 0
    times = _FIRST_TIME + slots * _SLOT_SECONDS + rng.integers(0, _SLOT_SECONDS, len(slots))
    values = np.where(types == 3, rng.integers(1, 6, len(types)), 1).astype(np.float64)
    return {
        "u": users[keep],
        "i": items[keep],
        "timestamp": times[keep],
        "type": types[keep],
        "value": values[keep],
    }


def _choose(catalogue, shoppers, now, fresh, last_item, stride, had, rng) -> np.ndarray:
    """An item that is new to each user of now, -1 where none came to mind."""
    cause = np.searchsorted([SEQUENCE, SEQUENCE + SOCIAL, SEQUENCE + SOCIAL + TASTE], rng.random(len(now)))
    last = last_item[now]
    walk = catalogue.draw(catalogue.topics[last], (catalogue.kinds[last] + stride[now]) % _NUM_KINDS, rng)
    begins, ends = shoppers.offsets[now], shoppers.offsets[now + 1]
    friend = shoppers.friends[begins + (rng.random(len(now)) * (ends - begins)).astype(np.int64)]
    chosen = np.where(fresh | (cause > 0), -1, walk)
    chosen = np.where(cause == 1, last_item[friend], chosen)
    for attempt in range(6):  # whoever has no new item yet follows taste, or at random
        missing = (chosen < 0) | (had[now] == chosen[:, None]).any(1)
        favourite = shoppers.favourites[now, rng.integers(0, 2, len(now))]
        anywhere = (cause == 3) | (attempt > 3)
        topic = np.where(anywhere, rng.integers(0, catalogue.num_topics, len(now)), favourite)
        chosen = np.where(missing, catalogue.draw(topic, rng.integers(0, _NUM_KINDS, len(now)), rng), chosen)
    return np.where((had[now] == chosen[:, None]).any(1), -1, chosen)


def _act(catalogue, shoppers, now, items, previous, rng) -> np.ndarray:
    """What each user does with the item: who can afford it buys, a cart is followed by buying, buying by comments."""
    logits = np.tile([1.5, 0.0, -0.5, -1.0], (len(now), 1))
    logits[:, 2] += 1.5 * (shoppers.budgets[now] - (np.log(catalogue.prices[items]) - 3))
    logits[:, 2] += 2.0 * (previous == 1)
    logits[:, 3] += 2.0 * (previous == 2)
    return (logits + rng.gumbel(size=logits.shape)).argmax(1)


def _edges(shoppers: Shoppers, rng: np.random.Generator) -> dict[str, np.ndarray]:
    owners = np.repeat(np.arange(len(shoppers.lengths)), np.diff(shoppers.offsets))
    since = _FIRST_TIME - rng.integers(0, 3 * 365 * 86_400, len(owners))
    return {
        "a": owners,
        "b": shoppers.friends,
        "weight": rng.integers(1, 6, len(owners)).astype(float),
        "timestamp": since,
    }


def _texts(catalogue: Catalogue, rng: np.random.Generator) -> dict[str, np.ndarray]:
    brands = np.array(["Aro", "Belu", "Cadi", "Dono", "Evi", "Foma"], object)[rng.integers(0, 6, len(catalogue.topics))]
    titles, descriptions, categories = [], [], []
    for topic, kind, language, brand in zip(
        catalogue.topics, catalogue.kinds, catalogue.languages, brands, strict=True
    ):
        name = _LANGUAGES[language]
        series = f" {topic // _NUM_WORDS + 1}" if topic >= _NUM_WORDS else ""
        words = _TOPICS[name][topic % _NUM_WORDS] + series
        titles.append(f"{brand} {words} {_KINDS[name][kind]} {_EMOJI[topic % _NUM_WORDS] if kind == 0 else ''}".strip())
        descriptions.append(f"{words}: {_KINDS[name][kind]}. {brand}.")
        categories.append(_TOPICS["en"][topic % _NUM_WORDS] + series)
    tags = [f"{category}|{_KINDS['en'][kind]}" for category, kind in zip(categories, catalogue.kinds, strict=True)]
    columns = {"title": titles, "description": descriptions, "tags": tags, "category": categories}
    return {
        "i": np.arange(len(titles)),
        **{name: np.array(values, object) for name, values in columns.items()},
        "price": catalogue.prices,
        "available": rng.random(len(titles)) < 0.98,
    }


def _people(num_users: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    regions = np.array(["north", "east", "south", "west"], object)[rng.integers(0, 4, num_users)]
    return {
        "u": np.arange(num_users),
        "region": regions,
        "language": np.array(_LANGUAGES, object)[rng.integers(0, 4, num_users)],
    }


def _write(database: duckdb.DuckDBPyConnection, path: Path, columns: dict[str, np.ndarray], select: str) -> None:
    database.register("columns", columns)
    database.execute(
        f"copy (select {select} from columns) to '{str(path).replace(chr(39), chr(39) * 2)}' (format parquet)"
    )
    database.unregister("columns")
