"""Product texts to TextBatch: packed into rows, in a new order each epoch.

A batch is a pure function of (seed, step).
"""

from __future__ import annotations

import functools

import numpy as np

from socialrec_jax.batch import TextBatch
from socialrec_jax.data.batching.layout import PackedLayout, pack_windows
from socialrec_jax.data.text.tokenizer import Texts


class TextBatches:
    """All steps of a language model's training on texts of at most row_length tokens.

    rows_per_step is B over all processes; process p of P gets an equal part of each step's rows.
    """

    def __init__(self, texts: Texts, row_length: int, rows_per_step: int, seed: int):
        self.texts, self.row_length = texts, row_length
        self.rows_per_step, self.seed = rows_per_step, seed
        # A cache of this object's own, as in `TrainingBatches`.
        self._layout = functools.lru_cache(maxsize=2)(self._pack)
        self._known = np.flatnonzero(texts.lengths)
        self.targets_per_epoch = int((texts.lengths[self._known] - 1).sum())

    @property
    def steps_per_epoch(self) -> int:
        return -(-len(self._layout(0).segments) // self.rows_per_step)

    def _pack(self, epoch: int) -> PackedLayout:
        rng = np.random.Generator(np.random.Philox(key=[self.seed, epoch]))
        order = rng.permutation(self._known)
        starts, lengths = self.texts.offsets[order], self.texts.lengths[order]
        layout, _ = pack_windows(starts, lengths, self.row_length)
        row_order = rng.permutation(len(layout.segments))
        return PackedLayout(layout.sources[row_order], layout.segments[row_order])

    def at(self, step: int, process: int = 0, num_processes: int = 1) -> TextBatch:
        """The rows [B / num_processes, L] of one step that this process trains on."""
        # The last step of an epoch may have fewer rows; `cut_texts` pads it.
        epoch, index = divmod(step, self.steps_per_epoch)
        num_rows = self.rows_per_step // num_processes
        first_row = index * self.rows_per_step + process * num_rows
        return cut_texts(self.texts, self._layout(epoch), first_row, num_rows)


def cut_texts(texts: Texts, layout: PackedLayout, begin: int, num_rows: int) -> TextBatch:
    """Rows begin : begin + num_rows of a layout; rows past its end are padding."""
    tokens, segments = np.zeros((2, num_rows, layout.segments.shape[1]), np.int32)
    part = slice(begin, begin + num_rows)
    real = layout.segments[part]
    segments[: len(real)] = real
    # Places without a text (segment 0) have some source too; their token is padding.
    sources = layout.sources[part]
    tokens[: len(real)] = np.where(real > 0, texts.tokens[sources], 0)
    return TextBatch(tokens, segments)
