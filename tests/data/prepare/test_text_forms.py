"""Separators, quotes and comments of text files: taken from their first lines, and stated."""

from __future__ import annotations

import pytest

from socialrec_jax.config import DataConfig
from socialrec_jax.data.prepare.doctor import check
from socialrec_jax.errors import BadData, UsageError
from tests.data.prepare.odd_shops import BEGIN, EVENTS, items_in_order, prepared, titles, users

ITEMS = [f"i{place}" for place in range(4)]


def separated(separator: str, quote: str = "") -> str:
    """The events of EVENTS with another separator, and quotes around each cell."""
    rows = [line.split(",") for line in EVENTS.splitlines()]
    quoted = [[f"{quote}{cell}{quote}" for cell in row] for row in rows]
    return "".join(separator.join(row) + "\n" for row in quoted)


@pytest.mark.parametrize("suffix", ["csv", "tsv", "txt"])
@pytest.mark.parametrize("separator", [",", ";", "|", "\t", "::", "~", "^", "\x01", ", "])
def test_separators_are_known_by_the_header(tmp_path, suffix, separator):
    world = prepared(tmp_path, {f"events.{suffix}": separated(separator)})
    assert items_in_order(world) == ITEMS


@pytest.mark.parametrize(
    "events",
    [
        "sep=;\n" + separated(";"),
        "# exported by, the, shop\n# 2020\n" + EVENTS,
        "#" + EVENTS,
        "\n\n" + EVENTS,
        separated(",", "'"),
        separated(";", '"'),
        EVENTS.replace("\n", "\r\n", 2),
        ("# exported\n" + EVENTS).encode("utf-16"),
    ],
    ids=["sep=", "comments", "#header", "blank", "'", '"', "mixed line ends", "utf-16"],
)
def test_what_programs_write_around_the_rows(tmp_path, events):
    world = prepared(tmp_path, {"events.csv": events})
    assert (users(world), items_in_order(world)) == (["u"], ITEMS)


@pytest.mark.parametrize(
    ("rows", "title"),
    [
        ('i1;"a, b, c, d"', "a, b, c, d"),
        ('i1;"He said \\"hi\\"; ok"', 'He said "hi"; ok'),
        ('i1;5" disk', '5" disk'),
        ("i1;it's, well, it's", "it's, well, it's"),
    ],
)
def test_texts_may_hold_other_separators_and_quotes(tmp_path, rows, title):
    files = {"events.csv": EVENTS, "items.csv": f"item;title\n{rows}\n"}
    assert titles(prepared(tmp_path, files))["i1"] == title


def test_ids_may_begin_with_a_number_sign(tmp_path):
    rows = EVENTS.replace("u,", "#u,")
    assert users(prepared(tmp_path / "header", {"events.csv": rows})) == ["#u"]
    # without a header the first row begins with one
    files = {"events.csv": rows.split("\n", 1)[1]}
    world = prepared(tmp_path / "none", files, names=("events=user,item,timestamp",))
    assert items_in_order(world) == ITEMS
    graph = {"events.csv": EVENTS, "social.txt": "# Directed graph\n# FromNode\tToNode\nu\tv\n"}
    world = prepared(tmp_path / "graph", graph, names=("social=src,dst",))
    assert users(world) == ["u", "v"]


def test_the_user_can_name_the_separator(tmp_path):
    files = {"events.csv": separated("§")}
    with pytest.raises(BadData, match=r"--data\.sep"):
        prepared(tmp_path, files)
    assert items_in_order(prepared(tmp_path, files, sep="§")) == ITEMS
    with pytest.raises(UsageError, match="4 bytes at most"):
        prepared(tmp_path, files, sep="||||||")


def test_the_doctor_states_the_separator_and_skipped_lines(tmp_path):
    (tmp_path / "events.csv").write_text("# exported\n" + separated(";"))
    file = check(tmp_path, DataConfig()).files[0]
    assert file["why"] == "is named events; cells between ';', 1 lines before the header"


def test_a_bad_row_below_comments_names_its_line(tmp_path):
    events = f"# a\n\n{EVENTS}u,,{BEGIN}\n"
    with pytest.raises(BadData, match=r"events\.csv line 8, column item"):
        prepared(tmp_path, {"events.csv": events})


def test_a_header_that_comes_again_is_a_bad_row(tmp_path):
    tables = {
        "events.csv": EVENTS,
        "items.csv": "item,title\ni1,A\n",
        "users.csv": "user,age\nu,3\n",
        "social.csv": "src,dst\nu,v\n",
    }
    # as where files are joined into one
    twice = {name: text + text for name, text in tables.items()}
    world = prepared(tmp_path, twice, max_bad_share=0.5)
    assert (users(world), sorted(world.items.ids)) == (["u", "v"], ITEMS)
    rejected = world.manifest["counts"]["rejected"]
    assert [rejected[table] for table in ("events", "social", "items", "users")] == [1, 1, 1, 1]
