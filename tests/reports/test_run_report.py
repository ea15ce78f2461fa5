"""The page stands alone, says every number, escapes what it is given, and does without what is
missing.
"""

from __future__ import annotations

import copy
import json
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from socialrec_jax.config import Config, to_json
from socialrec_jax.reports.run_report import write_report

METRICS = {"hr@10": 0.1234, "ndcg@10": 0.0567, "coverage@10": 0.5}
REPORT = {
    "data": {
        "users": 1234,
        "items": 99,
        "events": 5678,
        "rejected": {"events": 17},
        "event_types": ["<b>view"],
        "time_min": 0,
    },
    "targets": {"test": {"new": 2345, "seen_before": 7}},
    "split": "time",
    "seed": 3,
    "test": {"retriever": METRICS, "popular": {"hr@10": 0.1, "ndcg@10": 0.05, "coverage@10": 0.01}},
    "validation": {"retriever": METRICS},
    "intervals": {"retriever": {"ndcg@10": [0.0501, 0.0602]}},
    "segments": {
        "retriever": {"warm items": {"n": 4321, "hr@10": 0.2, "ndcg@10": 0.111}},
        "popular": {"warm items": {"n": 4321, "hr@10": 0.1, "ndcg@10": 0.0499}},
    },
    "train": {
        "stage": "retriever",
        "seconds": 12.5,
        "trained_events_per_second": 43210,
        "best_step": 20,
        "steps": 30,
    },
    "environment": {
        "devices": ["<script>alert(1)</script>"],
        "versions": {"jax": "1.2.3"},
        "commit": None,
    },
}
LINES = [
    {"stage": "retriever", "step": 10, "loss": 3.0},
    {"stage": "retriever", "step": 20, "loss": 2.0},
    {"stage": "retriever", "step": 20, "validation_ndcg@10": 0.05, "validation_hr@10": 0.1},
]
VOID = {"meta", "br"}


class Page(HTMLParser):
    """Collects tags, ids, references and visible text; every element must be closed in its turn."""

    def __init__(self, text: str):
        super().__init__()
        self.source, self.tags, self.ids, self.references, self.text, self.open = (
            text,
            [],
            [],
            [],
            "",
            [],
        )
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.note(tag, attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.note(tag, attrs)

    def note(self, tag, attrs):
        self.tags.append(tag)
        self.ids += [value for name, value in attrs if name == "id"]
        self.references += [
            value
            for name, value in attrs
            if name in ("src", "href", "xlink:href", "srcset", "data")
        ]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not self.open or self.open[-1] != "style":
            self.text += data


def write_run(folder, report, lines=(), torn=""):
    (folder / "report.json").write_text(json.dumps(report))
    (folder / "config.json").write_text(to_json(Config()))
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + torn)


def page_of(folder, report, lines=(), torn="") -> Page:
    write_run(folder, report, lines, torn)
    write_report(folder)
    return Page((folder / "report.html").read_text())


def test_every_number_is_there(tmp_path):
    text = page_of(tmp_path, REPORT, LINES, torn='{"stage": "retri').text
    for expected in (
        *("retriever", "popular", "retriever against popular"),
        *("0.1234", "0.0567", "0.5000", "0.0500", "0.1000", "0.0501–0.0602"),
        *("+13.4%", "+23.4%"),  # NDCG and HR against the best baseline
        *("warm items (4,321)", "0.1110", "0.0499"),
        *("1,234", "5,678", "17", "2,345", "1970-01-01", "43,210", "12.5"),
        *("model.history_length", "train.learning_rate", "1.2.3"),
    ):
        assert expected in text, expected


def test_curves_and_segments_are_drawn_apart(tmp_path):
    page = page_of(tmp_path, REPORT, LINES)
    assert page.tags.count("svg") == 4  # loss, validation, segments by NDCG and by HR
    assert len(page.ids) == len(set(page.ids)), (
        "an id of one figure must not catch another's reference"
    )
    assert {reference[1:] for reference in page.references} <= set(page.ids)


def test_it_stands_alone_and_runs_nothing(tmp_path):
    page = page_of(tmp_path, REPORT, LINES)
    assert all(reference.startswith("#") for reference in page.references)
    assert not {"script", "link", "img", "iframe", "object", "image"} & set(page.tags)
    assert "@import" not in page.source
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)\)", page.source))


@pytest.mark.parametrize("name", ["<script>alert(1)</script>", '" onload="x', "a & b", "$\\frac$"])
def test_names_are_shown_not_obeyed(tmp_path, name):
    report = copy.deepcopy(REPORT)
    for part in ("test", "segments"):
        report[part][name] = report[part].pop("popular")
    for segments in report["segments"].values():
        segments[name] = segments.pop("warm items")
    page = page_of(tmp_path, report, LINES)
    assert "script" not in page.tags
    assert f"{name} (4,321)" in page.text
    assert f"retriever against {name}" in page.text


def test_the_same_run_gives_the_same_page_in_any_process(tmp_path):
    first = page_of(tmp_path, REPORT, LINES).source
    code = (
        "import sys, pathlib\n"
        "from socialrec_jax.reports.run_report import write_report\n"
        "write_report(pathlib.Path(sys.argv[1]))"
    )
    subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        check=True,
        cwd=Path(__file__).parents[2],
        env=os.environ | {"PYTHONHASHSEED": "7"},
    )
    assert (tmp_path / "report.html").read_text() == first


@pytest.mark.parametrize("missing", REPORT)
def test_what_is_missing_is_left_out(tmp_path, missing):
    report = {key: value for key, value in REPORT.items() if key != missing}
    assert "Model card" in page_of(tmp_path, report, LINES).text


def test_an_empty_report_of_a_bare_folder_is_a_page(tmp_path):
    (tmp_path / "report.json").write_text("{}")
    write_report(tmp_path)
    page = Page((tmp_path / "report.html").read_text())
    assert "svg" not in page.tags
    assert "table" not in page.tags


def test_a_curve_is_drawn_without_the_other(tmp_path):
    assert "training loss" in page_of(tmp_path, {}, LINES[:2]).text
    text = page_of(tmp_path, {}, LINES[2:]).text
    assert "validation NDCG@10" in text
    assert "training loss" not in text


def test_other_stages_are_not_mixed_into_the_curve(tmp_path):
    alone = page_of(tmp_path, REPORT, LINES).source
    assert (
        page_of(tmp_path, REPORT, [*LINES, {"stage": "ranker", "step": 5, "loss": 900.0}]).source
        == alone
    )


def test_a_baseline_that_never_hits_gives_no_percentage(tmp_path):
    report = REPORT | {"test": {"retriever": METRICS, "popular": dict.fromkeys(METRICS, 0.0)}}
    text = page_of(tmp_path, report).text
    assert "n/a" in text
    assert "%" not in text.split("Accuracy")[0]


def test_a_time_beyond_the_calendar_is_shown_as_it_is(tmp_path):
    report = REPORT | {"data": {"time_min": 1_700_000_000_000_000}}
    assert "1,700,000,000,000,000 s" in page_of(tmp_path, report).text


def stage_time(stage: str, host: float, compiling: float, device: float) -> dict:
    return {
        "stage": stage,
        "seconds": host + compiling + device,
        "host_seconds": host,
        "compile_seconds": compiling,
        "device_seconds": device,
        "programs": 3,
        "compiled": 2,
    }


def test_the_bars_of_stages_are_in_scale(tmp_path):
    stages = [stage_time("<text>", 1, 2, 5), stage_time("retriever", 8, 4, 20)]
    page = page_of(tmp_path, REPORT | {"timeline": {"processes": 2, "stages": stages}})
    widths = [float(width) for width in re.findall(r'style="width: ([\d.]+)%"', page.source)]
    assert widths == pytest.approx(
        [100 * seconds / 32 for seconds in (1, 2, 5, 8, 4, 20)], abs=0.01
    )
    for expected in (
        "<text>",
        "32.0 s",
        "40 s, in 2 starts",
        "9 s on the host",
        "6 programs, 4 of",
    ):
        assert expected in page.text, expected


def test_a_report_without_timeline_has_no_bars(tmp_path):
    assert "Where the time went" not in page_of(tmp_path, REPORT).text
