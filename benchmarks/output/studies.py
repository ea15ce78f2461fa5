"""Tables of the suites `quality` and `peers`."""

from __future__ import annotations

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


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_shown(inner)}" for name, inner in value.items())
    if isinstance(value, float):
        return f"{value:,.0f}" if value > 10 else f"{value:.4f}"
    return f"{value:,}" if isinstance(value, int) else str(value)
