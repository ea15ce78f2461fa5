"""Tables as JSON, and their columns as the models that OpenAPI shows."""

from __future__ import annotations

import functools
import json
from typing import Any

import pyarrow as pa
from fastapi import Response
from pydantic import BaseModel, Field, create_model

from socialrec_jax.serving import exploration
from socialrec_jax.serving.http.endpoints import Endpoint
from socialrec_jax.serving.tasks import audience, profile, recommend, score, search, similar
from socialrec_jax.serving.writer import with_short_floats


def json_answer(table: pa.Table) -> Response:
    """{"rows": [...]}, one object a row; a float32 has the fewest digits that give it back."""
    rows = with_short_floats(table).to_pylist()
    text = json.dumps({"rows": rows}, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return Response(text.encode(), media_type="application/json")


def error_answer(status: int, message: str) -> Response:
    """{"error": ...} in one line."""
    body = json.dumps({"error": " ".join(message.split())})
    # Two hundred requests that wait are answered in about a second.
    headers = {"Retry-After": "1"} if status == 503 else None
    return Response(body, status_code=status, media_type="application/json", headers=headers)


def answer_model(endpoint: Endpoint, event_types: list[str]) -> type[BaseModel]:
    """The model of a task's answer, made of the columns of its table."""
    title = endpoint.name.capitalize()
    row = _model(f"{title}Row", _columns(endpoint.name, event_types))
    fields: dict[str, Any] = {"rows": (list.__class_getitem__(row), ...)}
    return create_model(f"{title}Answer", **fields)


def _columns(task: str, event_types: list[str]) -> pa.Schema:
    fixed = {"similar": similar.SCHEMA, "search": search.SCHEMA}
    by_types = {
        "recommend": functools.partial(recommend.schema, explores=True),
        "score": score.schema,
        "profile": profile.schema,
        "audience": audience.schema,
    }
    return fixed[task] if task in fixed else by_types[task](event_types)


def _model(name: str, columns: Any) -> type[BaseModel]:
    # Names of event types are any texts: as aliases they need not be names of Python.
    fields: dict[str, Any] = {}
    for number, column in enumerate(columns):
        kind = _type_of(f"{name}_{column.name}", column.type)
        fields[f"column_{number}"] = (kind, _field(column.name))
    return create_model(name, **fields)


def _field(name: str) -> Any:
    # Only lists that explore have these.
    if name in dict(exploration.COLUMNS):
        return Field(alias=name, default=None)
    return Field(alias=name)


def _type_of(name: str, kind: pa.DataType) -> Any:
    # Struct and list come in each other, as in the reasons.
    if pa.types.is_list(kind):
        return list[_type_of(name, kind.value_type)]
    if pa.types.is_struct(kind):
        return _model(name, list(kind)) | None
    if pa.types.is_floating(kind):
        return float
    if pa.types.is_boolean(kind):
        return bool
    # What is left are texts.
    return int if pa.types.is_integer(kind) else str
