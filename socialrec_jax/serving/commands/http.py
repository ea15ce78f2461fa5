"""The service: `serve.py http`."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from socialrec_jax.errors import Unavailable, UsageError
from socialrec_jax.serving.commands.base import RunOptions


@dataclasses.dataclass(frozen=True, kw_only=True)
class Http(RunOptions):
    """Answer recommend, score, profile, similar, search and audience over HTTP, as of now."""

    host: str = "127.0.0.1"
    """Address to listen on. All but this machine's own need a token."""
    port: int = 8000
    """Port to listen on; 0 takes a free one."""
    token_file: Path | None = None
    """File with the token that requests must bring; or the variable SOCIALREC_TOKEN."""
    queue: int = 1000
    """Requests that may wait; more get 503."""
    timeout: float = 10.0
    """Seconds that a request may wait; then it gets 503."""
    join_ms: float = 2.0
    """Milliseconds that a request waits for others to be answered by the same call."""
    max_body_mib: int = 4
    """Largest body of a request; larger ones get 413."""

    def execute(self) -> None:
        """Answer until SIGTERM or SIGINT."""
        self._check()
        # The libraries of the service are no dependency of the other tasks.
        try:
            from socialrec_jax.serving.http import server
            from socialrec_jax.serving.http.app import AppSettings
            from socialrec_jax.serving.http.batcher import BatchSettings
        except ModuleNotFoundError as error:
            raise Unavailable(
                f"serve.py http needs {error.name}: pip install '.[http]' in the repository"
            ) from None
        token = server.read_token(self.host, self.token_file)
        batches = BatchSettings(
            most_waiting=self.queue,
            timeout_seconds=self.timeout,
            join_seconds=self.join_ms / 1000,
        )
        settings = AppSettings(
            token=token, most_bytes=self.max_body_mib << 20, batches=batches, debug=self.debug
        )
        # The port is bound first: a port that is taken is named before the run is loaded.
        server.serve(server.bind(self.host, self.port), self.recommender, settings)

    def _check(self) -> None:
        # A service answers the present, and sessions bring events of today.
        if self.as_of != "now":
            raise UsageError("serve.py http answers as of now: leave --as-of out")
        if min(self.queue, self.max_body_mib) < 1 or self.timeout <= 0 or self.join_ms < 0:
            raise UsageError(
                "choose --queue, --timeout and --max-body-mib above 0, and --join-ms from 0 on"
            )
