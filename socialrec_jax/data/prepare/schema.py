"""What the four raw tables may hold: their fields, and the names by which a file may call them.

A column is recognised by its name without case, blanks and punctuation (`User_ID` = `userid`);
where several match, the synonym that comes first wins. Names of ids come before bare words: beside
`item_id` a column `item` holds a name. `docs/data.md` lists them for the user.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable
from typing import Literal

from socialrec_jax.data.prepare.rules import Rules, plain_name

USER_IDS = (
    *("userid", "uid", "reviewerid", "customerid", "visitorid", "memberid", "accountid"),
    *("buyerid", "shopperid", "clientid", "playerid"),
)
USER_WORDS = (
    *("user", "username", "reviewer", "customer", "visitor", "member", "account", "buyer"),
    *("shopper", "client", "userpseudoid", "anonymousid", "domainuserid", "fullvisitorid"),
    *("email", "useremail", "customeremail", "sessionid", "session"),
)
USER = (*USER_IDS, *USER_WORDS)
ITEM_IDS = (
    *("itemid", "iid", "productid", "goodsid", "movieid", "artistid", "bookmarkid", "bookid"),
    *("businessid", "articleid", "videoid", "venueid", "poiid", "locationid", "gameid"),
    *("songid", "trackid", "newsid", "skuid", "animeid", "recipeid", "beerid", "stockcode"),
    *("listingid", "offerid", "courseid", "podcastid"),
)
ITEM_CODES = ("parentasin", "asin", "sku", "isbn", "productsku", "productcode", "itemcode")
ITEM_WORDS = ("product", "goods", "movie", "artist", "book", "article", "video", "game")
ITEM = (*ITEM_IDS, "item", *ITEM_CODES, *ITEM_WORDS, "aid")
IDS = {"user": USER, "item": ITEM}
TIME = (
    *("timestamp", "ts", "tsms", "unixtimestamp", "unixreviewtime", "unixtime", "eventtimestamp"),
    *("timestampms", "timems", "time", "datetime", "eventtime", "createdat", "date", "eventdate"),
    *("utctime", "utctimestamp", "eventdatetime", "clicktime", "ordertime", "purchasetime"),
    *("datecreatedgmt", "datecreated", "createdon", "createddate", "creationdate", "creationtime"),
    *("transactiondate", "transactiontime", "transactiondt", "collectortstamp"),
    *("reviewtime", "reviewdate", "checkintime", "localtime", "orderdate", "tdat"),
    *("invoicedate", "dateadded", "addedat", "submitted", "purchasedate"),
    *("dt", "ds", "timeofday"),
)
SRC = ("src", "source", "sourceid", "from", "follower", "followerid", "trustor", "user1", *USER)
DST = (
    *("dst", "target", "targetid", "to", "friend", "friendid", "contactid", "followee"),
    *("followeeid", "followedid", "trustee", "trusteeid", "user2"),
)
# the two ends of an edge are named alike, so a pair of names goes before single ones
EDGES = (
    *(("src", "dst"), ("srcid", "dstid"), ("sourceid", "targetid"), ("source", "target")),
    *(("fromid", "toid"), ("fromuser", "touser"), ("fromuserid", "touserid"), ("from", "to")),
    *(("followerid", "followeeid"), ("followerid", "followedid"), ("follower", "followee")),
    *(("follower", "followed"), ("trustorid", "trusteeid"), ("trustor", "trustee")),
    *(("trusterid", "trusteeid"), ("truster", "trustee"), ("userid", "friendid")),
    *(("userid", "contactid"), ("userid", "friend"), ("user", "friend"), ("userid", "trusteeid")),
    *(("userid1", "userid2"), ("user1id", "user2id"), ("user1", "user2"), ("usera", "userb")),
    *(("useraid", "userbid"), ("userida", "useridb"), ("uid1", "uid2"), ("id1", "id2")),
    *(("followerid", "userid"), ("follower", "user"), ("user", "follows")),
    *(("node1", "node2"), ("user", "user2"), ("userid", "userid2")),
)
# `weight` is a rating in some public sets; in a social table it is the edge's own
VALUE = ("value", "rating", "score", "overall", "stars", "weight", "bookrating", "watchratio")
TYPE = (
    *("eventtype", "actiontype", "interactiontype", "behaviortype", "behaviourtype", "eventname"),
    *("event", "action", "interaction", "behavior", "behaviour", "type", "verb", "activitytype"),
)
TITLE = (
    *("title", "name", "itemname", "productname", "movietitle", "itemtitle", "producttitle"),
    *("booktitle", "prodname", "caption"),
    *("item", *ITEM_WORDS),
)
DESCRIPTION = ("description", "desc", "text", "summary", "detaildesc", "abstract")
CATEGORY = (
    *("category", "categoryname", "maincategory", "class", "categoryid", "producttypename"),
    "firstlevelcategoryname",
)
AVAILABLE = (
    *("available", "isavailable", "instock", "isinstock", "availability", "stockstatus"),
    *("stock", "stockquantity", "stockqty", "inventoryquantity", "isactive", "active"),
    *("enabled", "isenabled"),
)
MAX_EVENT_TYPES = 256  # they are stored as uint8
DEFAULT_TYPE = "event"
# what programs write where they have no value, in lower case
MISSING = (
    *("null", "na", "n/a", "nan", "nat", "<na>", "none", "nil", "\\n", "undefined", "missing"),
    *("(null)", "[null]", "(none)", "(blank)", "(not set)", "-", "--", "?", "."),
    "00000000-0000-0000-0000-000000000000",
    *("#n/a", "#ref!", "#value!", "#name?", "#null!", "#num!", "#div/0!"),
)

Kind = Literal["id", "time", "number", "price", "flag", "label", "text", "list"]


@dataclasses.dataclass(frozen=True)
class Field:
    """One column of a raw table."""

    name: str
    kind: Kind
    synonyms: tuple[str, ...]
    required: bool = False


TABLES: dict[str, tuple[Field, ...]] = {
    "events": (
        Field("user", "id", USER, required=True),
        Field("item", "id", ITEM, required=True),
        Field("timestamp", "time", TIME, required=True),
        Field("event_type", "label", TYPE),
        Field("value", "number", VALUE),
    ),
    "social": (
        Field("src", "id", SRC, required=True),
        Field("dst", "id", DST, required=True),
        Field("weight", "number", ("weight", "strength", "value", "sign", "trust")),
        Field("timestamp", "time", (*TIME, "since")),
    ),
    "items": (
        Field("item", "id", (*ITEM_IDS, "item", *ITEM_CODES, "id", *ITEM_WORDS), required=True),
        Field("title", "text", TITLE),
        Field("description", "text", DESCRIPTION),
        Field("tags", "list", ("tags", "tag", "genres", "genre", "categories", "topictag")),
        Field("category", "text", CATEGORY),
        Field("price", "price", ("price",)),
        Field("available", "flag", AVAILABLE),
    ),
    "users": (Field("user", "id", (*USER_IDS, "user", "id", *USER_WORDS), required=True),),
}


def match(
    fields: Iterable[Field], columns: Iterable[str], rules: Rules | None = None
) -> dict[str, str]:
    """Field name -> the file's column, for the fields that the file has; each column once."""
    rules = rules or Rules()
    by_plain_name: dict[str, str] = {}
    for column in columns:
        # of `User_ID` and `userid` the first in the file counts
        if plain_name(column) not in rules.ignored:
            by_plain_name.setdefault(plain_name(column), column)

    fields = list(fields)
    matched = _mapped_by_user(fields, by_plain_name, rules)
    if {"src", "dst"} <= {field.name for field in fields} - matched.keys():
        matched |= _edge_ends(by_plain_name)
    return _by_synonyms(fields, by_plain_name, matched)


def _by_synonyms(
    fields: Iterable[Field], by_plain_name: dict[str, str], matched: dict[str, str]
) -> dict[str, str]:
    for field in fields:
        column = _first_free(field, by_plain_name, matched)
        if column is not None:
            matched.setdefault(field.name, column)
    return matched


def _mapped_by_user(
    fields: Iterable[Field], by_plain_name: dict[str, str], rules: Rules
) -> dict[str, str]:
    columns = {field.name: by_plain_name.get(rules.columns.get(field.name, "")) for field in fields}
    return {name: column for name, column in columns.items() if column is not None}


def edge_ends(columns: Iterable[str]) -> dict[str, str]:
    """The columns of `src` and `dst`, where two columns are named as a pair."""
    return _edge_ends({plain_name(column): column for column in columns})


def _edge_ends(by_plain_name: dict[str, str]) -> dict[str, str]:
    for src, dst in EDGES:
        if src in by_plain_name and dst in by_plain_name:
            return {"src": by_plain_name[src], "dst": by_plain_name[dst]}
    return {}


def _first_free(field: Field, by_plain_name: dict[str, str], matched: dict[str, str]) -> str | None:
    taken = set(matched.values())
    columns = [by_plain_name.get(synonym) for synonym in field.synonyms]
    return next((column for column in columns if column and column not in taken), None)


_TIME_NAME = re.compile(r"_(at|on|ts|dt|AT|ON|TS|DT)$|[a-z](At|On|Ts|Dt)$")


def suggest(fields: Iterable[Field], columns: Iterable[str]) -> dict[str, str]:
    """Field name -> a column whose name holds one of the field's, such as `title_en`, or ends as
    names of times do, such as `bought_at`.
    """
    by_plain_name = {plain_name(column): column for column in columns}
    suggested = {}
    for field in fields:
        similar = [
            column
            for plain, column in by_plain_name.items()
            if any(plain.startswith(name) or plain.endswith(name) for name in _long(field))
        ]
        if field.kind == "time":
            similar += filter(_TIME_NAME.search, by_plain_name.values())
        if similar:
            suggested[field.name] = similar[0]
    return suggested


def _long(field: Field) -> list[str]:
    """Names of a field that are long enough to mean it inside another word."""
    return [name for name in (field.name.replace("_", ""), *field.synonyms) if len(name) > 3]


def time_columns(columns: Iterable[str], matched: dict[str, str], rules: Rules) -> list[str]:
    """All columns that may hold the time, by their synonym; the first is what `match` chose."""
    taken = {column for field, column in matched.items() if field != "timestamp"}
    free = {
        plain_name(column): column
        # reversed, so that of `Time` and `time` the first stays, as in `match`
        for column in reversed(list(columns))
        if column not in taken and plain_name(column) not in rules.ignored
    }
    return [free[synonym] for synonym in TIME if synonym in free]
