"""Figures of the report as SVG text that takes its ink from the page, so that dark mode works.

Matplotlib draws (it is imported late: half a second); ids and metadata are fixed, so equal input gives equal text.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from typing import Any

_INK, _ACCENT, _SECOND = "#010203", "#2f6fdb", "#d9822b"  # _INK becomes currentColor
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "socialrec_jax",
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.15,
    "grid.color": _INK,
    **dict.fromkeys(["text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"], _INK),
}

Curve = Sequence[tuple[float, float]]


def curves(loss: Curve, validation: Curve, best_step: int | None) -> str:
    """Training loss and validation NDCG@10 over steps, side by side; the best step is marked."""
    import matplotlib as mpl

    with mpl.rc_context(_STYLE):
        figure, (left, right) = _axes(1, 2, (9.2, 3.0))
        left.plot(*zip(*loss, strict=True) if loss else ([], []), color=_ACCENT, linewidth=1.2)
        left.set(xlabel="optimiser step", ylabel="training loss (nats)")
        right.plot(*zip(*validation, strict=True) if validation else ([], []), color=_SECOND, marker="o", markersize=3)
        if best_step:
            right.axvline(best_step, color=_INK, linewidth=0.8, linestyle=":")
        right.set(xlabel="optimiser step (dotted: the best)", ylabel="validation NDCG@10")
        right.set_ylim(bottom=0)
        return _svg(figure)


def bars(title: str, values: dict[str, dict[str, float]], counts: dict[str, int]) -> str:
    """Grouped horizontal bars: values[series][group], with each group's number of users beside its name."""
    import matplotlib as mpl

    series, groups = list(values), list(counts)
    height = 0.8 / len(series)
    with mpl.rc_context(_STYLE):
        figure, axis = _axes(1, 1, (9.2, 0.7 + 0.55 * len(groups)))
        for row, (name, colour) in enumerate(zip(series, (_ACCENT, _SECOND), strict=False)):
            places = [place + (row - (len(series) - 1) / 2) * height for place in range(len(groups))]
            drawn = axis.barh(places, [values[name][group] for group in groups], height * 0.9, color=colour, label=name)
            axis.bar_label(drawn, fmt="%.3f", padding=3, fontsize=8, color=_INK)
        axis.set_yticks(range(len(groups)), [f"{group} ({counts[group]:,})" for group in groups])
        axis.invert_yaxis()
        axis.set_xlabel(title)
        axis.margins(x=0.12)
        axis.grid(visible=False, axis="y")
        figure.legend(loc="outside upper right", ncols=len(series), frameon=False)
        return _svg(figure)


def _axes(rows: int, columns: int, size: tuple[float, float]):
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasSVG(figure)
    return figure, figure.subplots(rows, columns)


def _svg(figure) -> str:
    buffer = io.StringIO()
    metadata = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    figure.savefig(buffer, format="svg", transparent=True, metadata=metadata)
    text = buffer.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    text = re.sub(r'<svg [^>]*viewBox="([^"]*)"[^>]*>', r'<svg viewBox="\1" role="img">', text, count=1)
    return text.replace(_INK, "currentColor")
