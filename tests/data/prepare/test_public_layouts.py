"""Published data sets as their files are: a few rows of each, and what they must become."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from socialrec_jax.config import DataConfig
from socialrec_jax.data.prepare.doctor import check
from socialrec_jax.data.prepare.layouts.catalogue import as_markdown
from socialrec_jax.data.prepare.prepare import prepare
from socialrec_jax.data.world import World
from socialrec_jax.errors import UserError
from tests import workers
from tests.data.prepare.public_samples import SAMPLES, Sample


def folder_of(path: Path, sample: Sample) -> Path:
    for name, content in sample.files.items():
        if content:
            (path / name).write_text(content, encoding=sample.encoding)
    return path


def shown_events(world: World) -> str:
    events = world.events
    rows = sorted(range(len(events.times)), key=lambda row: (events.times[row], row))
    return "|".join(
        f"{world.user_ids[int(events.owners[row])]} {world.items.ids[int(events.items[row])]} "
        f"{world.event_types[events.types[row]]} {events.values[row]:g} {events.times[row]}"
        for row in rows
    )


@pytest.mark.parametrize("name", SAMPLES)
def test_a_published_layout_is_read_as_it_is(tmp_path, name):
    sample = SAMPLES[name]
    folder = tmp_path / "raw"
    folder.mkdir()
    folder_of(folder, sample)
    config = DataConfig(order=sample.order)
    if sample.order == "file":
        with pytest.raises(UserError, match=r"--data\.order file"):
            prepare(folder, tmp_path / "world", DataConfig(), "leave-one-out")
    world = prepare(folder, tmp_path / "world", config, "leave-one-out")
    assert shown_events(world) == sample.events
    assert len(world.friends.ids) == sample.friends
    titles = dict(zip(world.items.ids, world.items.titles, strict=True))
    if sample.titles:
        item, title = sample.titles.split(" ", 1)
        assert titles[item] == title
    assert sum(world.manifest["counts"]["rejected"].values()) == 0


def test_the_documentation_lists_the_formats_of_the_code():
    assert as_markdown() in (workers.ROOT / "docs" / "data.md").read_text()


@pytest.mark.parametrize(
    ("files", "says"),
    [
        (
            {"x.inter": "user_id:token\titem_id_list:token_seq\titem_id:token\ntime\n"},
            "the history before each row",
        ),
        (
            {"a.inter": "user_id:token\n", "b.inter": "user_id:token\n"},
            "several data sets",
        ),
        (
            {"a.csv": "user,item,time\n1,2,3\n", "b.csv": "user,item,time\n1,2,3\n"},
            "a.csv and b.csv could all be events",
        ),
    ],
)
def test_what_could_be_read_wrongly_is_refused(tmp_path, files, says):
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    with pytest.raises(UserError, match=says):
        prepare(tmp_path, tmp_path / "world", DataConfig(), "leave-one-out")


def test_a_bad_row_of_an_expanded_line_names_that_line(tmp_path):
    friends = json.dumps({"user_id": "", "friends": "v, w"})
    sample = SAMPLES["Yelp"]
    folder_of(tmp_path, sample)
    users = tmp_path / "yelp_academic_dataset_user.json"
    users.write_text(users.read_text() + friends)
    found = check(tmp_path, DataConfig(max_bad_share=0.9))
    assert "user.json line 3, column src" in found.first_rejects[0]
