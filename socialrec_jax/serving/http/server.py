"""Starts the service: the socket, the model, and uvicorn until a signal ends it."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path

import uvicorn

from socialrec_jax.errors import BadData, InputMissing, UsageError
from socialrec_jax.serving.http.app import AppSettings, make_app
from socialrec_jax.serving.recommender import Recommender

TOKEN_VARIABLE = "SOCIALREC_TOKEN"
_LEAST_TOKEN = 16  # characters
_LOOPBACK = ("127.0.0.1", "::1", "localhost")
_SHUTDOWN_SECONDS = 20  # for answers that are being computed


def read_token(host: str, file: Path | None) -> str | None:
    """The token of a file or of the environment. UsageError where there must be one."""
    token = os.environ.get(TOKEN_VARIABLE, "").strip() or None
    if file is not None:
        if not file.is_file():
            raise InputMissing(f"--token-file {file}: no such file")
        # Editors end a file with a line break, which is no part of the token.
        token = file.read_text().strip()
    if token is None and host not in _LOOPBACK:
        raise UsageError(
            f"--host {host} is open to others: give --token-file FILE or set {TOKEN_VARIABLE}"
        )
    if token is not None and (len(token) < _LEAST_TOKEN or not token.isascii()):
        raise UsageError(f"the token must have at least {_LEAST_TOKEN} characters, all of ASCII")
    return token


def bind(host: str, port: int) -> socket.socket:
    """A socket that does not listen yet, so that a mistake is named before the model is loaded."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family)
    # A service that was just stopped must not block its own port.
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
    except (OSError, OverflowError) as error:
        bound.close()
        reason = getattr(error, "strerror", None) or str(error)
        raise UsageError(
            f"cannot listen on --host {host} --port {port}: {reason}; choose another, or port 0 "
            f"for a free one"
        ) from None
    return bound


def serve(bound: socket.socket, load: Callable[[], Recommender], settings: AppSettings) -> None:
    """Load the model, answer until SIGTERM or SIGINT; what is being computed is answered first."""
    # What compiles is part of the start, so that the first request does not wait for it.
    begin = time.monotonic()
    recommender = load()
    warm_up(recommender)
    host, port = bound.getsockname()[:2]
    seconds = time.monotonic() - begin
    print(f"ready after {seconds:.1f} s: http://{host}:{port}", file=sys.stderr, flush=True)
    # Who has no items left has no rows; a line for each request would fill the log.
    logging.getLogger("socialrec_jax.serving.tasks.recommend").setLevel(logging.ERROR)
    config = uvicorn.Config(
        make_app(recommender, settings),
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=_SHUTDOWN_SECONDS,
        server_header=False,
    )
    # uvicorn ends its work at the signal, then raises it again for the handler of the program.
    uvicorn.Server(config).run(sockets=[bound])


def warm_up(recommender: Recommender) -> None:
    """Compile what most requests need, before the first one comes."""
    world = recommender.engine.world
    users = [user for user in world.user_ids[: min(8, world.num_users)] if user]
    recommender.recommend(users)
    recommender.profile(users)
    # The encoder of queries takes seconds. A run without texts has none.
    with contextlib.suppress(BadData):
        recommender.search(["warm up"])
