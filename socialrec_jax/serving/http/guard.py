"""ASGI middleware in front of every route: the token, and the largest body."""

from __future__ import annotations

import hmac
import json
from typing import Any

OPEN_PATHS = ("/health", "/ready")  # which probes and load balancers read without a token


class Guard:
    """Refuses requests without the token (401) and bodies that are too large (413)."""

    def __init__(self, app: Any, token: str | None, most_bytes: int):
        self._app, self._most_bytes = app, most_bytes
        self._expected = None if token is None else f"Bearer {token}".encode()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        # The token comes first: nobody without one makes the service read a body.
        headers = dict(scope["headers"])
        if not self._has_token(scope["path"], headers):
            message = "give the service's token: Authorization: Bearer TOKEN"
            await _refuse(send, 401, message, [(b"www-authenticate", b"Bearer")])
            return
        body = await self._body(headers, receive)
        if body is None:
            await _refuse(send, 413, f"the body has more than {self._most_bytes} bytes")
            return
        await self._app(scope, _Replay(body, receive), send)

    def _has_token(self, path: str, headers: dict[bytes, bytes]) -> bool:
        if self._expected is None or path in OPEN_PATHS:
            return True
        given = headers.get(b"authorization", b"")
        # Takes as long whatever is wrong, so that time tells nothing of the token.
        return hmac.compare_digest(given, self._expected)

    async def _body(self, headers: dict[bytes, bytes], receive: Any) -> bytes | None:
        """The whole body, None where it is too large. The header alone may not be true."""
        length = headers.get(b"content-length", b"0")
        if length.isdigit() and int(length) > self._most_bytes:
            return None
        # Chunked bodies have no length in advance.
        body, more = b"", True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
            if len(body) > self._most_bytes:
                return None
        return body


class _Replay:
    """Gives a body that was read already, then what the connection says next."""

    def __init__(self, body: bytes, receive: Any):
        self._body: bytes | None = body
        self._receive = receive

    async def __call__(self) -> Any:
        if self._body is None:
            return await self._receive()
        body, self._body = self._body, None
        return {"type": "http.request", "body": body, "more_body": False}


async def _refuse(send: Any, status: int, message: str, headers: Any = ()) -> None:
    body = json.dumps({"error": message}).encode()
    all_headers = [(b"content-type", b"application/json"), *headers]
    await send({"type": "http.response.start", "status": status, "headers": all_headers})
    await send({"type": "http.response.body", "body": body})
