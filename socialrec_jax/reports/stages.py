"""The timeline of a run on its page: a bar for each stage, in parts."""

from __future__ import annotations

import dataclasses

# Fields of a stage in report.json, and what people read.
TIMELINE_LABELS = {
    "seconds": "clock",
    "host_seconds": "host",
    "compile_seconds": "compiling",
    "device_seconds": "device",
    "programs": "programs",
    "compiled": "not cached",
}

# The parts of a bar, in their order; each is a class of the stylesheet.
_PARTS = {"host_seconds": "host", "compile_seconds": "compiling", "device_seconds": "device"}


@dataclasses.dataclass(frozen=True)
class StageBar:
    """One line of the picture."""

    stage: str
    label: str
    parts: dict[str, float]  # % of the longest stage, by class
    programs: str


def stage_bars(timeline: dict) -> list[StageBar]:
    """Bars of all stages, the longest as wide as the picture; [] without a timeline."""
    stages = timeline.get("stages", [])
    longest = max((stage["seconds"] for stage in stages), default=0) or 1
    return [_bar(stage, longest) for stage in stages]


def _bar(stage: dict, longest: float) -> StageBar:
    parts = {name: round(100 * stage[field] / longest, 2) for field, name in _PARTS.items()}
    number = stage["programs"]
    programs = f"{number} program{'s' if number > 1 else ''}" if number else ""
    return StageBar(stage["stage"], f"{stage['seconds']:,.1f} s", parts, programs)


def timeline_summary(timeline: dict) -> str:
    """Sums over all stages, in a line."""
    stages = timeline.get("stages", [])

    def total(field: str) -> float:
        return sum(stage[field] for stage in stages)

    processes = timeline.get("processes", 1)
    resumed = f", in {processes} starts of the program" if processes > 1 else ""
    return (
        f"{total('seconds'):,.0f} s{resumed}: {total('host_seconds'):,.0f} s on the host, "
        f"{total('compile_seconds'):,.0f} s compiling, "
        f"{total('device_seconds'):,.0f} s waiting for devices. "
        f"{total('programs')} programs, {total('compiled')} of them not in the cache."
    )
