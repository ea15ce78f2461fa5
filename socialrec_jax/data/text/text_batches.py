"""Product texts to TextBatch: packed into rows, dealt anew each epoch as a pure function of (seed,
step).
"""

from __future__ import annotations

import functools

import numpy as np

from socialrec_jax.batch import TextBatch
from socialrec_jax.data.batching.layout import PackedLayout, pack_windows
from socialrec_jax.data.text.tokenizer import Texts


class TextBatches:
    """All steps of a language model's training on texts of at most row_length tokens.

    rows_per_step is B over all processes; process p of P gets its exact share of each step's rows.
    """

    def __init__(self, texts: Texts, row_length: int, rows_per_step: int, seed: int):
        self.texts, self.row_length, self.rows_per_step, self.seed = (
            texts,
            row_length,
            rows_per_step,
            seed,
        )
        self._known = np.flatnonzero(texts.lengths)
        self.targets_per_epoch = int((texts.lengths[self._known] - 1).sum())

    @property
    def steps_per_epoch(self) -> int:
        return -(-len(self._layout(0).segments) // self.rows_per_step)

    @functools.lru_cache(maxsize=2)  # noqa: B019 - the object lives as long as the training
    def _layout(self, epoch: int) -> PackedLayout:
        rng = np.random.Generator(np.random.Philox(key=[self.seed, epoch]))
        permutation = rng.permutation(self._known)
        layout, _ = pack_windows(
            self.texts.offsets[permutation], self.texts.lengths[permutation], self.row_length
        )
        row_order = rng.permutation(len(layout.segments))
        return PackedLayout(layout.sources[row_order], layout.segments[row_order])

    def at(self, step: int, process: int = 0, num_processes: int = 1) -> TextBatch:
        """The rows [B / num_processes, L] of one step that this process trains on."""
        epoch, index = divmod(step, self.steps_per_epoch)
        share = self.rows_per_step // num_processes
        return cut_texts(
            self.texts, self._layout(epoch), index * self.rows_per_step + process * share, share
        )


def cut_texts(texts: Texts, layout: PackedLayout, begin: int, num_rows: int) -> TextBatch:
    """Rows begin : begin + num_rows of a plan; rows past the end of the plan are padding."""
    tokens, segments = np.zeros((2, num_rows, layout.segments.shape[1]), np.int32)
    part = slice(begin, begin + num_rows)
    found = layout.segments[part]
    segments[: len(found)] = found
    tokens[: len(found)] = np.where(found > 0, texts.tokens[layout.sources[part]], 0)
    return TextBatch(tokens, segments)
