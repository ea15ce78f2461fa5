"""Small figures of the pages, as SVG that takes its colours from the page, so that dark mode works.

All have one size, which a phone shows at about its natural scale and a wide page sets side by side.
Matplotlib draws them. Ids and metadata are fixed, so that equal input gives equal text.
"""

from __future__ import annotations

import contextlib
import html
import io
import itertools
import re
from collections.abc import Iterator, Sequence
from typing import Any

from markupsafe import Markup

_WIDTH = 4.6  # inches

# Colours that are drawn, and what the page replaces them by.
INK, MODEL, BASELINE, THIRD, FOURTH = "#010203", "#2f6fdb", "#d9822b", "#2b8a5f", "#9a4fb5"
_ON_PAGE = {
    INK: "currentColor",
    MODEL: "var(--model)",
    BASELINE: "var(--baseline)",
    THIRD: "var(--third)",
    FOURTH: "var(--fourth)",
}

_COLOURS = (MODEL, BASELINE, THIRD, FOURTH)

_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "text.parse_math": False,  # a $ in a name is a $
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.alpha": 0.15,
    "grid.color": INK,
    **dict.fromkeys(
        ["text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"], INK
    ),
}

Curve = Sequence[tuple[float, float]]


def loss_curve(points: Curve) -> Markup:
    """Training loss in nats over optimiser steps."""
    with drawing("training loss (nats)", 2.9) as (figure, axis):
        axis.plot(*zip(*points, strict=True), color=MODEL, linewidth=1.2)
        axis.set(xlabel="optimiser step", ylabel="training loss (nats)")
        return as_svg(figure, "training loss over optimiser steps")


def validation_curve(points: Curve, best_step: int | None) -> Markup:
    """Validation NDCG@10 over optimiser steps, from zero; a dotted line marks the step that was
    kept.
    """
    with drawing("validation", 2.9) as (figure, axis):
        axis.plot(*zip(*points, strict=True), color=MODEL, marker="o", markersize=3, linewidth=1.2)
        if best_step is not None:
            axis.axvline(best_step, color=INK, linewidth=0.8, linestyle=":")
        axis.set(xlabel="optimiser step", ylabel="validation NDCG@10")
        axis.set_ylim(bottom=0)
        return as_svg(figure, "validation NDCG@10 over optimiser steps")


def bars(title: str, values: dict[str, dict[str, float]], counts: dict[str, int]) -> Markup:
    """One or two bars a group, values[series][group], with each group's count beside its name."""
    groups, num_series = list(counts), len(values)
    thickness = 0.8 / num_series
    with drawing(title, 0.9 + 0.42 * len(groups)) as (figure, axis):
        for number, (name, colour) in enumerate(zip(values, (MODEL, BASELINE), strict=False)):
            offset = (number - (num_series - 1) / 2) * thickness
            places = [group + offset for group in range(len(groups))]
            widths = [values[name][group] for group in groups]
            drawn = axis.barh(places, widths, thickness * 0.9, color=colour, label=name)
            axis.bar_label(drawn, fmt="%.4f", padding=3, fontsize=8, color=INK)

        _label_groups(axis, title, counts)
        # Room for the figures at the ends of the bars.
        widest = max([1e-4, *(v for series in values.values() for v in series.values())])
        axis.set_xlim(0, widest * 1.2)
        figure.legend(loc="outside upper right", ncols=num_series, frameon=False)
        return as_svg(figure, f"{title} by segment")


def _label_groups(axis, title: str, counts: dict[str, int]) -> None:
    labels = [f"{group} ({count:,})" for group, count in counts.items()]
    axis.set_yticks(range(len(counts)), labels)
    axis.invert_yaxis()
    axis.set_xlabel(title)
    axis.locator_params(axis="x", nbins=5)
    axis.grid(visible=False, axis="y")


def reliability(curves: dict[str, Sequence[tuple[float, float, int]]]) -> Markup:
    """Predicted probability against the share of positives, a curve an event type, on logarithmic
    axes; the diagonal is perfect.
    """
    with drawing("reliability", 3.2) as (figure, axis):
        # Markers tell curves apart in print, and where colours come again.
        styles = zip(itertools.cycle(_COLOURS), itertools.cycle("osd^vx"))
        for (name, curve), (colour, marker) in zip(curves.items(), styles, strict=False):
            # A logarithmic axis has no place for a group without positives.
            points = [(predicted, observed) for predicted, observed, _ in curve if observed > 0]
            if points:
                style = {"marker": marker, "markersize": 3.5, "linewidth": 1}
                axis.plot(*zip(*points, strict=True), color=colour, label=name, **style)

        axis.axline((1e-3, 1e-3), (1e-2, 1e-2), color=INK, linewidth=0.8, linestyle=":")
        axis.set(xlabel="predicted probability", ylabel="share of positives")
        _make_logarithmic(axis)
        axis.legend(frameon=False, fontsize=8)
        return as_svg(figure, "predicted probabilities against shares of positives")


def _make_logarithmic(axis) -> None:
    axis.set(xscale="log", yscale="log")
    for side in (axis.xaxis, axis.yaxis):  # the usual labels of logarithmic axes are formulas
        side.set_major_formatter(lambda value, _: f"{value:g}")
        side.set_minor_formatter(lambda *_: "")


@contextlib.contextmanager
def drawing(salt: str, height: float) -> Iterator[tuple[Any, Any]]:
    """A figure with one axis; salt makes its ids differ from those of the page's other figures."""
    # Imported late: half a second.
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    style: dict[Any, Any] = _STYLE | {"svg.hashsalt": salt}
    with mpl.rc_context(style):
        figure = Figure(figsize=(_WIDTH, height), layout="constrained")
        FigureCanvasSVG(figure)
        yield figure, figure.subplots()


def as_svg(figure, label: str) -> Markup:
    """The figure as an element of the page; label: what it shows, for screen readers."""
    text = _svg_text(figure)

    # Nothing refers to groups, and all figures have the same ids for them.
    text = re.sub(r'<g id="[^"]*"', "<g", text)

    # The page decides the size, and a screen reader reads the label.
    head = rf'<svg viewBox="\1" role="img" aria-label="{html.escape(label)}">'
    text = re.sub(r'<svg [^>]*viewBox="([^"]*)"[^>]*>', head, text, count=1)
    text = re.sub("|".join(_ON_PAGE), lambda colour: _ON_PAGE[colour[0]], text)
    return Markup(text)  # matplotlib has escaped the names in it


def _svg_text(figure) -> str:
    """The svg element that matplotlib writes, without the XML head and metadata."""
    buffer = io.StringIO()
    no_metadata = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    figure.savefig(buffer, format="svg", transparent=True, metadata=no_metadata)

    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    return re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
