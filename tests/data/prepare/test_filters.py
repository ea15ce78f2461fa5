"""Filters of events: dates, values and k-cores; what they leave out is counted."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from socialrec_jax.data.prepare.append import append
from socialrec_jax.errors import BadData, UsageError
from tests.data.prepare.odd_shops import BEGIN, csv, items_in_order, prepared, users

HEADER = ("user", "item", "timestamp", "rating")


def shop(*rows: tuple) -> dict[str, str]:
    return {"events.csv": csv(HEADER, *rows)}


def random_rows(seed: int = 0, size: int = 300) -> list[tuple]:
    rng = np.random.default_rng(seed)
    pairs = np.stack([rng.zipf(1.6, size) % 40, rng.zipf(1.5, size) % 50], axis=1)
    return [(f"u{u}", f"i{i}", BEGIN + n, 5) for n, (u, i) in enumerate(pairs)]


def naive_core(rows: list[tuple], least: int) -> list[tuple]:
    while True:
        of_user, of_item = Counter(row[0] for row in rows), Counter(row[1] for row in rows)
        kept = [row for row in rows if of_user[row[0]] >= least and of_item[row[1]] >= least]
        if len(kept) == len(rows):
            return kept
        rows = kept


def test_a_k_core_is_what_a_naive_loop_leaves(tmp_path, caplog):
    rows = random_rows()
    kept = naive_core(rows, 4)
    world = prepared(tmp_path, shop(*rows), min_user_events=4, min_item_events=4)
    assert 0 < len(kept) < len(rows)
    assert users(world) == sorted({row[0] for row in kept})
    assert items_in_order(world) == [row[1] for row in sorted(kept, key=lambda row: row[0])]
    assert world.manifest["counts"]["filtered"] == {"k_core": len(rows) - len(kept)}
    assert f"{len(rows) - len(kept)} by k_core" in caplog.text


def test_dates_and_values_bound_the_events(tmp_path):
    rows = [("u", f"i{n}", f"2020-01-0{n}", n) for n in range(1, 8)]
    options = {"since": "2020-01-03", "until": "2020-01-07", "min_value": 4.0}
    world = prepared(tmp_path, shop(*rows), **options)
    assert items_in_order(world) == ["i4", "i5", "i6"]
    counts = world.manifest["counts"]["filtered"]
    assert counts == {"min_value": 3, "until": 1}
    with pytest.raises(UsageError, match="is not before"):
        prepared(tmp_path, shop(*rows), since="2020-01-03", until="2020-01-02")
    with pytest.raises(UsageError, match="write a date"):
        prepared(tmp_path, shop(*rows), since="yesterday")
    with pytest.raises(BadData, match="no usable rows"):
        prepared(tmp_path, shop(*rows), since="2021-01-01")


def test_new_tables_need_no_core_of_their_own(tmp_path):
    rows = [("u", f"i{n % 3}", BEGIN + n, n % 5) for n in range(9)]
    world = prepared(tmp_path, shop(*rows), min_item_events=3, min_value=1.0)
    (tmp_path / "new").mkdir()
    news = [("u", "x", BEGIN + 90, 5), ("u", "y", BEGIN + 91, 0)]
    (tmp_path / "new" / "events.csv").write_text(csv(HEADER, *news))
    grown = append(world, tmp_path / "new", tmp_path / "grown")
    assert items_in_order(grown)[-1] == "x"
    assert grown.manifest["counts"]["events"] == world.manifest["counts"]["events"] + 1
