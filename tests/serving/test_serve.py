"""A mistake on the command line is one line with a suggestion, before anything is loaded."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

import serve
from socialrec_jax.errors import BROKEN_PIPE, INPUT_MISSING, USAGE
from tests.workers import ROOT

RECOMMEND = ["recommend", "--run", "a", "--out", "b.jsonl"]


@pytest.mark.parametrize(
    ("arguments", "code", "suggestion"),
    [
        (["recomend"], USAGE, "recommend"),
        (["recommend", "--run", "a", "--out", "b.jsonl", "--usres", "c"], USAGE, "--users"),
        (["recommend", "--run", "a", "--out", "b.jsonl", "--k", "many"], USAGE, "--k"),
        (["recommend", "--run", "a"], USAGE, "--out"),
        (["recommend", "--run", "a", "--out", "b.xlsx"], USAGE, ".parquet"),
        (["recommend", "--run", "a", "--out", "b.jsonl", "--as-of", "x"], USAGE, "2024-05-01"),
        (["recommend", "--run", "a", "--out", "nowhere/b.jsonl"], INPUT_MISSING, "nowhere"),
        (["recommend", "--run", "nowhere", "--out", "b.jsonl"], INPUT_MISSING, "nowhere"),
        (["recommend", "--run", "nowhere", "--out", "b"], INPUT_MISSING, "nowhere"),
        (["recommend", "--run", "a", "--out", "nowhere/b"], INPUT_MISSING, "nowhere"),
        (["recommend", "--run", "a", "--out", "b", "--shards", "0"], USAGE, "1..99999"),
        (["recommend", "--run", "a", "--out", "b.jsonl", "--shards", "2"], USAGE, "folder"),
        ([*RECOMMEND, "--where", "prize < 5"], USAGE, "did you mean price?"),
        ([*RECOMMEND, "--placement", "basekt"], USAGE, "basket"),
        ([*RECOMMEND, "--diversity", "2"], USAGE, "from 0"),
        ([*RECOMMEND, "--per-category", "0"], USAGE, "at least 1"),
        ([*RECOMMEND, "--promote", "price <"], USAGE, "--promote 'price <'"),
        ([*RECOMMEND, "--promote-share", "0.5"], USAGE, "--promote CONDITION"),
        ([*RECOMMEND, "--new-items", "2"], USAGE, "at most 1"),
        ([*RECOMMEND, "--new-items-days", "2"], USAGE, "--new-items SHARE"),
        ([*RECOMMEND, "--boost-popularity", "-1"], USAGE, "0 (off)"),
        ([*RECOMMEND, "--repeats-half-life", "0"], USAGE, "days above 0"),
        ([*RECOMMEND, "--reasons", "slow"], USAGE, "exact"),
        ([*RECOMMEND, "--language", "xx"], USAGE, "zh"),
        ([*RECOMMEND, "--privacy.min-friends", "0"], USAGE, "at least 1"),
        ([*RECOMMEND, "--privacy.min-frends", "3"], USAGE, "--privacy.min-friends"),
        ([*RECOMMEND, "--report", "page.txt"], USAGE, ".html"),
        ([*RECOMMEND, "--report", "nowhere/page.html"], INPUT_MISSING, "nowhere"),
        ([*RECOMMEND, "--report", "page.html", "--sample", "0"], USAGE, "1..10000"),
        ([*RECOMMEND, "--sample", "5"], USAGE, "--report"),
        (["score", "--run", "a", "--out", "b.jsonl"], USAGE, "--pairs"),
        (["audience", "--run", "a", "--out", "b.jsonl"], USAGE, "--campaigns"),
        (["audience", "--run", "a", "--out", "b.jsonl", "--tags", "x"], INPUT_MISSING, "config"),
        (["demand", "--run", "a", "--out", "b.jsonl", "--days", "week"], USAGE, "--days"),
        (["profile", "--run", "a", "--out", "b.jsonl", "--tpo", "3"], USAGE, "--top"),
        (["similar", "--run", "a", "--out", "b.jsonl", "--by", "taste"], USAGE, "events"),
        (["search", "--run", "a", "--out", "b.jsonl"], USAGE, "--queries"),
    ],
)
def test_a_mistake_is_one_line(tmp_path, monkeypatch, capsys, arguments, code, suggestion):
    monkeypatch.chdir(tmp_path)
    # The environment of this process is not the run's.
    monkeypatch.setattr(serve.cli, "prepare_jax", lambda run: None)
    with pytest.raises(SystemExit) as end:
        serve.main(arguments)
    message = capsys.readouterr().err
    assert end.value.code == code
    assert suggestion in message
    assert message.count("\n") == 1
    assert message.startswith("error: ")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "arguments", [[], ["--help"], ["recommend", "--help"], ["search", "--help"]]
)
def test_help_names_the_tasks_and_their_options(capsys, arguments):
    with pytest.raises(SystemExit) as end:
        serve.main(arguments)
    assert end.value.code == 0
    assert "--run" in capsys.readouterr().out


def test_a_closed_pipe_ends_the_program_without_a_word():
    """As in `serve.py --help | head -1`."""
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "serve.py", "--help"]
    ended = subprocess.run(command, cwd=ROOT, stdout=writer, stderr=subprocess.PIPE)
    os.close(writer)
    assert ended.returncode == BROKEN_PIPE
    assert ended.stderr == b""
