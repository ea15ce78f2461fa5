"""Packed layouts: which event lies at which position of packed rows, and the Batch of such rows.

Training and inference share them, so that a history is read alike in both.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from socialrec_jax.batch import Batch, Columns, PackedIndices
from socialrec_jax.data.batching.packing import Packing, pack
from socialrec_jax.data.csr import ranges
from socialrec_jax.data.world import Events


@dataclasses.dataclass(frozen=True)
class PackedLayout:
    """The events of R packed rows of T positions."""

    sources: np.ndarray  # [R, T] int64, row into the events; 0 where padding
    segments: np.ndarray  # [R, T] int32, 1.. number of the window in its row, 0 = padding


def cut_windows(
    starts: np.ndarray, lengths: np.ndarray, row_length: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Cut sequences events[start : start + length] [U] into windows: (starts, lengths) [S].

    Each sequence gives full windows of row_length and one remainder. The remainder lies at a random
    place among the full ones, so that over the epochs no event is always the first of its window.
    The number of windows of each length stays the same, and with it the number of packed rows.
    """
    counts = -(-lengths // row_length)
    remainder = lengths - (counts - 1) * row_length
    remainder_at = rng.integers(0, np.maximum(counts, 1))

    # From here on one entry a window.
    owner = np.repeat(np.arange(len(starts)), counts)
    window = _count_within_runs(owner)
    remainder, remainder_at = remainder[owner], remainder_at[owner]

    window_lengths = np.where(window == remainder_at, remainder, row_length)
    # Windows after the remainder begin earlier than a grid of full windows has them.
    shift = np.where(window > remainder_at, row_length - remainder, 0)
    return starts[owner] + window * row_length - shift, window_lengths


def pack_windows(
    starts: np.ndarray, lengths: np.ndarray, row_length: int
) -> tuple[PackedLayout, np.ndarray]:
    """Pack windows events[start : start + length] [S] into rows.

    Also returns the flat position [S] of each window's last event in the rows [R * T].
    """
    packing = pack(lengths, row_length)
    # Flat positions: all windows are written at once.
    first = packing.rows * row_length + packing.columns
    positions = ranges(first, lengths)
    segment_ids = _segment_ids(packing)

    sources = np.zeros(packing.num_rows * row_length, np.int64)
    segments = np.zeros(packing.num_rows * row_length, np.int32)
    sources[positions] = ranges(starts, lengths)
    segments[positions] = np.repeat(segment_ids, lengths)
    shape = (packing.num_rows, row_length)
    return PackedLayout(sources.reshape(shape), segments.reshape(shape)), first + lengths - 1


def one_window_a_row(starts: np.ndarray, lengths: np.ndarray, row_length: int) -> PackedLayout:
    """Windows events[start : start + length] [S], each at the beginning of a row of its own.

    Training packs windows, which fills the rows. Sums over a row then depend on the place of the
    window in it, in their last bits.
    """
    columns = np.arange(row_length)[None]
    is_event = columns < lengths[:, None]
    sources = np.where(is_event, starts[:, None] + columns, 0)
    return PackedLayout(sources, is_event.astype(np.int32))


def own_row_lengths(lengths: np.ndarray, least: int, most: int) -> np.ndarray:
    """The length [S] of a row for each window alone: few lengths, so that few programs compile."""
    powers_of_two = 1 << np.ceil(np.log2(np.maximum(lengths, 1))).astype(np.int64)
    return np.minimum(np.maximum(powers_of_two, least), most)


def _segment_ids(packing: Packing) -> np.ndarray:
    """1.. number of each sequence [S] in its row, from left to right."""
    order = np.lexsort((packing.columns, packing.rows))
    segment_ids = np.empty(len(order), np.int64)
    segment_ids[order] = _count_within_runs(packing.rows[order]) + 1
    return segment_ids


def _count_within_runs(sorted_keys: np.ndarray) -> np.ndarray:
    """0, 1, 2, ... within each run of equal keys."""
    run_starts = np.flatnonzero(np.diff(sorted_keys, prepend=-1))
    run_lengths = np.diff(np.append(run_starts, len(sorted_keys)))
    own_start = np.repeat(run_starts, run_lengths)
    return np.arange(len(sorted_keys)) - own_start


def packed_indices(layout: PackedLayout, first_row: int, row_ids: np.ndarray) -> PackedIndices:
    """The rows first_row + row_ids of a layout; rows past its end are padding."""
    rows = first_row + row_ids
    exists = (rows < len(layout.segments))[:, None]
    rows = np.minimum(rows, len(layout.segments) - 1)  # any row stands for those past the end
    segments = np.where(exists, layout.segments[rows], 0)
    sources = np.where(segments > 0, layout.sources[rows], 0)
    return PackedIndices(row_ids.astype(np.int32), segments, sources)


def gather_batch(indices: PackedIndices, columns: Columns) -> Batch:
    """The Batch of some events: the target of every position is the event after it.

    Uses only what NumPy and JAX arrays have in common: the host gathers from memory maps with it,
    and a compiled step from the columns on its device.
    """
    source, is_event = indices.sources, indices.segments > 0
    # The last event of all has no next one; it is never an input.
    target = (source + 1).clip(None, len(columns.items) - 1)
    return Batch(
        row_ids=indices.row_ids,
        segments=indices.segments,
        items=columns.items[source],
        event_types=columns.event_types[source].astype(np.int32),
        times=columns.times[source],
        request_times=columns.times[target],
        targets=columns.items[target],
        target_types=columns.event_types[target].astype(np.int32),
        weights=is_event.astype(np.float32),
        social_positions=indices.social_positions,
        friends=indices.friends,
    )


def as_batch(given: Batch | PackedIndices, columns: Columns | None) -> Batch:
    """The batch itself, or the batch of these indices from the columns on the device."""
    if isinstance(given, Batch):
        return given
    assert columns is not None, "indices need the events: see training.device_data.placed"
    return gather_batch(given, columns)


def gather_on_host(
    indices: PackedIndices,
    events: Events,
    first_time: int,
    request_times: np.ndarray | None = None,
) -> Batch:
    """The Batch of some events, read from the memory maps.

    request_times: unix seconds [B, T] of the request after each event; that of the next event by
    default.
    """
    batch = gather_batch(indices, Columns(events.items, events.types, events.times))
    # gather_batch has put unix seconds into the times.
    if request_times is None:
        request_times = np.asarray(batch.request_times)
    return batch.replace(
        times=model_times(np.asarray(batch.times), first_time),
        request_times=model_times(request_times, first_time),
    )


def gather_rows(
    events: Events,
    layout: PackedLayout,
    first_row: int,
    row_ids: np.ndarray,
    first_time: int,
    request_times: np.ndarray | None = None,
) -> Batch:
    """The rows first_row + row_ids of a layout as a Batch; rows past its end are padding.

    request_times: unix seconds [R, T] of the request after each event of the layout; that of the
    next event by default.
    """
    if request_times is not None:
        request_times = request_times[np.minimum(first_row + row_ids, len(request_times) - 1)]
    indices = packed_indices(layout, first_row, row_ids)
    return gather_on_host(indices, events, first_time, request_times)


def model_times(unix_seconds: np.ndarray, first_time: int) -> np.ndarray:
    """int32 seconds since the World's first event: 68 years either way, clipped beyond."""
    limits = np.iinfo(np.int32)
    seconds = unix_seconds - first_time
    return np.clip(seconds, limits.min, limits.max).astype(np.int32)
