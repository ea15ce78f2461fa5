"""World to Batch: a pure function of (seed, step), so that a resumed run needs an integer and no
iterator state.

Training cuts each history into windows of at most T events, packs them anew every epoch in a new
random company, and deals rows to steps. A window's input at position t is an event, its target the
event after it.
"""

from __future__ import annotations

import dataclasses
import functools

import numpy as np

from socialrec_jax.batch import Batch, Columns, PackedIndices
from socialrec_jax.data.batching.packing import pack
from socialrec_jax.data.batching.social_positions import SocialPositions
from socialrec_jax.data.csr import ranges
from socialrec_jax.data.world import Events


@dataclasses.dataclass(frozen=True)
class PackedLayout:
    """Which event stands where: R packed rows of T positions."""

    sources: np.ndarray  # [R, T] int64, row into the events; 0 where padding
    segments: np.ndarray  # [R, T] int32, 0 = padding


def pack_windows(
    starts: np.ndarray, lengths: np.ndarray, row_length: int
) -> tuple[PackedLayout, np.ndarray]:
    """Pack windows events[start : start + length] [S] into rows; also the flat place [S] of each
    one's last event.
    """
    packing = pack(lengths, row_length)
    first = packing.rows * row_length + packing.columns
    spread = ranges(first, lengths)
    order = np.lexsort((packing.columns, packing.rows))
    number = np.empty(len(lengths), np.int64)
    number[order] = _count_within(packing.rows[order]) + 1
    shape = (packing.num_rows, row_length)
    sources, segments = np.zeros(shape, np.int64), np.zeros(shape, np.int32)
    sources.reshape(-1)[spread] = ranges(starts, lengths)
    segments.reshape(-1)[spread] = np.repeat(number, lengths)
    return PackedLayout(sources, segments), first + lengths - 1


def _count_within(sorted_keys: np.ndarray) -> np.ndarray:
    """0, 1, 2, ... within each run of equal keys."""
    begins = np.flatnonzero(np.diff(sorted_keys, prepend=-1))
    return np.arange(len(sorted_keys)) - np.repeat(
        begins, np.diff(np.append(begins, len(sorted_keys)))
    )


def windows(starts: np.ndarray, lengths: np.ndarray, row_length: int, rng: np.random.Generator):
    """Cut sequences [U] into windows of row_length and one remainder each: (starts, lengths) [S].

    The remainder stands at a random place among the full windows, so that over the epochs no event
    is always the first of its window; the number of windows of each length, and so of packed rows,
    stays the same.
    """
    count = -(-lengths // row_length)
    owner = np.repeat(np.arange(len(starts)), count)
    index = _count_within(owner)
    remainder = lengths - (count - 1) * row_length
    short_at = rng.integers(0, np.maximum(count, 1))
    is_short = index == short_at[owner]
    cut = np.where(is_short, remainder[owner], row_length)
    begin = index * row_length - np.where(index > short_at[owner], row_length - remainder[owner], 0)
    return starts[owner] + begin, cut


class TrainingBatches:
    """All training steps of a data set.

    Learns every event but the first of each user's events[starts:ends], where ends [U] comes from
    `World.ends`. rows_per_step is B over all processes; process p of P gets its exact share of each
    step's rows. asking adds the friends of some positions to each row.
    """

    def __init__(
        self,
        events: Events,
        history_ends: np.ndarray,
        first_time: int,
        row_length: int,
        rows_per_step: int,
        seed: int,
        social_positions: SocialPositions | None = None,
    ):
        self.events, self.first_time, self.seed, self.social_positions = (
            events,
            first_time,
            seed,
            social_positions,
        )
        self.row_length, self.rows_per_step = row_length, rows_per_step
        lengths = np.maximum(history_ends - events.starts - 1, 0)
        learnable = lengths > 0
        self._starts, self._lengths = events.starts[learnable], lengths[learnable]
        self.targets_per_epoch = int(lengths.sum())
        self._ends = history_ends

    @functools.cached_property
    def num_rows(self) -> int:
        return len(self._layout(0).segments)

    @property
    def steps_per_epoch(self) -> int:
        return -(-self.num_rows // self.rows_per_step)

    @property
    def gather_batch(self) -> float:
        """Share of row positions that hold an event."""
        return self.targets_per_epoch / (self.num_rows * self.row_length)

    @functools.lru_cache(maxsize=2)  # noqa: B019 - the object lives as long as the training
    def _layout(self, epoch: int) -> PackedLayout:
        rng = np.random.Generator(np.random.Philox(key=[self.seed, epoch]))
        starts, lengths = windows(self._starts, self._lengths, self.row_length, rng)
        permutation = rng.permutation(len(starts))
        layout, _ = pack_windows(starts[permutation], lengths[permutation], self.row_length)
        row_order = rng.permutation(len(layout.segments))
        return PackedLayout(layout.sources[row_order], layout.segments[row_order])

    def item_counts(self, num_items: int) -> np.ndarray:
        """Events of each item [V] in what is learnt."""
        learnt = np.arange(len(self.events.items)) < self._ends[self.events.owners]
        return np.bincount(self.events.items[learnt], minlength=num_items)

    def indices(self, step: int, process: int = 0, num_processes: int = 1) -> PackedIndices:
        """Which events make the rows [B / num_processes, T] of one step that this process trains
        on.
        """
        epoch, index = divmod(step, self.steps_per_epoch)
        share = self.rows_per_step // num_processes
        row_ids = np.arange(process * share, (process + 1) * share)
        indices = indices_of(self._layout(epoch), index * self.rows_per_step, row_ids)
        return (
            indices
            if self.social_positions is None
            else self.social_positions.join(indices, self.events, step)
        )

    def at(self, step: int, process: int = 0, num_processes: int = 1) -> Batch:
        """The rows of one step, cut from the events."""
        return _on_host(self.indices(step, process, num_processes), self.events, self.first_time)

    def columns(self) -> Columns:
        """All events as the model reads them: `fill(slots(step), columns())` is `at(step)`."""
        events = self.events
        return Columns(
            events.owners, events.items, events.types, model_times(events.times, self.first_time)
        )


def indices_of(layout: PackedLayout, offset: int, row_ids: np.ndarray) -> PackedIndices:
    """The rows offset + row_ids of a plan; rows past its end are padding."""
    rows = np.minimum(offset + row_ids, len(layout.segments) - 1)
    exists = (offset + row_ids < len(layout.segments))[:, None]
    segments = np.where(exists, layout.segments[rows], 0)
    return PackedIndices(
        row_ids.astype(np.int32), segments, np.where(segments > 0, layout.sources[rows], 0)
    )


def gather_batch(indices: PackedIndices, columns: Columns) -> Batch:
    """The Batch of these events: every position's target is the event after it.

    Written in what NumPy and JAX arrays have in common: a host cuts memory maps with it, and a
    compiled step cuts the columns that lie on its device.
    """
    source, real = indices.sources, indices.segments > 0
    target = (source + 1).clip(None, len(columns.items) - 1)
    return Batch(
        row_ids=indices.row_ids,
        segments=indices.segments,
        users=columns.users[source],
        items=columns.items[source],
        event_types=columns.event_types[source].astype(np.int32),
        times=columns.times[source],
        request_times=columns.times[target],
        targets=columns.items[target],
        target_types=columns.event_types[target].astype(np.int32),
        weights=real.astype(np.float32),
        social_positions=indices.social_positions,
        friends=indices.friends,
    )


def _on_host(
    indices: PackedIndices, events: Events, first_time: int, request: np.ndarray | None = None
) -> Batch:
    """The Batch of events that stay where they are; request: unix seconds [B, T] instead of the
    next event's.
    """
    batch = gather_batch(indices, Columns(events.owners, events.items, events.types, events.times))
    request = np.asarray(batch.request_times if request is None else request)
    times = model_times(np.asarray(batch.times), first_time)
    return batch.replace(times=times, request_times=model_times(request, first_time))


def cut(
    events: Events,
    layout: PackedLayout,
    offset: int,
    row_ids: np.ndarray,
    first_time: int,
    request: np.ndarray | None = None,
) -> Batch:
    """The rows offset + row_ids of a plan as a Batch; rows past the end of the plan are padding.

    request: unix seconds [R, T] of the question after each event of the plan; the time of the next
    event by default.
    """
    request_times = (
        None if request is None else request[np.minimum(offset + row_ids, len(request) - 1)]
    )
    return _on_host(indices_of(layout, offset, row_ids), events, first_time, request_times)


def model_times(unix_seconds: np.ndarray, first_time: int) -> np.ndarray:
    """int32 seconds since the World's first event: 68 years either way, clipped beyond."""
    limits = np.iinfo(np.int32)
    return np.clip(unix_seconds - first_time, limits.min, limits.max).astype(np.int32)
