"""The page of the data says its figures, escapes names, and leaves out what a World has not."""

from __future__ import annotations

import dataclasses

from socialrec_jax.data.manifest import contents
from socialrec_jax.data.world import NO_TIME
from socialrec_jax.reports.data_report import write_data_report
from tests.reports.test_run_report import Page
from tests.worlds import random_edges, random_world, with_friends, with_texts


def page_of(world, folder) -> Page:
    world = world.with_manifest(world.manifest | contents(world))
    write_data_report(world, folder / "data.html")
    return Page((folder / "data.html").read_text())


def test_it_says_the_counts_and_stands_alone(world, tmp_path):
    world = with_friends(world, random_edges(world.num_users, 200, int(NO_TIME)))
    page = page_of(world, tmp_path)
    for expected in ("60", "40", f"{len(world.events.items):,}", "Items in common", "view"):
        assert expected in page.text
    assert not page.references
    assert not {"script", "link", "img", "iframe"} & set(page.tags)


def test_what_is_missing_is_left_out(world, tmp_path):
    text = page_of(world, tmp_path).text
    assert "Users by number of events" in text
    assert "friends" not in text.replace("friendships", "")
    assert "Scripts" not in text
    assert "Be careful" not in text


def test_names_are_shown_not_obeyed(world, tmp_path):
    types = ["<script>alert(1)</script>", "buy"]
    page = page_of(world.with_manifest(world.manifest | {"event_types": types}), tmp_path)
    assert "script" not in page.tags
    assert types[0] in page.text


def test_tied_times_of_test_events_are_a_warning(tmp_path):
    world = with_texts(random_world(tmp_path / "world"))
    times = world.events.times * 0 + 86_400
    events = dataclasses.replace(world.events, times=times)
    text = page_of(dataclasses.replace(world, events=events), tmp_path).text
    assert "have the time of the event before" in text
