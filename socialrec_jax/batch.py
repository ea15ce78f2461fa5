"""The pytrees that every room speaks: data makes a Batch, models turn it into states and scores, losses read both."""

from __future__ import annotations

import jraph
from flax import struct

from socialrec_jax.shapes import Array, Floats, Ints


class Batch(struct.PyTreeNode):
    """B packed rows of T events. A row holds several users' windows; segment 0 is padding.

    A leading `*P` stands for the axes that device calls add: devices, then steps.
    """

    row_ids: Ints[Array, "*P B"]  # position in the global batch: keys the row's dropout
    segments: Ints[Array, "*P B T"]  # 1.. number of the window within its row, 0 = padding
    users: Ints[Array, "*P B T"]
    items: Ints[Array, "*P B T"]  # 0 where padding; read together with segments
    event_types: Ints[Array, "*P B T"]
    times: Ints[Array, "*P B T"]  # seconds since the World's first event
    request_times: Ints[Array, "*P B T"]  # when the next event is asked for; its own time in training
    targets: Ints[Array, "*P B T"]  # the next item
    target_types: Ints[Array, "*P B T"]
    weights: Floats[Array, "*P B T"]  # of the target, 0 = do not learn
    friends: jraph.GraphsTuple | None = None

    def check(self) -> None:
        """Raise ValueError on a batch that no room could have meant (host only; costs a pass over the data)."""
        shape = self.segments.shape
        for name in (
            "users",
            "items",
            "event_types",
            "times",
            "request_times",
            "targets",
            "target_types",
            "weights",
        ):
            if getattr(self, name).shape != shape:
                raise ValueError(f"Batch.{name} has shape {getattr(self, name).shape}, segments have {shape}")
        if self.row_ids.shape != shape[:-1]:
            raise ValueError(f"Batch.row_ids has shape {self.row_ids.shape}, segments have {shape}")
        if ((self.weights > 0) & (self.segments == 0)).any():
            raise ValueError("Batch has targets with weight on padding")


class TextBatch(struct.PyTreeNode):
    """B packed rows of L text tokens. A row holds several products' texts; segment 0 is padding."""

    tokens: Ints[Array, "*P B L"]  # 0 where padding; read together with segments
    segments: Ints[Array, "*P B L"]  # 1.. number of the text within its row, 0 = padding


class Sums(struct.PyTreeNode):
    """A mean still in two parts: add both over batches and devices, then divide once."""

    total: Floats[Array, "*P"]
    weight: Floats[Array, "*P"]

    def mean(self) -> Array:
        return self.total / self.weight
