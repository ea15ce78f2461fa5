"""Tables of the suites `quality`, `peers` and `scale-host`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks.output.tables import Table

# The models that an arm trains; baselines are the same in every arm.
_RANKED_MODELS = ("ranker", "retriever")
_PEER_COLUMNS = {
    "trained_targets_per_second": "targets/s",
    "trained_targets_per_cpu_second": "targets/CPU s",
    "real_positions": "real positions",
    "validation_ndcg_10": "validation NDCG@10",
    "seconds_to_goal": "s to the first one's best",
    "users_per_second": "users/s",
    "tokens_per_second": "tokens/s",
    "edge_visits_per_second": "edge visits/s",
    "peak_memory_mb": "peak MB",
}


def quality_table(results: dict, part: str = "test") -> Table:
    """An arm and model a row; the baselines' figures are from the first arm alone."""
    first_arm = next(iter(results))
    rows, metrics = [], []
    for arm, parts in results.items():
        for model, values in parts[part].items():
            metrics = list(values)
            if arm == first_arm or model in _RANKED_MODELS:
                cells = [f"{m['mean']:.4f} ± {m['deviation']:.4f}" for m in values.values()]
                rows.append([arm, model, *cells])
    return Table(["arm", "model", *metrics], rows)


def peers_table(rows: list[dict[str, Any]]) -> Table:
    """What can be compared within each task."""
    lines = []
    for row in rows:
        system = row["system"]
        if "reason" in row:
            # One that did not run says why.
            system = f"{system} ({row['reason']})"
        cells = [_shown(row.get(name, "")) for name in _PEER_COLUMNS]
        lines.append([row.get("workload", row["task"]), system, *cells])
    return Table(["task", "system", *_PEER_COLUMNS.values()], lines)


def growth_table(growths: Sequence[Any]) -> Table:
    """A piece a row: processor microseconds and bytes of a unit in each shop, and how both grow.

    growths: those of `benchmarks.suites.scale_host`, of the same shops.
    """
    shops = [f"{cost.items:,}" for cost in growths[0].costs]
    columns = ["piece", "unit", *(f"us, V = {shop}" for shop in shops), "ratio", "exponent"]
    columns += [*(f"bytes, V = {shop}" for shop in shops), "exponent of bytes"]
    return Table(columns, list(map(_growth_row, growths)))


def _growth_row(growth: Any) -> list[str]:
    seconds = [f"{1e6 * cost.cpu_seconds:,.1f}" for cost in growth.costs]
    num_bytes = [f"{cost.bytes:,.0f}" for cost in growth.costs]
    figures = [*seconds, f"{growth.ratio:.2f}", f"{growth.exponent:.2f}", *num_bytes]
    return [growth.piece, growth.unit, *figures, f"{growth.exponent_of_bytes:.2f}"]


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_shown(inner)}" for name, inner in value.items())
    if isinstance(value, float):
        return f"{value:,.0f}" if value > 10 else f"{value:.4f}"
    return f"{value:,}" if isinstance(value, int) else str(value)
