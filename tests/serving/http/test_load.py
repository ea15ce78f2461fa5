"""The load script sends all requests of a burst at once, and names what goes wrong."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import pytest

from benchmarks import http_load
from socialrec_jax.errors import InputMissing, UsageError


class Service(BaseHTTPRequestHandler):
    """Answers when so many requests wait together, so that a burst must be one."""

    waiting = threading.Barrier(1)
    users: ClassVar[list[str]] = []

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.users.extend(body["users"])
        self.waiting.wait(timeout=20)
        self.send_response(404 if body["k"] == 404 else 200)
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, format, *args):
        """Nothing on stderr."""


class Server(ThreadingHTTPServer):
    """Takes all connections of a burst."""

    request_queue_size = 128


@pytest.fixture
def port():
    server = Server(("127.0.0.1", 0), Service)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


def options(port: int, **others) -> http_load.Options:
    return http_load.Options(run=http_load.Path("run"), port=port, **others)


def test_requests_of_a_burst_are_sent_at_once(port, monkeypatch):
    monkeypatch.setattr(Service, "waiting", threading.Barrier(20))
    burst = http_load._burst(options(port), [f"user{number}" for number in range(20)])
    assert sorted(Service.users) == sorted(f"user{number}" for number in range(20))
    assert len(burst.seconds) == 20
    assert max(burst.seconds) <= burst.whole + 1


def test_what_goes_wrong_is_named(port, monkeypatch):
    monkeypatch.setattr(Service, "waiting", threading.Barrier(1))
    with pytest.raises(UsageError, match="answers 404"):
        http_load._answered(options(port, k=404), "user")
    with pytest.raises(InputMissing, match="no service answers"):
        http_load._answered(options(1), "user")
    with pytest.raises(UsageError, match="at least 1"):
        options(port, bursts=0).check()
