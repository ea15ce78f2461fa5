"""The cells of the notebook run, and what the notebook shows is small."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from socialrec_jax.data.columns import Strings
from socialrec_jax.data.world import NOW
from socialrec_jax.serving.recommender import Recommender
from tests.serving.shops import engine_with_texts
from tests.workers import ROOT

NOTEBOOK = ROOT / "docs" / "tour.ipynb"


@pytest.fixture
def tiny_recommender(tmp_path) -> Recommender:
    engine = engine_with_texts(tmp_path / "world")
    world = engine.world
    categories = Strings.of([f"category {item % 4}" for item in range(world.num_items)])
    items = dataclasses.replace(world.items, categories=categories)
    # A forecast of a week needs weeks of events.
    times = world.events.times.min() + 200 * (world.events.times - world.events.times.min())
    events = dataclasses.replace(world.events, times=times)
    world = dataclasses.replace(world, items=items, events=events)
    return Recommender(dataclasses.replace(engine, world=world), NOW)


def test_every_cell_of_the_tour_runs(tiny_recommender, monkeypatch, capsys):
    width = tiny_recommender.engine.texts.shape[1]
    monkeypatch.setattr(Recommender, "load", lambda run: tiny_recommender)
    monkeypatch.setattr(Recommender, "encode", lambda _, texts: np.ones((len(texts), width)))
    cells = json.loads(NOTEBOOK.read_text())["cells"]
    names: dict = {}
    for cell in cells:
        if cell["cell_type"] == "code":
            exec("".join(cell["source"]), names)
    assert "guest" in capsys.readouterr().out
    source = "".join(line for cell in cells for line in cell["source"])
    for task in ("recommend", "score", "audience", "profile", "similar", "search", "demand"):
        assert f"recommender.{task}(" in source


def test_the_tour_is_small_and_shows_what_it_printed():
    assert NOTEBOOK.stat().st_size < 50_000
    cells = json.loads(NOTEBOOK.read_text())["cells"]
    assert any(cell.get("outputs") for cell in cells)
    printed = json.dumps([cell.get("outputs") for cell in cells])
    assert "Error" not in printed
