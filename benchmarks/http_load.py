"""How fast the service answers many requests at once, and one after the other.

    python serve.py http --run RUN --port 8123                           in another terminal
    python -m benchmarks.http_load --run RUN --port 8123                 200 at once, twelve times

Each request is `POST /recommend` of one random user. The variable SOCIALREC_TOKEN is the token,
where the service needs one. The client takes time of the same cores, so trust ratios.
"""

from __future__ import annotations

import dataclasses
import http.client
import json
import os
import random
import statistics
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated, NamedTuple

from tyro.conf import arg

from socialrec_jax.errors import InputMissing, UsageError
from socialrec_jax.runtime import cli

_TIMEOUT = 60  # seconds of a request


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """A load of requests."""

    run: Annotated[Path, arg(metavar="RUN")]
    """Run directory that the service answers from; names the users."""
    host: str = "127.0.0.1"
    """Address of the service."""
    port: int = 8000
    """Port of the service."""
    requests: int = 200
    """Requests of a burst, each on a connection of its own."""
    bursts: int = 12
    """Bursts, one after the other."""
    single: int = 30
    """Requests one after the other, at the end."""
    k: int = 10
    """Items of a request."""
    debug: bool = False
    """Show the traceback of an error."""

    def check(self) -> None:
        """Raises UsageError for a number that cannot be right."""
        if min(self.requests, self.bursts, self.single, self.k) < 1:
            raise UsageError("choose --requests, --bursts, --single and --k of at least 1")


class Burst(NamedTuple):
    """Requests that were sent together."""

    seconds: list[float]  # of each request
    whole: float  # from the first request to the last answer


def main(arguments: list[str]) -> None:
    """Send the requests, print a table."""
    options = cli.parse(Options, args=arguments, prog="benchmarks.http_load", description=__doc__)
    options.check()
    users = _user_ids(options.run)
    rng = random.Random(0)
    _answered(options, rng.choice(users))  # the first call compiles
    print("requests at once      p50 ms    p99 ms    a second")
    for _ in range(options.bursts):
        _print(options.requests, _burst(options, rng.choices(users, k=options.requests)))
    started = time.perf_counter()
    singles = [_answered(options, user) for user in rng.choices(users, k=options.single)]
    _print(1, Burst(singles, time.perf_counter() - started))


def _user_ids(run: Path) -> list[str]:
    from socialrec_jax.data.world import World
    from socialrec_jax.runtime.generations import current_generation

    world = World.open(current_generation(run).world)
    return [name for name in world.user_ids.tolist() if name]


def _burst(options: Options, users: list[str]) -> Burst:
    """One request a user, all at once."""
    ready = threading.Barrier(len(users) + 1)

    def answered(user: str) -> float:
        ready.wait()
        return _answered(options, user)

    with ThreadPoolExecutor(len(users)) as threads:
        futures = [threads.submit(answered, user) for user in users]
        ready.wait()
        started = time.perf_counter()
        seconds = [future.result() for future in futures]
        return Burst(seconds, time.perf_counter() - started)


def _answered(options: Options, user: str) -> float:
    """Seconds until the answer for one user is there."""
    body = json.dumps({"users": [user], "k": options.k})
    headers = {"Content-Type": "application/json"}
    if token := os.environ.get("SOCIALREC_TOKEN"):
        headers["Authorization"] = f"Bearer {token}"
    started = time.perf_counter()
    try:
        status, text = _post(options, body, headers)
    except OSError as error:
        where = f"{options.host}:{options.port}"
        raise InputMissing(f"no service answers at {where}: {error}") from None
    if status != http.client.OK:
        raise UsageError(f"the service answers {status}: {text}")
    return time.perf_counter() - started


def _post(options: Options, body: str, headers: dict[str, str]) -> tuple[int, str]:
    connection = http.client.HTTPConnection(options.host, options.port, timeout=_TIMEOUT)
    try:
        connection.request("POST", "/recommend", body, headers)
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


def _print(at_once: int, burst: Burst) -> None:
    ordered = sorted(burst.seconds)
    p99 = ordered[int(0.99 * (len(ordered) - 1))]
    p50, rate = statistics.median(ordered), len(ordered) / burst.whole
    print(f"{at_once:>16} {1e3 * p50:>11.0f} {1e3 * p99:>9.0f} {rate:>11.0f}", flush=True)


if __name__ == "__main__":
    cli.main(main)
