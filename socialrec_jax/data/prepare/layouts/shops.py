"""Logs of shops."""

from __future__ import annotations

from socialrec_jax.data.prepare.derived import Column, Constant, Later
from socialrec_jax.data.prepare.layouts.layout import Files, Layout, headless, one, typed

# sessions are not linked to people, so a session is a user
_CLICKS = ("user", "timestamp", "item", "category")
_BUYS = ("user", "timestamp", "item", "price", "quantity")
# milliseconds since the session began: the dates alone would leave its rows unordered
_WHEN = Later("eventdate", "timeframe")


def _session(name: str) -> dict[str, object]:
    # most rows have no user, so a session stands for one
    made = {"event_type": Constant(name), "timestamp": _WHEN, "user": Column("sessionId")}
    return {"delimiter": ";", "derived": made}


SHOPS = (
    # types are pv, buy, cart and fav
    Layout(
        "Taobao UserBehavior",
        {
            "events": one(
                "UserBehavior*.csv",
                **headless("user", "item", "category", "event_type", "timestamp"),
            )
        },
    ),
    # times are months and days of one year, in the order of numbers
    Layout(
        "Tmall (IJCAI-15)",
        {"events": one("user_log_format1.csv"), "users": one("user_info_format1.csv")},
        left_out="the year: days such as 1111 are read as a clock of their own",
    ),
    Layout(
        "Yoochoose (RecSys 2015)",
        {
            "events": (
                Files("yoochoose-clicks.dat", typed("click", **headless(*_CLICKS))),
                Files("yoochoose-buys.dat", typed("buy", **headless(*_BUYS))),
            )
        },
        left_out="yoochoose-test.dat; a session is a user",
    ),
    Layout(
        "DIGINETICA (CIKM 2016)",
        {
            "events": (
                Files("train-item-views.csv", _session("view")),
                Files("train-purchases.csv", _session("buy")),
            ),
            "items": one("product-categories.csv", delimiter=";"),
        },
        left_out="searches, products.csv (names are hashed); a session is a user",
    ),
    Layout(
        "H&M",
        {
            "events": one("transactions_train.csv"),
            "items": one("articles.csv"),
            "users": one("customers.csv"),
        },
    ),
    # one file a month, with a header
    Layout("REES46, by month", {"events": one("20[0-9][0-9]-[A-Z][a-z][a-z].csv")}),
)
