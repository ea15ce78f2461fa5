"""Named sizes, each with a `-tiny` twin that a CPU does in a moment, and synthetic data of these
sizes.

Sizes are what a name promises: those of a published model or data set where there is one.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

import numpy as np

from socialrec_jax.config import Config, ModelConfig, TrainConfig
from socialrec_jax.data.batching.friend_sampler import FriendSampler
from socialrec_jax.data.batching.social_positions import SocialPositions
from socialrec_jax.data.batching.training_batches import TrainingBatches
from socialrec_jax.data.world import NO_TIME, Events, Friends

EVENT_TYPES = 4
_SECONDS_BETWEEN_EVENTS = 3600


@dataclasses.dataclass(frozen=True)
class Sequences:
    """Users' histories, and the model that learns from them."""

    name: str
    users: int
    items: int
    mean_length: int  # events of a user: geometric above one third of it
    row_length: int
    rows: int  # of a step
    width: int
    layers: int
    heads: int
    negatives: int  # 0 = full softmax
    dtype: Literal["float32", "bfloat16"] = "float32"
    friends: int = 0  # of each user

    def config(self) -> Config:
        model = ModelConfig(
            width=self.width,
            num_layers=self.layers,
            num_heads=self.heads,
            history_length=self.row_length,
            dropout=0.1,
            compute_dtype=self.dtype,
        )
        train = TrainConfig(
            tokens_per_step=self.rows * self.row_length,
            negatives=self.negatives,
            steps_per_call=1,
        )
        return Config(model=model, train=train)

    def events(self) -> Events:
        """Few items have most of the events (a Zipf law); events are an hour apart."""
        rng = np.random.default_rng(0)
        lengths = self.mean_length // 3 + rng.geometric(1.5 / self.mean_length, self.users)
        offsets = np.concatenate([[0], np.cumsum(np.maximum(lengths, 3))])
        n = int(offsets[-1])
        items = (self.items * rng.random(n) ** 3).astype(np.int32)
        place_in_history = np.arange(n) - np.repeat(offsets[:-1], np.diff(offsets))
        times = 1_000_000 + _SECONDS_BETWEEN_EVENTS * place_in_history
        types = rng.integers(0, EVENT_TYPES, n).astype(np.uint8)
        return Events(offsets, items, times, types, np.ones(n, np.float32))

    def batches(self) -> TrainingBatches:
        events = self.events()
        history_ends = events.offsets[1:]
        social_positions = None
        if self.friends:
            sampler = FriendSampler(events, self._friends(), history_ends)
            social_positions = SocialPositions(sampler, per_row=2, at_request=False)
        return TrainingBatches(
            events,
            history_ends,
            int(events.times.min()),
            self.row_length,
            self.rows,
            0,
            social_positions,
        )

    def _friends(self) -> Friends:
        """Everybody has as many friends, drawn at random."""
        n = self.users * self.friends
        rng = np.random.default_rng(1)
        offsets = np.arange(self.users + 1, dtype=np.int64) * self.friends
        ids = rng.integers(0, self.users, n).astype(np.int32)
        return Friends(offsets, ids, np.ones(n, np.float32), np.full(n, NO_TIME))


@dataclasses.dataclass(frozen=True)
class Texts:
    """Full rows of tokens, and the GPT-2 that learns from them."""

    name: str
    vocabulary: int
    row_length: int
    width: int
    layers: int
    heads: int
    rows: int  # of a step
    dtype: Literal["float32", "bfloat16"] = "float32"


@dataclasses.dataclass(frozen=True)
class Catalogue:
    """A catalogue to search, and its table of ids to train."""

    name: str
    items: int
    width: int
    queries: int  # of a call
    ids: int = 8192  # rows of the table that a training step updates


@dataclasses.dataclass(frozen=True)
class AttentionShape:
    """Packed rows of events, and the heads that attend over them."""

    name: str
    rows: int
    length: int
    heads: int
    head_width: int
    dtype: Literal["float32", "bfloat16"]


@dataclasses.dataclass(frozen=True)
class FriendGraph:
    name: str
    nodes: int
    edges: int
    width: int


_SEQUENCES = (
    # SASRec on MovieLens-1M (Kang and McAuley 2018): 6,040 users, 3,416 items, rows of 200, two
    # blocks, here of width 64.
    Sequences("sasrec-ml1m", 6040, 3416, 163, 200, 128, 64, 2, 1, 0),
    # Amazon Beauty as this package trains it: the base preset and what follows from the data.
    Sequences("beauty-packed", 22363, 12101, 9, 64, 32, 128, 2, 2, 1024),
    # The same users in a catalogue so large that its table is trained row by row.
    Sequences("beauty-500k", 22363, 500_000, 9, 64, 32, 128, 2, 2, 1024),
    # The same users in a catalogue that is most of a host's memory; one layer.
    Sequences("beauty-10m", 22363, 10_000_000, 9, 64, 32, 64, 1, 2, 1024),
    # A model whose step costs less than calling it.
    Sequences("small-step", 22363, 12101, 9, 32, 4, 16, 1, 1, 32),
    # Long histories of many users, as industrial sequence models read them: 512 events a row.
    Sequences("dlrmv4-mini", 100_000, 100_000, 200, 512, 64, 512, 8, 8, 4096, "bfloat16"),
    Sequences("sasrec-ml1m-tiny", 400, 500, 60, 64, 16, 32, 2, 1, 0),
    Sequences("beauty-packed-tiny", 2000, 1000, 9, 32, 16, 32, 2, 2, 256),
    Sequences("beauty-500k-tiny", 2000, 20_000, 9, 32, 16, 32, 2, 2, 256),
    Sequences("beauty-10m-tiny", 2000, 100_000, 9, 32, 16, 32, 1, 2, 256),
    Sequences("small-step-tiny", 2000, 1000, 9, 32, 4, 16, 1, 1, 32),
    Sequences("dlrmv4-mini-tiny", 400, 2000, 200, 256, 4, 64, 2, 2, 256),
)
_TEXTS = (
    Texts("gpt2-small", 50257, 1024, 768, 12, 12, 8),
    Texts("gpt2-small-bf16", 50257, 1024, 768, 12, 12, 8, "bfloat16"),
    Texts("gpt2-small-tiny", 1000, 64, 64, 2, 2, 8),
    Texts("gpt2-small-bf16-tiny", 1000, 64, 64, 2, 2, 8, "bfloat16"),
)
_CATALOGUES = (
    Catalogue("catalogue-10k", 10_000, 64, 256),
    Catalogue("catalogue-1m", 1_000_000, 64, 256),
    Catalogue("catalogue-10m", 10_000_000, 64, 256),
    # So many users that several chunks are under way.
    Catalogue("catalogue-1m-many-users", 1_000_000, 64, 8192),
    Catalogue("catalogue-10k-tiny", 1000, 32, 64, 1024),
    Catalogue("catalogue-1m-tiny", 10_000, 32, 128, 1024),
    Catalogue("catalogue-10m-tiny", 100_000, 32, 64, 1024),
    Catalogue("catalogue-1m-many-users-tiny", 10_000, 32, 256, 1024),
)
# Tables that are trained row by row: ten of 1.68M rows of width 128 side by side, the shape that
# FBGEMM publishes; 2,048 users who look up 20 rows of each table.
_TABLES = (
    Catalogue("rows-16.8m", 16_800_000, 128, 0, 409_600),
    Catalogue("rows-16.8m-tiny", 16_800, 32, 0, 4096),
)
_ATTENTION_SHAPES = (
    AttentionShape("64x512x8x64-bf16", 64, 512, 8, 64, "bfloat16"),
    AttentionShape("256x128x4x64-bf16", 256, 128, 4, 64, "bfloat16"),
    AttentionShape("128x200x1x64-f32", 128, 200, 1, 64, "float32"),
    AttentionShape("64x512x8x64-bf16-tiny", 4, 64, 2, 16, "bfloat16"),
    AttentionShape("256x128x4x64-bf16-tiny", 4, 32, 2, 16, "bfloat16"),
    AttentionShape("128x200x1x64-f32-tiny", 4, 40, 1, 16, "float32"),
)
_GRAPHS = (
    FriendGraph("gcn-1m-10m", 1_000_000, 10_000_000, 64),
    FriendGraph("gcn-1m-10m-tiny", 10_000, 100_000, 32),
)

SEQUENCES = {workload.name: workload for workload in _SEQUENCES}
TEXTS = {workload.name: workload for workload in _TEXTS}
CATALOGUES = {workload.name: workload for workload in _CATALOGUES}
TABLES = {workload.name: workload for workload in _TABLES}
ATTENTION_SHAPES = {workload.name: workload for workload in _ATTENTION_SHAPES}
GRAPHS = {workload.name: workload for workload in _GRAPHS}
TINY = "-tiny"


# A shape up to so many positions times layers is its own reference.
_SMALL = 2048
_FEW_USERS, _FEW_ITEMS, _FEW_NEGATIVES, _FEW_ROWS = 400, 2000, 256, 4


def reduced(workload: Sequences | Texts, least_rows: int = 1) -> Sequences | Texts:
    """The shape at which results are compared with a reference: one layer, a few rows.

    Width, heads, row length and precision stay, and with them the kernels. At full size a
    reference takes as long to compile as the case itself. A small workload is returned as it is.
    """
    if workload.rows * workload.row_length * workload.layers <= _SMALL:
        return workload
    if isinstance(workload, Texts):
        return dataclasses.replace(workload, rows=least_rows, layers=1)
    return dataclasses.replace(
        workload,
        users=min(workload.users, _FEW_USERS),
        items=min(workload.items, _FEW_ITEMS),
        negatives=min(workload.negatives, _FEW_NEGATIVES),
        rows=max(_FEW_ROWS, least_rows),
        layers=1,
    )


def sized(names: tuple[str, ...], tiny: bool) -> list[str]:
    """The presets of these names, or their tiny twins."""
    return [name + TINY if tiny else name for name in names]
