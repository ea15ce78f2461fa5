"""Settings of `train.py --add`."""

from __future__ import annotations

import dataclasses
from typing import Annotated

from typing_extensions import Doc

from socialrec_jax.config.ranges import Range


@dataclasses.dataclass(frozen=True, kw_only=True)
class UpdateConfig:
    """How a trained model learns from new tables (`--add`), and what is refused."""

    epochs: Annotated[
        int, Range(0, 1000, "Passes over new and replayed events; 0: append and do not train")
    ] = 8
    learning_rate_share: Annotated[
        float, Range(1e-3, 1, "Peak learning rate, as a share of that of the first training")
    ] = 0.25
    replay: Annotated[float, Range(0, 1000, "Replayed old events for each new one")] = 16.0
    replay_half_life: Annotated[
        float,
        Range(
            1e-3, 1000, "Age at which a history is replayed half as often, in spans of all events"
        ),
    ] = 0.25
    held_out: Annotated[
        float, Range(0.05, 0.5, "Newest share of the new events, which compares old and new model")
    ] = 0.2
    ranker: Annotated[
        bool, Doc("Train the ranker on the new events at each append, before the retriever.")
    ] = True
    least_accuracy: Annotated[
        float,
        Range(0, 1, "Refuse events that are predicted worse than this share of what is expected"),
    ] = 0.4
    max_rate: Annotated[
        float, Range(1, 1e9, "Refuse tables with more than so many times the usual events a day")
    ] = 20.0
    max_type_drift: Annotated[
        float, Range(0, 1, "Refuse other shares of event types: half the sum of differences")
    ] = 0.5
    max_known_share: Annotated[
        float, Range(0, 1, "Refuse tables with more than this share of events that are known")
    ] = 0.5


UPDATE = UpdateConfig()  # the defaults
