"""The tasks of serve.py: files in, files out. Each function is its task's whole story."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Literal

import numpy as np

from socialrec_jax.data.as_of import AsOf
from socialrec_jax.data.columns import Strings
from socialrec_jax.data.prepare.histories import raw_events, read_ids
from socialrec_jax.data.query import newcomers
from socialrec_jax.data.world import BEFORE_TEST, BEFORE_VALIDATION, NOW, World
from socialrec_jax.errors import BadData, UsageError
from socialrec_jax.inference.candidates import SOURCES
from socialrec_jax.inference.engine import Engine, Recommendations
from socialrec_jax.serving.writer import check_output, table_writer


def recommend(
    run: Path,
    out: Path,
    *,
    k: int = 10,
    users: Path | None = None,
    histories: Path | None = None,
    as_of: str = "now",
    allow: Path | None = None,
    block: Path | None = None,
    repeats: bool = False,
) -> int:
    """Write the k best items of each user to out and return the number of rows.

    Columns: user_id, rank (1 = best), item_id, score (logit), p_<event type> (probability that the
    user's next event is this one on this item), source (history, or popular for users without
    events), reasons. Users for whom fewer than k items are left get fewer rows.
    """
    check_output(out)
    if histories and (users or as_of != "now"):
        raise UsageError(
            "--histories goes with neither --users nor --as-of: it brings its own users and events"
        )
    when = parse_as_of(as_of)
    engine = Engine.load(run, when)
    world = engine.world
    allowed = _allowed(world, allow, block)
    user_ids, events = world.user_ids, None
    if histories:
        user_ids, events = raw_events(histories, world)
    chosen = (
        np.arange(len(user_ids)) if users is None else _positions(world.user_ids, users, "user")
    )
    names = np.array(world.items.ids.tolist()), np.array(user_ids.tolist())
    with table_writer(out) as writer:
        query = engine.query(chosen, when) if events is None else newcomers(events, chosen)
        for part in engine.recommend(query, k=k, repeats=repeats, allowed=allowed):
            writer.write(**_columns(part, *names, world.event_types))
        return writer.rows


def _columns(
    part: Recommendations, item_names: np.ndarray, user_names: np.ndarray, event_types: list[str]
) -> dict:
    """One row a recommendation, best first within each user."""
    row, place = np.nonzero(part.exists)
    reasons = part.reasons[row, place]
    return {
        "user_id": user_names[part.users[row]],
        "rank": (place + 1).astype(np.int32),
        "item_id": item_names[part.items[row, place]],
        "score": part.scores[row, place],
        **{
            f"p_{name}": part.type_probabilities[row, place, a]
            for a, name in enumerate(event_types)
        },
        "source": np.array(SOURCES)[part.sources[row, place]],
        "reasons": np.where(reasons < 0, "", np.strings.add("similar to ", item_names[reasons])),
    }


def parse_as_of(text: str) -> AsOf:
    """now, validation, test, unix seconds or an ISO 8601 time (UTC unless it says otherwise)."""
    named = {"now": NOW, "validation": BEFORE_VALIDATION, "test": BEFORE_TEST}
    if text in named:
        return named[text]
    if text.lstrip("-").isdigit():
        return AsOf.time(int(text))
    try:
        moment = datetime.datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(
            f"--as-of {text}: give now, validation, test, unix seconds or a time like 2024-05-01"
        ) from None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)
    return AsOf.time(int(moment.timestamp()))


def _allowed(world: World, allow: Path | None, block: Path | None) -> np.ndarray | None:
    """Which items may be recommended [V] bool, None when all."""
    if allow is None and block is None:
        return None
    allowed = np.full(world.num_items, allow is None)
    if allow is not None:
        allowed[_positions(world.items.ids, allow, "item")] = True
    if block is not None:
        allowed[_positions(world.items.ids, block, "item")] = False
    if not allowed.any():
        raise BadData("--allow and --block leave no item to recommend")
    return allowed


def _positions(ids: Strings, file: Path, kind: Literal["user", "item"]) -> np.ndarray:
    """Numbers of the ids that stand in file. Raises BadData when one is unknown."""
    wanted = read_ids(file, kind)
    found = ids.lookup(wanted)
    if (found < 0).any():
        unknown = [name for name, position in zip(wanted, found, strict=True) if position < 0]
        raise BadData(
            f"{file}: {len(unknown)} of {len(wanted)} {kind} ids are unknown to this run, first {unknown[0]!r}"
        )
    return found
