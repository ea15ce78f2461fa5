"""Visits of places."""

from __future__ import annotations

from socialrec_jax.data.prepare.layouts.layout import Layout, plain

_CHECKIN = ("user", "item", "timestamp", "offset")
# of SNAP: no header, ISO 8601 in UTC
_VISIT = ("user", "timestamp", "latitude", "longitude", "item")
# the time is UTC, the offset that of the place in minutes
_VENUE = ("user", "item", "categoryid", "category", "latitude", "longitude", "offset", "timestamp")
_PLACE = ("item", "latitude", "longitude", "category", "country")

PLACES = (
    Layout(
        "Gowalla and Brightkite (SNAP)",
        {
            "events": plain("*_totalCheckins.txt", "\t", *_VISIT),
            "social": plain("*_edges.txt", "\t", "src", "dst"),
        },
    ),
    Layout(
        "Foursquare, New York and Tokyo",
        {"events": plain("dataset_TSMC2014_*.txt", "\t", *_VENUE, encoding="latin-1")},
    ),
    Layout(
        "Foursquare, the world, with friends",
        {
            "events": plain("dataset_WWW_Checkins_anonymized.txt", "\t", *_CHECKIN),
            "social": plain("dataset_WWW_friendship_new.txt", "\t", "src", "dst"),
            "items": plain("raw_POIs.txt", "\t", *_PLACE),
        },
        left_out="dataset_WWW_friendship_old.txt: the same graph at an earlier time",
    ),
    Layout(
        "Foursquare, the world",
        {
            "events": plain("dataset_TIST2015_Checkins.txt", "\t", *_CHECKIN),
            "items": plain("dataset_TIST2015_POIs.txt", "\t", *_PLACE),
        },
    ),
)
