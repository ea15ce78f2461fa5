"""The pytrees that rooms exchange: data makes a Batch, models give states and scores, losses read
both.

`*P` stands for leading axes that device calls add: devices, then steps.
"""

from __future__ import annotations

from flax import struct

from socialrec_jax.shapes import Array, Bools, Floats, Ints


class FriendTrees(struct.PyTreeNode):
    """The friends around each of Q users: the user (the root), up to a friends, and up to b friends
    of each of those.

    All trees have n = 1 + a + a b nodes in one order, absent ones included, and so one topology:
    node 1 + i is the root's friend i, and node 1 + a + i b + j the friend j of that friend. Edge e
    leads from node 1 + e to its parent.
    """

    users: Ints[Array, "*P Q n"]  # -1 = absent
    items: Ints[Array, "*P Q n r"]  # the last items before the query time, newest first
    ages: Ints[Array, "*P Q n r"]  # seconds from the item's event to the query time
    exists: Bools[Array, "*P Q n r"]  # which items and ages are real
    edges: Floats[Array, "*P Q m"]  # m = n - 1 normalised weights, 0 = absent
    fan_out: tuple[int, int] = struct.field(pytree_node=False)  # (a, b)


class Columns(struct.PyTreeNode):
    """N events, user by user, oldest first: the columns that batches are gathered from."""

    items: Ints[Array, "N"]
    event_types: Ints[Array, "N"]
    times: Ints[Array, "N"]


class PackedIndices(struct.PyTreeNode):
    """The events of B packed rows by their numbers: a Batch for devices that hold the Columns."""

    row_ids: Ints[Array, "*P B"]  # see Batch
    segments: Ints[Array, "*P B T"]  # see Batch
    sources: Ints[Array, "*P B T"]  # row into the events, 0 where padding
    social_positions: Ints[Array, "*P B q"] | None = None
    friends: FriendTrees | None = None


class Batch(struct.PyTreeNode):
    """B packed rows of T events. A row holds windows of several users; segment 0 is padding."""

    row_ids: Ints[Array, "*P B"]  # row number in the global batch: a key of the row's dropout
    segments: Ints[Array, "*P B T"]  # 1.. number of the window in its row, 0 = padding
    items: Ints[Array, "*P B T"]  # 0 where padding; read together with segments
    event_types: Ints[Array, "*P B T"]
    times: Ints[Array, "*P B T"]  # seconds since the World's first event
    request_times: Ints[Array, "*P B T"]  # of the request after the event; in training, of the next
    targets: Ints[Array, "*P B T"]  # the next item
    target_types: Ints[Array, "*P B T"]
    weights: Floats[Array, "*P B T"]  # of the target in the loss
    # The positions whose states take in friends, distinct within a row, and their trees [*P B q].
    social_positions: Ints[Array, "*P B q"] | None = None
    friends: FriendTrees | None = None

    def check(self) -> None:
        """Raise ValueError on an inconsistent batch (host only; costs a pass over the data)."""
        shape = self.segments.shape
        for name in _LIKE_SEGMENTS:
            found = getattr(self, name).shape
            if found != shape:
                raise ValueError(f"Batch.{name} has shape {found}, segments have {shape}")
        if self.row_ids.shape != shape[:-1]:
            raise ValueError(f"Batch.row_ids has shape {self.row_ids.shape}, segments have {shape}")
        if ((self.weights > 0) & (self.segments == 0)).any():
            raise ValueError("Batch has targets with weight on padding")


_LIKE_SEGMENTS = (
    "items",
    "event_types",
    "times",
    "request_times",
    "targets",
    "target_types",
    "weights",
)


class Candidates(struct.PyTreeNode):
    """C candidate items of each of Q users, with the ranker's features."""

    states: Floats[Array, "*P Q D"]  # of the user, from the retriever
    items: Ints[Array, "*P Q C"]
    exists: Bools[Array, "*P Q C"]
    features: Floats[Array, "*P Q C S"]  # see data.features.ranker_features


class LabelledCandidates(struct.PyTreeNode):
    """Candidates with the events that followed: the ranker's training data."""

    candidates: Candidates
    # 1 where the user did this to the item; in lists that were shown, divided by how likely the
    # user looked at its place
    labels: Floats[Array, "*P Q C A"]
    weights: Floats[Array, "*P Q M"]  # of the query for each of M rankers trained side by side
    calibration_weights: Floats[Array, "*P Q M"]  # the same for the probabilities


class TextBatch(struct.PyTreeNode):
    """B packed rows of L text tokens. A row holds several products' texts; segment 0 is padding."""

    tokens: Ints[Array, "*P B L"]  # 0 where padding; read together with segments
    segments: Ints[Array, "*P B L"]  # 1.. number of the text in its row, 0 = padding


class Sums(struct.PyTreeNode):
    """A weighted mean in two parts: add both over batches and devices, then divide once."""

    total: Floats[Array, "*P"]
    weight: Floats[Array, "*P"]

    def mean(self) -> Array:
        return self.total / self.weight
