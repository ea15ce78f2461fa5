"""The page stands alone, says every number, escapes what it is given, and does without what is missing."""

from __future__ import annotations

import json
from html.parser import HTMLParser

import pytest

from socialrec_jax.evaluation.report import write_report

METRICS = {"hr@10": 0.1234, "ndcg@10": 0.0567, "coverage@10": 0.5}
REPORT = {
    "data": {"users": 1234, "items": 99, "events": 5678, "event_types": ["<b>view"], "time_min": 0},
    "split": "time",
    "seed": 3,
    "test": {"retriever": METRICS, "popular": {"hr@10": 0.1, "ndcg@10": 0.05, "coverage@10": 0.01}},
    "validation": {"retriever": METRICS},
    "intervals": {"retriever": {"ndcg@10": [0.0501, 0.0602]}},
    "segments": {
        "retriever": {"warm items": {"n": 40, "hr@10": 0.2, "ndcg@10": 0.111}},
        "popular": {"warm items": {"n": 40, "hr@10": 0.1, "ndcg@10": 0.05}},
    },
    "train": {"stage": "retriever", "seconds": 12.5, "trained_events_per_second": 43210, "best_step": 20, "steps": 30},
    "environment": {"devices": ["<script>alert(1)</script>"], "versions": {"jax": "1.2.3"}},
}
LINES = [
    {"stage": "retriever", "step": 10, "loss": 3.0},
    {"stage": "retriever", "step": 20, "loss": 2.0},
    {"stage": "retriever", "step": 20, "validation_ndcg@10": 0.05, "validation_hr@10": 0.1},
]


class Page(HTMLParser):
    """Collects tags, references and visible text."""

    def __init__(self, text: str):
        super().__init__()
        self.tags, self.references, self.text = [], [], ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.references += [value for name, value in attrs if name in ("src", "href", "xlink:href")]

    def handle_data(self, data):
        self.text += data


def page_of(folder, report, lines=(), torn="") -> Page:
    (folder / "report.json").write_text(json.dumps(report))
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + torn)
    write_report(folder)
    return Page((folder / "report.html").read_text())


def test_every_number_is_there(tmp_path):
    page = page_of(tmp_path, REPORT, LINES, torn='{"stage": "retri')
    for expected in (
        "0.1234",
        "0.0567",
        "0.0501 to 0.0602",
        "retriever",
        "popular",
        "+13.4%",
        "43,210",
        "1,234",
        "1.2.3",
    ):
        assert expected in page.text, expected
    assert "1970-01-01" in page.text
    assert page.tags.count("svg") == 2


def test_it_stands_alone_and_runs_nothing(tmp_path):
    page = page_of(tmp_path, REPORT, LINES)
    assert all(reference.startswith("#") for reference in page.references)
    assert "script" not in page.tags
    assert "<b>view" in page.text, "names are shown, not obeyed"


def test_the_same_run_gives_the_same_page(tmp_path):
    page_of(tmp_path, REPORT, LINES)
    first = (tmp_path / "report.html").read_bytes()
    page_of(tmp_path, REPORT, LINES)
    assert (tmp_path / "report.html").read_bytes() == first


@pytest.mark.parametrize("missing", REPORT)
def test_what_is_missing_is_left_out(tmp_path, missing):
    report = {key: value for key, value in REPORT.items() if key != missing}
    assert "Model card" in page_of(tmp_path, report).text
