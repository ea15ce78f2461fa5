"""The pytrees that every room speaks: data makes a Batch, models turn it into states and scores,
losses read both.
"""

from __future__ import annotations

from flax import struct

from socialrec_jax.shapes import Array, Bools, Floats, Ints


class FriendTrees(struct.PyTreeNode):
    """Who stands around each of Q users: the user (the root), up to a friends, and up to b friends
    of each of those.

    n = 1 + a + a b nodes in this order, absent ones included, so that all trees have one shape and
    one topology: node 1 + i is the root's friend i, node 1 + a + i b + j the friend j of that
    friend. Node 1 + e informs its parent over edge e. `*P` stands for leading axes, as in Batch.
    """

    users: Ints[Array, "*P Q n"]  # -1 = absent
    items: Ints[
        Array, "*P Q n r"
    ]  # the node's last items before the moment, newest first; read with exists
    ages: Ints[Array, "*P Q n r"]  # seconds from the item's event to the moment
    exists: Bools[Array, "*P Q n r"]
    edges: Floats[Array, "*P Q m"]  # m = n - 1 normalised weights, 0 = absent
    fan_out: tuple[int, int] = struct.field(pytree_node=False)  # (a, b)


class Columns(struct.PyTreeNode):
    """N events, user by user, oldest first: what batches are cut from."""

    users: Ints[Array, "N"]
    items: Ints[Array, "N"]
    event_types: Ints[Array, "N"]
    times: Ints[Array, "N"]


class PackedIndices(struct.PyTreeNode):
    """Which event stands where in B packed rows: a Batch without its columns, for devices that have
    them already.
    """

    row_ids: Ints[Array, "*P B"]  # see Batch
    segments: Ints[Array, "*P B T"]
    sources: Ints[Array, "*P B T"]  # row into the events, 0 where padding
    social_positions: Ints[Array, "*P B q"] | None = None
    friends: FriendTrees | None = None


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
    request_times: Ints[
        Array, "*P B T"
    ]  # when the next event is asked for; its own time in training
    targets: Ints[Array, "*P B T"]  # the next item
    target_types: Ints[Array, "*P B T"]
    weights: Floats[Array, "*P B T"]  # of the target, 0 = do not learn
    social_positions: Ints[Array, "*P B q"] | None = (
        None  # the positions whose state takes in friends, distinct within a row
    )
    friends: FriendTrees | None = None  # of the asked positions [*P B q]

    def check(self) -> None:
        """Raise ValueError on a batch that no room could have meant (host only; costs a pass over
        the data).
        """
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
                raise ValueError(
                    f"Batch.{name} has shape {getattr(self, name).shape}, segments have {shape}"
                )
        if self.row_ids.shape != shape[:-1]:
            raise ValueError(f"Batch.row_ids has shape {self.row_ids.shape}, segments have {shape}")
        if ((self.weights > 0) & (self.segments == 0)).any():
            raise ValueError("Batch has targets with weight on padding")


class Candidates(struct.PyTreeNode):
    """C items for each of Q users, and what the ranker is told of them."""

    states: Floats[Array, "*P Q D"]  # the user, from the retriever
    items: Ints[Array, "*P Q C"]
    exists: Bools[Array, "*P Q C"]
    features: Floats[Array, "*P Q C S"]  # see data.signals


class LabelledCandidates(struct.PyTreeNode):
    """Candidates with what happened next: what the ranker learns from."""

    candidates: Candidates
    labels: Floats[Array, "*P Q C A"]  # 1 where the user did this to the item
    weights: Floats[Array, "*P Q M"]  # of the query for each of M rankers trained side by side


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
