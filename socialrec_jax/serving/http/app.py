"""The ASGI application: a route for each task, probes, /metrics and /openapi.json."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import re
import time
from collections.abc import AsyncIterator
from typing import Any

from fastapi import FastAPI, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException as StarletteHTTPException

import socialrec_jax
from socialrec_jax.errors import BadData, UserError
from socialrec_jax.serving.http.answers import answer_model, error_answer, json_answer
from socialrec_jax.serving.http.batcher import Batcher, BatchSettings, Job, Overloaded
from socialrec_jax.serving.http.bodies import About, ErrorAnswer
from socialrec_jax.serving.http.endpoints import ENDPOINTS, Endpoint
from socialrec_jax.serving.http.guard import Guard
from socialrec_jax.serving.http.metrics import Metrics
from socialrec_jax.serving.recommender import Recommender

log = logging.getLogger(__name__)

# What each route may answer besides its rows, for the schema.
_ERRORS: dict[int | str, dict[str, Any]] = {
    400: {"model": ErrorAnswer, "description": "the body cannot be read"},
    401: {"model": ErrorAnswer, "description": "no token, or another one"},
    404: {"model": ErrorAnswer, "description": "an id is unknown, or no item is left"},
    413: {"model": ErrorAnswer, "description": "the body is too large"},
    422: {"model": ErrorAnswer, "description": "a mistake in the request"},
    503: {"model": ErrorAnswer, "description": "too many requests; try again"},
}
_PROBE: dict[int | str, dict[str, Any]] = {
    503: {"model": ErrorAnswer, "description": "it does not, and why"}
}
_OPTION = re.compile(r"--([a-z][a-z-]*)")


@dataclasses.dataclass(frozen=True, kw_only=True)
class AppSettings:
    """token: what requests must bring, None for nothing. debug: log tracebacks."""

    token: str | None = None
    most_bytes: int = 4 << 20
    batches: BatchSettings = dataclasses.field(default_factory=BatchSettings)
    debug: bool = False


class Service:
    """A Recommender with the queue in front of it."""

    def __init__(self, recommender: Recommender, settings: AppSettings):
        self.recommender, self.settings = recommender, settings
        self.about = _about(recommender)
        self.metrics = Metrics(self.about.generation, self.about.newest_event)
        # The thread starts with the server, see `make_app`.
        self.batcher = Batcher(settings.batches, self.metrics.observe_call)

    async def answer(self, endpoint: Endpoint, body: Any) -> Response:
        """The answer to a body, errors included."""
        begin = time.monotonic()
        response = await self._answer_or_error(endpoint, body)
        seconds = time.monotonic() - begin
        self.metrics.observe_request(endpoint.name, response.status_code, seconds)
        return response

    async def _answer_or_error(self, endpoint: Endpoint, body: Any) -> Response:
        try:
            return await self._answer(endpoint, body)
        # Ids that the model does not know, or rules that leave nothing.
        except BadData as error:
            return error_answer(404, _as_fields(str(error)))
        except UserError as error:
            return error_answer(422, _as_fields(str(error)))
        except Overloaded as error:
            return error_answer(503, str(error))
        # The message of an error that nobody foresaw may hold paths or ids: the log has it.
        except Exception as error:
            log.error("%s: %r", endpoint.name, error, exc_info=self.settings.debug)
            return error_answer(500, "internal error; the log of the service has more")

    async def _answer(self, endpoint: Endpoint, body: Any) -> Response:
        request = endpoint.check(self.recommender, body)
        job = Job(
            key=(endpoint.name, request.key),
            weight=max(1, len(request.rows)),
            payload=request,
            compute=lambda requests: endpoint.answer(self.recommender, requests),
        )
        # The event loop goes on with other requests while the model computes.
        table = await asyncio.wrap_future(self.batcher.submit(job))
        return await asyncio.to_thread(json_answer, table)

    async def mistake(self, request: Any, error: Any) -> Response:
        """The answer to a body that pydantic refuses."""
        # Only the routes of the tasks have bodies.
        self.metrics.count_request(request.url.path.strip("/"), 422)
        return error_answer(422, _first_mistake(error.errors()[0]))


def _about(recommender: Recommender) -> About:
    world = recommender.engine.world
    return About(
        users=world.num_users,
        items=world.num_items,
        generation=recommender.generation,
        newest_event=int(world.events.times.max()),
    )


def make_app(recommender: Recommender, settings: AppSettings) -> FastAPI:
    """The application of a Recommender as of now."""
    # Threads start with the server, not on import, so that tests can make several applications.
    service = Service(recommender, settings)

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        service.batcher.start()
        yield
        await asyncio.to_thread(service.batcher.close)

    # Pages of documentation would load scripts from elsewhere.
    app = FastAPI(
        title="socialrec_jax",
        version=socialrec_jax.__version__,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
    )
    app.add_middleware(Guard, token=settings.token, most_bytes=settings.most_bytes)
    app.add_exception_handler(RequestValidationError, service.mistake)
    app.add_exception_handler(StarletteHTTPException, _http_error)
    _add_pages(app, service)
    for endpoint in ENDPOINTS:
        _add_route(app, service, endpoint)
    return app


def _add_route(app: FastAPI, service: Service, endpoint: Endpoint) -> None:
    async def route(body: Any) -> Response:
        return await service.answer(endpoint, body)

    # FastAPI reads the body's model from the annotation.
    route.__annotations__["body"] = endpoint.body
    event_types = service.recommender.engine.world.event_types
    app.post(
        f"/{endpoint.name}",
        summary=endpoint.body.__doc__,
        operation_id=endpoint.name,
        response_model=answer_model(endpoint, event_types),
        responses=_ERRORS,
    )(route)


def _add_pages(app: FastAPI, service: Service) -> None:
    batcher = service.batcher

    @app.get("/health", summary="Whether the service lives, and what it knows.", responses=_PROBE)
    async def health() -> About:
        if not batcher.is_alive:
            raise StarletteHTTPException(503, "the thread that computes has ended: start again")
        return service.about

    @app.get("/ready", summary="Whether a request would be taken in now.", responses=_PROBE)
    async def ready() -> About:
        if not batcher.is_alive or batcher.is_full:
            raise StarletteHTTPException(503, "too many requests are waiting, or the service stops")
        return service.about

    @app.get(
        "/metrics",
        summary="Counters in Prometheus' text format.",
        response_class=Response,
        responses={200: {"content": {"text/plain": {}}}},
    )
    async def metrics() -> Response:
        text = service.metrics.text(service.batcher.num_waiting)
        return Response(text, media_type="text/plain; version=0.0.4")


def _first_mistake(first: Any) -> str:
    """One line on the first mistake that pydantic found, with its place."""
    if first["type"] == "json_invalid":
        return f"the body is no JSON: {first['ctx']['error']}"
    # The first part of the place is always the body.
    place = ".".join(str(part) for part in first["loc"] if part != "body")
    if first["type"] == "extra_forbidden":
        return f"{place}: unknown field"
    if place:
        return f"{place}: {first['msg']}"
    # FastAPI reads no JSON without this header, and curl -d sends another one.
    return "send a JSON object, with the header Content-Type: application/json"


async def _http_error(request: Any, error: Any) -> Response:
    response = error_answer(error.status_code, _http_message(request.url.path, error))
    response.headers.update(error.headers or {})
    return response


def _http_message(path: str, error: Any) -> str:
    """What is wrong with a request for a path, and what to do."""
    if error.status_code == 404:
        return f"there is no {path}: GET /openapi.json lists what there is"
    if error.status_code == 405:
        return f"{path} takes {error.headers['Allow']} alone"
    return str(error.detail)


def _as_fields(message: str) -> str:
    """A message about options of the command line, which are fields of a body here."""
    return _OPTION.sub(lambda option: option[1].replace("-", "_"), message)
