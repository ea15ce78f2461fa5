"""Probes, tokens and the queue: what lets a service run unattended."""

from __future__ import annotations

import asyncio
import dataclasses
import threading

import pytest

from socialrec_jax.errors import BadData, InputMissing, UsageError
from socialrec_jax.serving.http.app import AppSettings, make_app
from socialrec_jax.serving.http.batcher import Batcher, BatchSettings, Job, Overloaded
from socialrec_jax.serving.http.server import bind, read_token, warm_up
from socialrec_jax.serving.list_options import ListOptions
from tests.serving.http.calls import call, get

TOKEN = "a token of many letters"


def test_without_the_token_only_probes_answer(recommender):
    app = make_app(recommender, AppSettings(token=TOKEN, most_bytes=1000))

    async def answers():
        for path in ("/metrics", "/openapi.json"):
            assert (await call(app, path, b"", "another token", "GET"))[0] == 401
            assert (await call(app, path, b"", TOKEN, "GET"))[0] == 200
        async with app.router.lifespan_context(app):
            for path in ("/health", "/ready"):
                assert (await call(app, path, b"", "", "GET"))[0] == 200
        assert (await call(app, "/recommend", b" " * 2000, TOKEN))[0] == 413

    asyncio.run(answers())


def test_probes_say_what_answers_and_whether_it_can(recommender):
    later = dataclasses.replace(recommender, generation=3)
    world = recommender.engine.world
    newest = int(world.events.times.max())
    about = {"users": world.num_users, "items": world.num_items, "generation": 3}
    expected = (200, {"status": "ok"} | about | {"newest_event": newest})
    *probes, (_, metrics) = get(later, "/health", "/ready", "/metrics")
    assert probes == [expected, expected]
    gauges = dict(line.split(" ") for line in metrics.splitlines() if line[0] != "#")
    assert float(gauges["socialrec_generation"]) == 3
    assert float(gauges["socialrec_newest_event_timestamp_seconds"]) == newest

    # A queue that takes nothing is a reason to send requests elsewhere, and none to start again.
    full = get(later, "/health", "/ready", batches=BatchSettings(most_waiting=0))
    assert [status for status, _ in full] == [200, 503]


def test_a_service_that_no_longer_computes_is_to_be_started_again(recommender):
    # The thread is not there before the server's start, and after its end.
    app = make_app(recommender, AppSettings())
    for path in ("/health", "/ready"):
        status, content = asyncio.run(call(app, path, b"", method="GET"))
        assert status == 503
        assert content["error"]


def test_the_schema_describes_options_as_the_command_line_does(recommender):
    ((_, schema),) = get(recommender, "/openapi.json")
    fields = schema["components"]["schemas"]["RecommendBody"]["properties"]
    assert all(fields[option.name].get("description") for option in dataclasses.fields(ListOptions))
    assert "maximal marginal relevance" in fields["diversity"]["description"]


def test_a_run_without_texts_is_warmed_up(recommender):
    with pytest.raises(BadData):
        recommender.search(["red"])
    warm_up(recommender)


@pytest.mark.parametrize("token", ["short", "non-ascii täken of letters"])
def test_other_addresses_need_a_good_token(tmp_path, monkeypatch, token):
    monkeypatch.delenv("SOCIALREC_TOKEN", raising=False)
    assert read_token("127.0.0.1", None) is None
    with pytest.raises(UsageError, match="open to others"):
        read_token("0.0.0.0", None)
    with pytest.raises(InputMissing):
        read_token("0.0.0.0", tmp_path / "none")
    (tmp_path / "token").write_text(token)
    with pytest.raises(UsageError, match="16 characters"):
        read_token("0.0.0.0", tmp_path / "token")
    with bind("127.0.0.1", 0) as bound:
        bound.listen()
        with pytest.raises(UsageError, match="cannot listen"):
            bind("127.0.0.1", bound.getsockname()[1])


def test_a_queue_is_bounded_and_a_failure_stays_alone():
    calls, release = [], threading.Event()

    def compute(payloads):
        release.wait(5)
        calls.append(len(payloads))
        if "bad" in payloads:
            raise ValueError("bad")
        return [payload.upper() for payload in payloads]

    batcher = Batcher(BatchSettings(most_waiting=4, most_joined=3))
    jobs = [Job("key", 1, payload, compute) for payload in ("a", "bad", "c", "d")]
    answers = [batcher.submit(job) for job in jobs]
    with pytest.raises(Overloaded):
        batcher.submit(Job("key", 1, "e", compute))
    late = Job("key", 1, "late", compute, arrived=0.0)
    batcher._waiting.appendleft(late)
    batcher.start()
    release.set()
    batcher.close()
    assert calls == [3, 1, 1, 1, 1]
    assert [answers[n].result() for n in (0, 2, 3)] == ["A", "C", "D"]
    assert isinstance(answers[1].exception(), ValueError)
    assert isinstance(late.answer.exception(), Overloaded)
