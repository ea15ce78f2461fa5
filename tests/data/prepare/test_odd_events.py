"""What is odd about all events together is named, and stops nothing."""

from __future__ import annotations

import pytest

from socialrec_jax.errors import BadData
from tests.data.prepare.odd_shops import BEGIN, EVENTS, HEADER, csv, events_csv, prepared


@pytest.mark.parametrize(
    ("events", "says"),
    [
        (events_csv(*["2020-01-01"] * 5), "have the same time"),
        (events_csv("2020-01-03", "2020-01-03", "2020-01-02", "2020-01-01"), "newest first"),
        (events_csv("725846400", "725846460", "725846470"), "newest is of 1993-01-01"),
        (
            csv(HEADER, *((user, f"i{n}", BEGIN + n) for n in range(60) for user in (f"u{n}", 0))),
            "user 0 has 50% of all events",
        ),
        (csv((*HEADER, "value"), ("u", "i", BEGIN, 5), ("u", "j", BEGIN, -5)), "negative value"),
        (csv((*HEADER, "type"), ("u", "i", BEGIN, "buy"), ("u", "i", BEGIN, "refund")), "refund"),
    ],
    ids=["ties", "order", "years", "guests", "values", "types"],
)
def test_odd_events_are_named(tmp_path, caplog, events, says):
    prepared(tmp_path, {"events.csv": events})
    assert says in caplog.text


def test_a_usual_shop_has_nothing_odd(tmp_path, caplog):
    rows = [(f"u{n % 60}", f"i{n % 7}", BEGIN + n) for n in range(300)]
    prepared(tmp_path, {"events.csv": csv(HEADER, *rows)})
    assert not caplog.records


def test_rows_that_repeat_an_item_are_named(tmp_path, caplog):
    items = csv(("item", "title"), ("i1", "A"), ("i1", "B"))
    prepared(tmp_path, {"events.csv": EVENTS, "items.csv": items})
    assert "items: 1 rows repeat an earlier one" in caplog.text


def test_distrust_is_no_friendship(tmp_path):
    social = csv(("src", "dst", "weight"), ("u", "v", 1), ("u", "w", -1))
    with pytest.raises(BadData, match="is negative"):
        prepared(tmp_path, {"events.csv": EVENTS, "social.csv": social})


def test_names_of_files_are_types_where_no_column_is(tmp_path):
    buys = csv(HEADER, ("u", "i1", BEGIN + 9))
    files = {"events/views.csv": EVENTS, "events/purchases.csv": buys}
    assert prepared(tmp_path / "named", files).event_types == ["views", "purchases"]
    parts = {"events/part-0.csv": EVENTS, "events/part-1.csv": buys}
    assert prepared(tmp_path / "parts", parts).event_types == ["event"]
