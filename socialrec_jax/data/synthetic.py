"""A deterministic social-shopping world as input tables: what a model claims to have learnt can be
checked here.

`shoppers.py` says why each event happens. Titles name topic and kind in one of four languages, so
text tells what a rare or a new item is good for: some goods come in the last weeks only, and sell
well.
"""

from __future__ import annotations

from pathlib import Path

import duckdb
import numpy as np

from socialrec_jax.data.shoppers import (
    DAY,
    EVENT_TYPES,
    FIRST_TIME,
    HORIZON,
    INTERESTS,
    NUM_KINDS,
    SLICE,
    Catalogue,
    People,
    Timeline,
    simulate,
)
from socialrec_jax.errors import UsageError

PAUSE_SHARE = 0.25
COLD_ITEM_SHARE, COLD_USER_SHARE, RANDOM_EDGE_SHARE = 0.08, 0.02, 0.2
# goods that come in the last slices of time, as sought as the best tenth
LATE_ITEM_SHARE, LAST_LAUNCHES = 0.4, 5
SHORTEST, LONGEST_PER_MEAN = 3, 5  # events of a user: heavy-tailed from 3 to five times the mean
COMMUNITY_SIZE, FRIENDSHIPS = 40, 4
ACTIVITY_BY_HOUR = (2, 1, 1, 1, 1, 2, 4, 6, 7, 7, 8, 9, 10, 9, 8, 8, 9, 11, 13, 15, 16, 14, 9, 5)

LANGUAGES, REGIONS = ("en", "zh", "ar", "es"), ("us", "cn", "eg", "mx")
TOPICS = (  # one row a language
    "painting|coffee|camping|cycling|baking|gaming|gardening|skincare|knitting|fishing|"
    "photography|running",
    "绘画|咖啡|露营|骑行|烘焙|游戏|园艺|护肤|编织|钓鱼|摄影|跑步",
    "الرسم|القهوة|التخييم|الدراجات|الخبز|الألعاب|البستنة|البشرة|الحياكة|الصيد|التصوير|الجري",
    "pintura|café|acampada|ciclismo|repostería|videojuegos|jardinería|cosmética|tejido|pesca|"
    "fotografía|atletismo",
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
NUM_TOPICS = 12
SYLLABLES = tuple(consonant + vowel for consonant in "bdfklmnrstvz" for vowel in "aeiou")


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
    _check_sizes(num_users, num_items, events_per_user)
    rng = np.random.default_rng(seed)
    catalogue = _catalogue(rng, num_items)
    # half the items stay new to everybody
    longest = min(LONGEST_PER_MEAN * events_per_user, num_items // 2)
    people = _people(rng, num_users, catalogue.num_projects, events_per_user, longest)
    timeline = _timeline(rng, people.lengths)
    items, types = simulate(rng, catalogue, people, timeline)

    # numbers tell nothing
    user_ids, item_ids = rng.permutation(num_users), rng.permutation(num_items)
    folder.mkdir(parents=True, exist_ok=True)
    _write_events(folder / "events.parquet", timeline, user_ids, item_ids[items], types)
    _write_social(folder / "social.parquet", rng, people, user_ids)
    texts = {"i": item_ids, **_texts(rng, catalogue)}
    _write(folder / "items.parquet", texts, "'i' || i as item, * exclude (i)")
    _write_users(folder / "users.parquet", people, user_ids)


def _check_sizes(num_users: int, num_items: int, events_per_user: int) -> None:
    least = max(2 * NUM_KINDS, 2 * events_per_user)
    if num_users < 2 or events_per_user < SHORTEST or num_items < least:
        raise UsageError(
            f"a sample world of {num_users} users, {num_items} items, {events_per_user} events a "
            f"user is too small: give at least 2 users, {SHORTEST} events a user, and {least} "
            f"items for {events_per_user} events"
        )


def _write_events(
    path: Path, timeline: Timeline, user_ids: np.ndarray, items: np.ndarray, types: np.ndarray
) -> None:
    order = np.argsort(timeline.times, kind="stable")
    columns = {
        "u": user_ids[timeline.users][order],
        "i": items[order],
        "timestamp": timeline.times[order],
        "t": types[order],
    }
    event_type = f"({list(EVENT_TYPES)})[t + 1] as event_type"
    _write(path, columns, f"""'u' || u as "user", 'i' || i as item, timestamp, {event_type}""")


def _write_social(
    path: Path, rng: np.random.Generator, people: People, user_ids: np.ndarray
) -> None:
    columns = {
        "a": user_ids[people.edges[:, 0]],
        "b": user_ids[people.edges[:, 1]],
        "timestamp": people.since,
        "weight": 1.0 + rng.poisson(np.where(people.real, 3, 1)),  # how often the two talk
    }
    _write(path, columns, "'u' || a as src, 'u' || b as dst, weight, timestamp")


def _write_users(path: Path, people: People, user_ids: np.ndarray) -> None:
    region = f"({list(REGIONS)})[home + 1] as region"
    language = f"({list(LANGUAGES)})[home + 1] as language"
    columns = {"u": user_ids, "home": people.homes}
    _write(path, columns, f"""'u' || u as "user", {region}, {language}""")


def _catalogue(rng: np.random.Generator, num_items: int) -> Catalogue:
    num_shelves = NUM_KINDS * min(num_items // NUM_KINDS, NUM_TOPICS * max(1, num_items // 300))
    extra = rng.integers(num_shelves, size=max(0, num_items - num_shelves))
    shelves = np.sort(np.concatenate([np.arange(num_shelves), extra]))
    walks = rng.permuted(np.tile(np.arange(NUM_KINDS), (NUM_TOPICS, 1)), axis=1)
    kinds = walks[shelves // NUM_KINDS % NUM_TOPICS, shelves % NUM_KINDS]
    mass = _popularity_by_slice(rng, shelves)
    return Catalogue(
        shelves=shelves,
        kinds=kinds,
        prices=np.exp(rng.normal(3 + 0.2 * (kinds - 3.5), 0.6)).round(2),
        begins=np.searchsorted(shelves, np.arange(num_shelves + 1)),
        mass=mass,
    )


def _popularity_by_slice(rng: np.random.Generator, shelves: np.ndarray) -> np.ndarray:
    """Running popularity [slices, V + 1] of the items that are out in each slice of time."""
    num_items = len(shelves)
    popularity = (1.0 + rng.permutation(num_items)) ** -1.1
    # the last item of a shelf stays warm: no shelf is empty
    spare = np.flatnonzero(shelves[:-1] == shelves[1:])
    cold, rest = np.split(rng.permutation(spare), [int(COLD_ITEM_SHARE * num_items)])
    popularity[cold] = 0
    late = rest[: int(LATE_ITEM_SHARE * num_items)]
    popularity[late] = np.quantile(popularity, 0.9)

    # most items have been there from the beginning
    launches = np.zeros(num_items, np.int64)
    launches[late] = HORIZON // SLICE - rng.integers(LAST_LAUNCHES, size=len(late))
    slices = np.arange(HORIZON // SLICE + 2)
    running = np.cumsum(np.where(launches <= slices[:, None], popularity, 0), axis=1)
    before = np.cumsum(running[:, -1]) - running[:, -1]
    return before[:, None] + np.pad(running, [(0, 0), (1, 0)])


def _people(
    rng: np.random.Generator, num_users: int, num_projects: int, events_per_user: int, longest: int
) -> People:
    num_communities = max(1, num_users // COMMUNITY_SIZE)
    community = np.sort(rng.integers(num_communities, size=num_users))
    # some projects are more popular than others, in every community
    fame = (1.0 + rng.permutation(num_projects)) ** -0.5
    shared = rng.choice(num_projects, (num_communities, INTERESTS), p=fame / fame.sum())
    own = rng.choice(num_projects, (num_users, INTERESTS), p=fame / fame.sum())
    lengths = _lengths(rng, num_users, events_per_user, longest)
    at_home = rng.random(num_users) < 0.8
    homes = np.where(at_home, rng.integers(4, size=num_communities)[community], 0)
    begins = np.searchsorted(community, np.arange(num_communities + 1))
    edges, real = _edges(rng, begins, community)
    return People(
        interests=np.where(rng.random((num_users, INTERESTS)) < 0.75, shared[community], own),
        budgets=rng.normal(3, 0.8, num_users),
        lengths=lengths,
        homes=homes,
        edges=edges,
        since=FIRST_TIME + (HORIZON * rng.uniform(-1, 0.5, len(edges))).astype(np.int64),
        real=real,
    )


def _lengths(
    rng: np.random.Generator, num_users: int, events_per_user: int, longest: int
) -> np.ndarray:
    """Events of each user [U], heavy-tailed; cold users have none."""
    drawn = rng.lognormal(np.log(events_per_user) - 0.32, 0.8, num_users)
    lengths = np.clip(drawn.round(), SHORTEST, longest).astype(np.int64)
    num_cold = int(np.ceil(COLD_USER_SHARE * num_users))
    lengths[rng.permutation(num_users)[:num_cold]] = 0
    return lengths


def _edges(
    rng: np.random.Generator, begins: np.ndarray, community: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Friendships [E, 2], each once, most of them in one's community, and which are real [E]."""
    num_users = len(community)
    src = np.repeat(np.arange(num_users), rng.geometric(1 / FRIENDSHIPS, num_users))
    low, high = begins[community[src]], begins[community[src] + 1]
    real = rng.random(len(src)) >= RANDOM_EDGE_SHARE
    dst = np.where(real, rng.integers(low, high), rng.integers(num_users, size=len(src)))

    # the first of a repeated pair stays, whatever its direction
    key = np.minimum(src, dst) * num_users + np.maximum(src, dst)
    first = np.sort(np.unique(key, return_index=True)[1])
    first = first[src[first] != dst[first]]
    return np.stack([src, dst], axis=1)[first], real[first]


def _timeline(rng: np.random.Generator, lengths: np.ndarray) -> Timeline:
    """Short gaps of minutes within a project, and long ones that spread the projects over time."""
    users = np.repeat(np.arange(len(lengths)), lengths)
    starts = np.cumsum(lengths) - lengths
    place = np.arange(len(users)) - starts[users]
    paused = (rng.random(len(users)) < PAUSE_SHARE) | (place == 0)
    # rests are in a unit of each user's own, which brings them from joining to the horizon
    rest = np.where(paused & (place > 0), 0.1 + rng.exponential(size=len(users)), 0)
    busy = np.where(paused, 0, rng.exponential(600, len(users)))  # seconds
    last_rest = 0.1 + rng.exponential(size=len(lengths))
    joined = rng.random(len(lengths)) * 0.7 * HORIZON
    unit = (HORIZON - joined) / (np.bincount(users, rest, minlength=len(lengths)) + last_rest)
    elapsed = np.cumsum(rest * unit[users] + busy)
    active = joined[users] + elapsed - elapsed[starts[users]]
    # the place parts events of one second
    return Timeline(users=users, times=_by_day_and_night(active) + place, paused=paused)


def _by_day_and_night(seconds: np.ndarray) -> np.ndarray:
    """Unix seconds of an even time, which is bent into days with nights."""
    share_of_day = np.cumsum([0, *ACTIVITY_BY_HOUR]) / sum(ACTIVITY_BY_HOUR)
    clock = np.interp(seconds % DAY / DAY, share_of_day, np.arange(25) / 24)
    return FIRST_TIME + ((seconds // DAY + clock) * DAY).astype(np.int64)


def _texts(rng: np.random.Generator, catalogue: Catalogue) -> dict[str, np.ndarray]:
    """Title, description, tags, category, price and availability of each item."""
    languages = rng.choice(4, len(catalogue.kinds), p=[0.4, 0.25, 0.15, 0.2])
    projects = catalogue.shelves // NUM_KINDS
    columns = zip(projects.tolist(), catalogue.kinds.tolist(), languages.tolist(), strict=True)
    rows = [_text(*row) for row in columns]
    titles, descriptions, tags, categories = map(np.array, zip(*rows, strict=True))
    texts = {"title": titles, "description": descriptions, "tags": tags, "category": categories}
    available = rng.random(len(rows)) < 0.97
    return {**texts, "price": catalogue.prices, "available": available}


def _text(project: int, kind: int, language: int) -> tuple[str, str, str, str]:
    """Title, description, tags and category of an item."""
    brand_number, topic = divmod(project, NUM_TOPICS)
    syllables = [SYLLABLES[brand_number * 7 % 60], SYLLABLES[brand_number // 60 % 60]]
    brand = "".join([*syllables, SYLLABLES[brand_number * 11 % 60]]).title()
    topics, kinds = TOPICS[language].split("|"), KINDS[language].split("|")
    category, english_kind = TOPICS[0].split("|")[topic], KINDS[0].split("|")[kind]

    title = f"{brand} {topics[topic]} {kinds[kind]}"
    if kind == 0:
        title += f" {EMOJI[topic]}"
    words = {"topic": topics[topic], "kind": kinds[kind], "brand": brand}
    description = DESCRIPTIONS[language].format(**words)
    return title, description, f"{category}|{english_kind}|{brand}", category


def _write(path: Path, columns: dict[str, np.ndarray], select: str) -> None:
    target = str(path).replace("'", "''")
    with duckdb.connect(config={"threads": 1}) as database:  # one thread writes rows in one order
        database.register("columns", columns)
        database.execute(f"copy (select {select} from columns) to '{target}' (format parquet)")
