"""Requests to an application without a socket."""

from __future__ import annotations

import asyncio
import json

from socialrec_jax.serving.http.app import AppSettings, make_app
from socialrec_jax.serving.recommender import Recommender


def post(recommender: Recommender, *requests: tuple[str, dict | bytes], **settings) -> list:
    """(status, JSON) of requests that are sent at once."""
    app = make_app(recommender, AppSettings(**settings))

    async def all_answers():
        async with app.router.lifespan_context(app):
            return await asyncio.gather(*(call(app, f"/{path}", body) for path, body in requests))

    return asyncio.run(all_answers())


def get(recommender: Recommender, *paths: str, **settings) -> list:
    """(status, JSON or text) of pages of a running service."""
    app = make_app(recommender, AppSettings(**settings))

    async def answers():
        async with app.router.lifespan_context(app):
            return [await call(app, path, b"", method="GET") for path in paths]

    return asyncio.run(answers())


async def call(app, path: str, body: dict | bytes, token: str = "", method: str = "POST"):
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = [(b"content-type", b"application/json")]
    headers += [(b"authorization", f"Bearer {token}".encode())] if token else []
    scope = {
        **{"type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "scheme": "http"},
        **{"method": method, "path": path, "raw_path": path.encode(), "query_string": b""},
        **{"headers": headers, "server": ("test", 80), "client": ("test", 1), "root_path": ""},
    }
    sent = []

    async def receive():
        return {"type": "http.request", "body": content, "more_body": False}

    async def send(message):
        sent.append(message)

    await app(scope, receive, send)
    text = b"".join(message.get("body", b"") for message in sent).decode()
    return sent[0]["status"], text if path == "/metrics" else json.loads(text)
