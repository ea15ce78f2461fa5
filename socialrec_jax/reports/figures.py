"""Small figures of the report as SVG text that takes its colours from the page, so that dark mode
works.

All have one size, which a phone shows at about its natural scale and a wide page sets side by side.
Matplotlib draws (it is imported late: half a second); ids and metadata are fixed, so equal input
gives equal text.
"""

from __future__ import annotations

import contextlib
import html
import io
import itertools
import re
from collections.abc import Iterator, Sequence
from typing import Any

_WIDTH = 4.6  # inches
INK, OURS, BASELINE = "#010203", "#2f6fdb", "#d9822b"
_ON_PAGE = {INK: "currentColor", OURS: "var(--ours)", BASELINE: "var(--rival)"}
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


def loss_curve(points: Curve) -> str:
    """Training loss in nats over optimiser steps."""
    with drawing("training loss (nats)", 2.9) as (figure, axis):
        axis.plot(*zip(*points, strict=True), color=OURS, linewidth=1.2)
        axis.set(xlabel="optimiser step", ylabel="training loss (nats)")
        return as_svg(figure, "training loss over optimiser steps")


def validation_curve(points: Curve, best_step: int | None) -> str:
    """Validation NDCG@10 over optimiser steps, from zero; a dotted line marks the step that was
    kept.
    """
    with drawing("validation", 2.9) as (figure, axis):
        axis.plot(*zip(*points, strict=True), color=OURS, marker="o", markersize=3, linewidth=1.2)
        if best_step is not None:
            axis.axvline(best_step, color=INK, linewidth=0.8, linestyle=":")
        axis.set(xlabel="optimiser step", ylabel="validation NDCG@10")
        axis.set_ylim(bottom=0)
        return as_svg(figure, "validation NDCG@10 over optimiser steps")


def bars(title: str, values: dict[str, dict[str, float]], counts: dict[str, int]) -> str:
    """One or two bars a group, values[series][group], with each group's count beside its name."""
    series, groups = list(values), list(counts)
    thickness = 0.8 / len(series)
    with drawing(title, 0.9 + 0.42 * len(groups)) as (figure, axis):
        for row, (name, colour) in enumerate(zip(series, (OURS, BASELINE), strict=False)):
            places = [
                place + (row - (len(series) - 1) / 2) * thickness for place in range(len(groups))
            ]
            widths = [values[name][group] for group in groups]
            drawn = axis.barh(places, widths, thickness * 0.9, color=colour, label=name)
            axis.bar_label(drawn, fmt="%.4f", padding=3, fontsize=8, color=INK)
        axis.set_yticks(range(len(groups)), [f"{group} ({counts[group]:,})" for group in groups])
        axis.invert_yaxis()
        axis.set_xlabel(title)
        axis.set_xlim(
            0, max([1e-4, *(v for of_series in values.values() for v in of_series.values())]) * 1.2
        )
        axis.locator_params(axis="x", nbins=5)
        axis.grid(visible=False, axis="y")
        figure.legend(loc="outside upper right", ncols=len(series), frameon=False)
        return as_svg(figure, f"{title} by segment")


def reliability(curves: dict[str, Sequence[tuple[float, float, int]]]) -> str:
    """Predicted chance against what came true, a curve an event type, on logarithmic axes; the
    diagonal is perfect.
    """
    with drawing("reliability", 3.2) as (figure, axis):
        for (name, curve), marker in zip(curves.items(), itertools.cycle("osd^vx")):
            points = [(predicted, observed) for predicted, observed, _ in curve if observed > 0]
            if points:
                axis.plot(
                    *zip(*points, strict=True),
                    color=OURS,
                    marker=marker,
                    markersize=3.5,
                    linewidth=1,
                    label=name,
                )
        axis.axline((1e-3, 1e-3), (1e-2, 1e-2), color=INK, linewidth=0.8, linestyle=":")
        axis.set(
            xscale="log", yscale="log", xlabel="predicted chance", ylabel="share that came true"
        )
        for side in (axis.xaxis, axis.yaxis):  # the usual labels of logarithmic axes are formulas
            side.set_major_formatter(lambda value, _: f"{value:g}")
            side.set_minor_formatter(lambda *_: "")
        axis.legend(frameon=False, fontsize=8)
        return as_svg(figure, "predicted chances against what came true")


@contextlib.contextmanager
def drawing(salt: str, height: float) -> Iterator[tuple[Any, Any]]:
    """A figure with one axis; salt sets its ids apart from those of the page's other figures."""
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    style: dict[Any, Any] = _STYLE | {"svg.hashsalt": salt}
    with mpl.rc_context(style):
        figure = Figure(figsize=(_WIDTH, height), layout="constrained")
        FigureCanvasSVG(figure)
        yield figure, figure.subplots()


def as_svg(figure, label: str) -> str:
    buffer = io.StringIO()
    figure.savefig(
        buffer,
        format="svg",
        transparent=True,
        metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")),
    )
    text = buffer.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    text = re.sub(
        r'<g id="[^"]*"', "<g", text
    )  # nothing refers to groups, and every figure has the same ones
    head = rf'<svg viewBox="\1" role="img" aria-label="{html.escape(label)}">'
    text = re.sub(r'<svg [^>]*viewBox="([^"]*)"[^>]*>', head, text, count=1)
    return re.sub("|".join(_ON_PAGE), lambda colour: _ON_PAGE[colour[0]], text)
