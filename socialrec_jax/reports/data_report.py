"""The data of a run as one self-contained page: what is learnt from, and what may mislead."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from socialrec_jax.data.summary import Bars, Summary, summarize
from socialrec_jax.data.world import World
from socialrec_jax.files import write_atomically
from socialrec_jax.reports import html
from socialrec_jax.reports.facts import facts

_TELLING_ORDER = 0.9  # a rank correlation of ids with time that is worth a warning


@dataclasses.dataclass(frozen=True)
class Chart:
    """Bars of one kind, drawn by the stylesheet; widths are % of the longest bar."""

    title: str
    note: str
    rows: list[tuple[str, float, str]]  # label, width, figure as text


def write_data_report(world: World, file: Path) -> None:
    """Write the page of a World; what the World has nothing of is left out."""
    summary, manifest = summarize(world), world.manifest
    counts = manifest["counts"] | {name: manifest[name] for name in ("time_min", "time_max")}
    page = html.render(
        "data_report.html",
        name=file.resolve().parent.name,
        facts=facts({"data": counts}),
        warnings=_warnings(summary),
        charts=[chart for chart in _charts(summary) if chart.rows],
    )
    write_atomically(file, page)


def _charts(summary: Summary) -> list[Chart]:
    return [
        _counts("Users by number of events", "", summary.events_per_user),
        _counts("Items by number of events", "", summary.events_per_item),
        _shares("Events of the most popular items", "Share of all events.", summary.popular_items),
        _counts("Events by time", "First day of each period, UTC.", summary.periods),
        _counts("Event types", "", summary.event_types),
        _shares("Test events", "Share of all test events.", summary.held_out),
        _counts("Users by number of friends", "", summary.friends_per_user),
        _cosines("Items in common", _COMMON_ITEMS, summary.common_items),
        _counts("Scripts of the titles", "By the first letter, of a sample.", summary.scripts),
        *(_counts(f"Users by {name}", "", bars) for name, bars in summary.attributes.items()),
    ]


_COMMON_ITEMS = (
    "Mean cosine of the items of two users. Where friends have no more in common than the same "
    "users paired at random, a model can learn little from friends."
)


def _counts(title: str, note: str, bars: Bars) -> Chart:
    return _chart(title, note, bars, "{:,.0f}", _longest(bars))


def _shares(title: str, note: str, bars: Bars) -> Chart:
    return _chart(title, note, bars, "{:.2%}", 1)


def _cosines(title: str, note: str, bars: Bars) -> Chart:
    return _chart(title, note, bars, "{:.4f}", _longest(bars))


def _longest(bars: Bars) -> float:
    return max((value for _, value in bars), default=0) or 1


def _chart(title: str, note: str, bars: Bars, figure: str, longest: float) -> Chart:
    """longest: the value of a bar as wide as the picture."""
    rows = [(label, round(100 * value / longest, 2), figure.format(value)) for label, value in bars]
    return Chart(title, note, rows)


def _warnings(summary: Summary) -> list[str]:
    """Sentences on what may mislead an evaluation."""
    found = [
        f"The ids of {table} are in the order of time (rank correlation {value:.2f}). Their "
        "numbers here are not, so no model sees it, but a column made from these ids tells the "
        "future."
        for table, value in summary.order_of_ids.items()
        if abs(value) > _TELLING_ORDER
    ]
    tied = dict(summary.held_out).get("at the same time as the event before", 0)
    if tied > 0.01:
        found.append(
            f"{tied:.1%} of the test events have the time of the event before. Their order is that "
            "of the file, which may tell the answer: the report has them as a segment."
        )
    return found
