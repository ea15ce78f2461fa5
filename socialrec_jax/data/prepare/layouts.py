"""Public formats whose files have names of their own: how each file is read.

A layout is recognised by its events file. Fields are matched by the synonyms of `schema.py`; a
layout only says what a file cannot say itself: its delimiter, the names of columns without a
header, text that needs taking apart. HetRec's `user_artists.dat` is left out: its listens have no
time, so they would tell a model what comes later.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from socialrec_jax.data.prepare.derived import Constant, Derived, FlaggedColumns


@dataclasses.dataclass(frozen=True)
class Layout:
    """A public format: (glob pattern, options of `Source`) a table."""

    title: str
    tables: Mapping[str, tuple[str, dict]]


def _plain(delimiter: str, *names: str, encoding: str = "utf-8", **derived: Derived) -> dict:
    """Unquoted text; with names the file has no header."""
    options = {"delimiter": delimiter, "quote": "", "encoding": encoding, "derived": derived}
    if names:
        options |= {"names": names, "has_header": False}
    return options


FILM = ("item", "title", "released", "video", "url")
GENRES = (
    *("unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime"),
    *("Documentary", "Drama", "Fantasy", "Film-Noir", "Horror", "Musical", "Mystery"),
    *("Romance", "Sci-Fi", "Thriller", "War", "Western"),
)
RATINGS = ("user", "item", "value", "timestamp")
TAG = Constant("tag")

LAYOUTS = (
    Layout(
        "MovieLens 100K",
        {
            "events": ("u.data", _plain("\t", *RATINGS)),
            "items": (
                "u.item",
                _plain("|", *FILM, *GENRES, encoding="latin-1", tags=FlaggedColumns(GENRES)),
            ),
            "users": ("u.user", _plain("|", "user", "age", "gender", "occupation", "zip")),
        },
    ),
    Layout(
        "MovieLens 1M and 10M",
        {
            "events": ("ratings.dat", _plain("::", *RATINGS)),
            "items": ("movies.dat", _plain("::", "item", "title", "tags", encoding="latin-1")),
            "users": ("users.dat", _plain("::", "user", "gender", "age", "occupation", "zip")),
        },
    ),
    Layout("MovieLens 20M and later", {"events": ("ratings.csv", {}), "items": ("movies.csv", {})}),
    Layout(
        "HetRec-2011 Last.fm",
        {
            "events": ("user_taggedartists-timestamps.dat", _plain("\t", event_type=TAG)),
            "social": ("user_friends.dat", _plain("\t")),
            "items": ("artists.dat", _plain("\t")),
        },
    ),
    Layout(
        "HetRec-2011 Delicious",
        {
            "events": ("user_taggedbookmarks-timestamps.dat", _plain("\t", event_type=TAG)),
            "social": ("user_contacts-timestamps.dat", _plain("\t")),
            "items": ("bookmarks.dat", _plain("\t", encoding="latin-1")),
        },
    ),
)
