"""Ratings and tags of films, music, books and products."""

from __future__ import annotations

from socialrec_jax.data.prepare.derived import Constant, FlaggedColumns, Replaced
from socialrec_jax.data.prepare.expansions import BLANKS, YELP_FRIENDS
from socialrec_jax.data.prepare.layouts.layout import Files, Layout, headless, one, plain, typed

FILM = ("item", "title", "released", "video", "url")
GENRES = (
    *("unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime"),
    *("Documentary", "Drama", "Fantasy", "Film-Noir", "Horror", "Musical", "Mystery"),
    *("Romance", "Sci-Fi", "Thriller", "War", "Western"),
)
# user id, film id, stars from 1 to 5, unix seconds
RATINGS = ("user", "item", "value", "timestamp")
TAG = Constant("tag")
# one column of 0 and 1 a genre
_FLAGS = FlaggedColumns(GENRES)

MOVIELENS = (
    Layout(
        "MovieLens 100K",
        {
            "events": plain("u.data", "\t", *RATINGS),
            "items": plain("u.item", "|", *FILM, *GENRES, encoding="latin-1", tags=_FLAGS),
            "users": plain("u.user", "|", "user", "age", "gender", "occupation", "zip"),
        },
    ),
    Layout(
        "MovieLens 1M and 10M",
        {
            "events": plain("ratings.dat", "::", *RATINGS),
            "items": plain("movies.dat", "::", "item", "title", "tags", encoding="latin-1"),
            "users": plain("users.dat", "::", "user", "gender", "age", "occupation", "zip"),
        },
    ),
    # before MovieLens, whose ratings have the same name
    Layout(
        "goodbooks-10k",
        {"events": one("ratings.csv"), "items": one("books.csv")},
        also_needs=("books.csv",),
        has_times=False,
        left_out="to_read.csv, tags",
    ),
    Layout(
        "MovieLens 20M and later",
        {"events": one("ratings.csv"), "items": one("movies.csv")},
        left_out="tags.csv, links.csv, genome",
    ),
)
HETREC = (
    Layout(
        "HetRec-2011 Last.fm",
        {
            "events": plain("user_taggedartists-timestamps.dat", "\t", event_type=TAG),
            "social": plain("user_friends.dat", "\t"),
            "items": plain("artists.dat", "\t"),
        },
        left_out="user_artists.dat: its listens have no time",
    ),
    Layout(
        "HetRec-2011 MovieLens",
        {
            "events": plain("user_ratedmovies-timestamps.dat", "\t"),
            "items": plain("movies.dat", "\t", encoding="latin-1"),
        },
        left_out="user_taggedmovies-timestamps.dat: tags of films that are rated as well",
    ),
    Layout(
        "HetRec-2011 Delicious",
        {
            "events": plain("user_taggedbookmarks-timestamps.dat", "\t", event_type=TAG),
            "social": plain("user_contacts-timestamps.dat", "\t"),
            "items": plain("bookmarks.dat", "\t", encoding="latin-1"),
        },
    ),
)
# quotes within titles are escaped by a backslash
_BOOKS = {"delimiter": ";", "encoding": "latin-1"}
# lines begin with a blank
_TRUST = {"expansion": BLANKS, **headless("src", "dst", "weight")}
REVIEWS = (
    Layout(
        "Yelp",
        {
            "events": (
                Files("yelp_academic_dataset_review.json", typed("review")),
                Files("yelp_academic_dataset_tip.json", typed("tip")),
            ),
            # a text such as "id, id" a user, or "None"
            "social": one("yelp_academic_dataset_user.json", expansion=YELP_FRIENDS),
            # categories are one text with commas
            "items": one(
                "yelp_academic_dataset_business.json",
                derived={"tags": Replaced("categories", ", ", "|")},
            ),
        },
        left_out="yelp_academic_dataset_checkin.json: it names no users",
    ),
    Layout(
        "Book-Crossing",
        {
            "events": one("BX-Book-Ratings.csv", **_BOOKS),
            "items": one("BX-Books.csv", escape="\\", **_BOOKS),
            "users": one("BX-Users.csv", escape="\\", **_BOOKS),
        },
        has_times=False,
    ),
    Layout(
        "Ciao (CiaoDVD)",
        {
            "events": plain(
                *("movie-ratings.txt", ",", "user", "item", "genre", "review", "value", "timestamp")
            ),
            "social": plain("trusts.txt", ",", "src", "dst", "weight"),
        },
        left_out="review-ratings.txt: ratings of reviews",
    ),
    Layout(
        "Epinions and Ciao with times, as text",
        {
            "events": one(
                "rating_with_timestamp.txt",
                expansion=BLANKS,
                **headless("user", "item", "category", "value", "helpfulness", "timestamp"),
            ),
            "social": one("trust*.txt", expansion=BLANKS, **headless("src", "dst")),
        },
    ),
    Layout(
        "Epinions (trustlet)",
        {
            "events": one(
                "ratings_data.txt", expansion=BLANKS, **headless("user", "item", "value")
            ),
            "social": one("trust_data.txt", **_TRUST),
        },
        has_times=False,
    ),
)
