"""Single values of a report, with names and units for people."""

from __future__ import annotations

from datetime import UTC, datetime

_LABELS = {
    "data.social_edges": "friendships",
    "data.share_of_tied_times": "share of events at the same time as the one before",
    "data.time_min": "first event",
    "data.time_max": "last event",
    "targets.validation.new": "validation targets",
    "targets.validation.seen_before": "validation targets left out: in the history already",
    "targets.validation.users": "validation users",
    "targets.validation.share_of_users": "their share of all users with validation targets",
    "targets.test.new": "test targets",
    "targets.test.seen_before": "test targets left out: in the history already",
    "targets.test.users": "test users",
    "targets.test.share_of_users": "their share of all users with test targets",
    "train.seconds": "training time, seconds (without compilation and validation)",
    "train.compile_seconds": "compilation time, seconds",
    "train.trained_events_per_second": "events trained a second",
    "train.steps": "optimiser steps",
    "train.best_step": "step that was kept",
}


def facts(tree: dict) -> dict[str, str]:
    """{label: text} of all leaves of a nested dict, in their order."""
    return {_label(path): _text(path, value) for path, value in _flatten(tree).items()}


def _flatten(tree: dict, prefix: str = "") -> dict:
    """Leaves by the path of their keys, joined with dots."""
    leaves = {}
    for key, value in tree.items():
        path = f"{prefix}.{key}" if prefix else str(key)
        leaves |= _flatten(value, path) if isinstance(value, dict) else {path: value}
    return leaves


def _label(path: str) -> str:
    """Settings keep the name of their option; what was measured has a name in words."""
    section, _, rest = path.partition(".")
    if section == "config":
        return rest
    return _LABELS.get(path, rest.replace(".", ", ").replace("_", " "))


def _text(path: str, value: object) -> str:
    if path.startswith("data.time_") and isinstance(value, int):
        return _date(value)
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    if value is None:
        return "none"
    if path.endswith("_year"):
        return str(value)  # 1990, not 1,990
    if isinstance(value, bool | str):  # a bool is an int, too
        return str(value)
    if isinstance(value, float):
        # Four digits, but no exponents.
        return f"{value:,.4g}" if abs(value) < 1000 else f"{value:,.0f}"
    return f"{value:,}"


def _date(seconds: int) -> str:
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d")
    except (ValueError, OverflowError, OSError):  # beyond the calendar, as milliseconds are
        return f"{seconds:,} s"
