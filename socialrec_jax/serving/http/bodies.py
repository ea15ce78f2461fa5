"""What a request's JSON may hold. Sizes are bounded, and unknown fields are mistakes."""

from __future__ import annotations

import ast
import inspect
import itertools
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from socialrec_jax.serving.list_options import ListOptions

Id = Annotated[str, Field(min_length=1, max_length=512)]
Text = Annotated[str, Field(min_length=1, max_length=2000)]
Attributes = Annotated[dict[Id, Annotated[str, Field(max_length=512)]], Field(max_length=100)]
ItemList = Annotated[list[Id], Field(max_length=100_000)]

# One call of the model serves a request, so its size bounds the wait of all others.
MOST_USERS = 1000
MOST_EVENTS = 20_000
_LATEST = 1 << 40  # unix seconds

# JSON's schema can say that users differ; that they do is checked where they are looked up.
UserList = Annotated[
    list[Id],
    Field(min_length=1, max_length=MOST_USERS, json_schema_extra={"uniqueItems": True}),
]


class Body(BaseModel, frozen=True):
    """A JSON object without unknown fields, whose values have the declared types."""

    # Strict: "5" is no number, and an option that is misspelt must not be ignored.
    model_config = ConfigDict(extra="forbid", strict=True, use_attribute_docstrings=True)

    @model_validator(mode="before")
    @classmethod
    def _with_integers(cls, values: Any) -> Any:
        """1.0 is an integer in JSON."""
        if not isinstance(values, dict):
            return values
        return {name: _integral(value) for name, value in values.items()}


def _integral(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


class Event(Body, frozen=True):
    """An event of the session."""

    user_id: Id
    item_id: Id
    event_type: str | None = Field(None, description="The run's first type by default.")
    timestamp: int | None = Field(
        None, ge=0, le=_LATEST, description="Unix seconds, the time of the request by default."
    )


class Friend(Body, frozen=True):
    """Somebody whom a user knows."""

    user_id: Id
    friend_id: Id = Field(
        description="A user of the run or of the request, or somebody whom nobody knows."
    )
    weight: float = Field(1.0, ge=0, le=1e6)
    timestamp: int | None = Field(
        None, ge=0, le=_LATEST, description="Unix seconds since when, always by default."
    )


class SessionBody(Body, frozen=True):
    """Events and friends since the run was trained, and whether users may be new."""

    events: list[Event] = Field(
        default=[],
        max_length=MOST_EVENTS,
        description="Recent events. Those of items that the run does not know count nothing.",
    )
    friends: list[Friend] = Field(
        default=[],
        max_length=MOST_EVENTS,
        description="Whom users know, beside the friends that the run knows.",
    )
    new_users: bool = Field(
        False,
        description="Accept users of whom neither the run nor the request knows anything: they get "
        "what is popular.",
    )


def _describe_options(schema: dict[str, Any]) -> None:
    """Describe the options of lists in a schema as --help does: by their docstrings."""
    for name, text in _docstrings(ListOptions).items():
        schema["properties"][name]["description"] = text


def _docstrings(options: type) -> dict[str, str]:
    """The text below each field of a class, which Python does not keep."""
    statements = ast.iter_child_nodes(ast.parse(inspect.getsource(options)).body[0])
    return {
        ast.unparse(field.target): inspect.cleandoc(ast.literal_eval(text.value))
        for field, text in itertools.pairwise(statements)
        if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr)
    }


# The options are those of the command line and the library, with their limits.
class RecommendBody(SessionBody, ListOptions, frozen=True):
    """The top-k items of each user."""

    model_config = ConfigDict(json_schema_extra=_describe_options)

    users: UserList
    allow: ItemList | None = None
    """Recommend only these."""
    block: ItemList | None = None
    """Never recommend these."""
    attributes: Annotated[dict[Id, Attributes], Field(max_length=MOST_USERS)] = Field(
        default={},
        description="Attributes of users for where. Those that are left out are the users table's.",
    )


class Pair(Body, frozen=True):
    """A user and an item."""

    user_id: Id
    item_id: Id


class ScoreBody(SessionBody, frozen=True):
    """How likely users are to act on given items."""

    pairs: list[Pair] = Field(min_length=1, max_length=MOST_EVENTS)


class ProfileBody(SessionBody, frozen=True):
    """Portraits of users."""

    users: UserList
    top: int = Field(5, ge=1, le=100)
    """Tags, categories and friends of a user."""


class SimilarBody(Body, frozen=True):
    """Items that are similar to given items."""

    items: list[Id] = Field(min_length=1, max_length=MOST_USERS)
    k: int = Field(10, ge=1, le=1000)
    """Similar items an item."""
    by: Literal["vectors", "text", "events"] = "vectors"
    """Item vectors of the model, vectors of text and image, or co-occurrence in histories."""


class SearchBody(Body, frozen=True):
    """Items for queries in text."""

    queries: list[Text] = Field(min_length=1, max_length=100)
    k: int = Field(10, ge=1, le=1000)
    """Items a query."""
    by: Literal["both", "text", "words"] = "both"
    """Vectors of the texts, the words themselves, or words and behind them what is near by text."""


class AudienceBody(Body, frozen=True):
    """Users for items or campaigns. Give one of items, categories and tags."""

    items: Annotated[list[Id], Field(min_length=1, max_length=100)] | None = None
    """Each item is a campaign."""
    categories: list[Id] = Field(default=[], max_length=100)
    """The items of each are a campaign."""
    tags: list[Id] = Field(default=[], max_length=100)
    """The items of each are a campaign."""
    k: int = Field(100, ge=1, le=100_000)
    """Users a campaign."""
    users: Annotated[list[Id], Field(min_length=1, max_length=100_000)] | None = None
    """Choose among these."""
    repeats: bool = False
    """Count items that a user had already."""


class About(BaseModel):
    """What the service answers from, the same as long as it runs."""

    status: Literal["ok"] = "ok"
    users: int
    items: int
    generation: int = Field(description="Of the run; another one serves after a restart.")
    newest_event: int = Field(description="Unix seconds.")


class ErrorAnswer(BaseModel):
    """Every answer that is no 200."""

    error: str
