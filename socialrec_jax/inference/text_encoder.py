"""Token states to product vectors: pooled over each text, decorrelated, of length 1."""

from __future__ import annotations

import numpy as np

from socialrec_jax.data.batching.layout import pack_windows
from socialrec_jax.data.csr import ranges
from socialrec_jax.data.text.text_batches import cut_texts
from socialrec_jax.data.text.tokenizer import Texts
from socialrec_jax.models.gpt2 import GPT2
from socialrec_jax.runtime import parallel

_TOKENS_AT_ONCE = 8192  # on all devices


def pool(model: GPT2, params: dict, texts: Texts, row_length: int) -> np.ndarray:
    """The mean [V, D] float32 of the final states of each text's tokens; zeros where there is no
    text.

    Weighted by inverse document frequency: what all products say tells none of them apart.
    """
    encode = parallel.map_devices(
        lambda params, batch: model.bind({"params": params})(batch.tokens, batch.segments)
    )
    params = parallel.replicate(params)
    vectors = np.zeros((len(texts.lengths), model.sizes.n_embd), np.float32)
    known = np.flatnonzero(texts.lengths)
    layout, last = pack_windows(texts.offsets[known], texts.lengths[known], row_length)
    order = np.argsort(last)  # texts as they lie in the rows
    known, ends = known[order], last[order] + 1
    weights = inverse_document_frequency(texts)
    rows = _rows_per_call(row_length)
    for begin in range(0, len(layout.segments), rows):
        lie = slice(
            *np.searchsorted(ends, [begin * row_length + 1, (begin + rows) * row_length + 1])
        )
        batch = parallel.split_over_devices(cut_texts(texts, layout, begin, rows))
        states = parallel.join_devices(encode(params, batch)).reshape(rows * row_length, -1)
        lengths = texts.lengths[known[lie]]
        places = ranges(ends[lie] - lengths - begin * row_length, lengths)
        some_weights = weights[ranges(texts.offsets[known[lie]], lengths)][:, None]
        begins = np.cumsum(lengths) - lengths
        sums = np.add.reduceat(states[places] * some_weights, begins)
        vectors[known[lie]] = sums / np.add.reduceat(some_weights, begins)
    return vectors


def inverse_document_frequency(texts: Texts) -> np.ndarray:
    """log((1 + S) / texts with it) [N] float32 of each token in place, S texts: above zero even
    where all have it.
    """
    V = len(texts.lengths)
    pairs = np.unique(texts.tokens.astype(np.int64) * V + np.repeat(np.arange(V), texts.lengths))
    counts = np.bincount(pairs // V)
    return np.log((1 + np.count_nonzero(texts.lengths)) / counts[texts.tokens]).astype(np.float32)


def _rows_per_call(row_length: int) -> int:
    """Always as many, the same on each device, so that it compiles once."""
    devices = parallel.num_local_devices()
    return max(1, _TOKENS_AT_ONCE // row_length // devices) * devices
