"""Logs of videos, news, games and feeds."""

from __future__ import annotations

from socialrec_jax.data.prepare.derived import FirstFlag, Replaced
from socialrec_jax.data.prepare.expansions import KUAIREC_FRIENDS, MIND_CLICKS
from socialrec_jax.data.prepare.layouts.layout import Layout, headless, one, plain

# what a row counts as: the rarest of its signs, or a view where it has none
_KUAIRAND = FirstFlag(
    {
        "is_follow": "follow",
        "is_forward": "forward",
        "is_comment": "comment",
        "is_like": "like",
        "is_click": "click",
    },
    "view",
)
_TENREC = FirstFlag({sign: sign for sign in ("follow", "share", "like", "click")}, "view")
_NEWS = ("item", "category", "subcategory", "title", "description", "url", "entities", "more")

MEDIA = (
    # the value is the share of a video that was watched
    Layout(
        "KuaiRec",
        {
            "events": one("big_matrix.csv"),
            "social": one("social_network.csv", expansion=KUAIREC_FRIENDS),
            "items": one("kuairec_caption_category.csv"),
            "users": one("user_features.csv"),
        },
        left_out="small_matrix.csv: every user with every video, for tests of other kinds",
    ),
    Layout(
        "KuaiRand",
        {
            "events": one("log_standard_*.csv", derived={"event_type": _KUAIRAND}),
            "items": one("video_features_basic_*.csv", derived={"tags": Replaced("tag", ",", "|")}),
            "users": one("user_features_*.csv"),
        },
        left_out="log_random_*.csv: videos that were shown at random",
    ),
    # rows of a user are in order of time, which is not given
    Layout(
        "Tenrec",
        {"events": one("Q[BK]-*.csv", derived={"event_type": _TENREC})},
        has_times=False,
    ),
    # a row is an impression: what was shown, and -1 behind what was clicked
    Layout(
        "MIND",
        {
            "events": one("behaviors.tsv", expansion=MIND_CLICKS),
            "items": plain("news.tsv", "\t", *_NEWS),
        },
        left_out="news that was shown and not clicked; clicks before the log, which have no time",
    ),
    # the last column is always 0
    Layout(
        "Steam, 200k purchases and plays",
        {"events": one("steam-200k.csv", **headless("user", "item", "event_type", "value", "x"))},
        has_times=False,
    ),
)
