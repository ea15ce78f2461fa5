"""The page of the feedback loop: accuracy day by day, time, and what was promoted or refused."""

from __future__ import annotations

from jinja2 import Environment, PackageLoader
from markupsafe import Markup

from socialrec_jax.reports.figures import BASELINE, INK, MODEL, as_svg, drawing
from socialrec_jax.reports.html import stylesheet

_COLOURS = (BASELINE, MODEL, INK)


def page(results: dict) -> str:
    """The HTML of the results of `benchmarks.loop`."""
    environment = Environment(
        loader=PackageLoader("benchmarks.output"), autoescape=True, trim_blocks=True
    )
    # The style sheet and the figure are made here, so they are trusted; all else is escaped.
    environment.globals["style"] = Markup(stylesheet())
    accepted = [day for day in results["days"] if day["accepted"]]
    models = list(dict.fromkeys(name for day in accepted for name in day["accuracy"]))
    return environment.get_template("loop.html").render(
        days=results["days"],
        models=models,
        summary=summary(accepted, models),
        figure=_curves(accepted, models),
    )


def summary(accepted: list[dict], models: list[str]) -> list[dict]:
    """Means of each model over the days on which all models were evaluated."""
    days = [day for day in accepted if all(name in day["accuracy"] for name in models)]
    return [_means(days, name) for name in models] if days else []


def _means(days: list[dict], name: str) -> dict:
    rows = [day["accuracy"][name] for day in days]
    new_items = sum(row["events with new items"] for row in rows)
    hits = sum(row["hits with new items"] for row in rows)
    seconds, used = (_mean_of(days, key, name) for key in ("seconds", "processor_seconds"))
    return {
        "model": name,
        "days": len(rows),
        "ndcg": sum(row["ndcg@10"] for row in rows) / len(rows),
        "hr": sum(row["hr@10"] for row in rows) / len(rows),
        "new": hits / max(new_items, 1),
        "seconds": seconds,
        "processor_seconds": used,
    }


def _mean_of(days: list[dict], key: str, name: str) -> float:
    """The mean of a model's values under a key, over the days that have one; 0 without any."""
    values = [day[key][name] for day in days if name in day.get(key, {})]
    return sum(values) / max(len(values), 1)


def _curves(accepted: list[dict], models: list[str]) -> Markup:
    """NDCG@10 of each model over the days."""
    with drawing("loop", 2.9) as (figure, axis):
        for name, colour in zip(models, _COLOURS, strict=False):
            points = [
                (day["number"], day["accuracy"][name]["ndcg@10"])
                for day in accepted
                if name in day["accuracy"]
            ]
            axis.plot(*zip(*points, strict=True), color=colour, marker="o", label=name)
        axis.set(xlabel="day", ylabel="NDCG@10 before learning the day")
        # From zero, with room for the markers at the top; there are no half days.
        axis.set_ylim(0, 1.1 * axis.get_ylim()[1])
        axis.locator_params(axis="x", integer=True)
        axis.legend(frameon=False, fontsize=8)
        return as_svg(figure, "NDCG@10 of each model by day")
