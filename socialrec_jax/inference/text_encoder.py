"""Texts to vectors: token states of a GPT-2, pooled over each text, whitened, of length 1."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from socialrec_jax.data.batching.layout import PackedLayout, pack_windows
from socialrec_jax.data.csr import ranges
from socialrec_jax.data.text.text_batches import cut_texts
from socialrec_jax.data.text.tokenizer import Texts, tokenize
from socialrec_jax.data.text.whitening import Whitening, whiten_known
from socialrec_jax.errors import InputMissing
from socialrec_jax.inference.pretrained import load_pretrained
from socialrec_jax.models.gpt2 import GPT2, GPT2Sizes
from socialrec_jax.runtime import parallel

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

# Beside the GPT-2 in RUN/text: what makes its states comparable vectors.
TOKEN_WEIGHTS = "inverse_document_frequencies.npy"
TEXT_WHITENING = "text_whitening.npz"
VECTOR_WHITENING = "vector_whitening.npz"  # of the items' fixed vectors

_TOKENS_AT_ONCE = 8192  # on all devices
_LEAST_ROW_LENGTH = 64  # of packed rows; attention costs by their length


@dataclasses.dataclass(frozen=True)
class TextEncoder:
    """A kept language model with its tokenizer, token weights and whitening.

    New texts come into the space of the texts that the whitening was fitted on.
    """

    model: GPT2
    params: dict
    tokenizer: PreTrainedTokenizerFast
    token_weights: np.ndarray  # [tokens of the vocabulary] float32
    whitening: Whitening

    @classmethod
    def load(cls, folder: Path) -> TextEncoder:
        """The encoder in a run's text folder.

        Raises InputMissing where the folder holds none, BadData where a file is damaged.
        """
        for name in (TOKEN_WEIGHTS, TEXT_WHITENING):
            if not (folder / name).is_file():
                raise InputMissing(
                    f"{folder / name} does not exist: the run has no product texts, or was trained "
                    "by a version that did not keep it"
                )
        sizes, params, tokenizer = load_pretrained(folder)
        whitening = Whitening.load(folder / TEXT_WHITENING)
        return cls(GPT2(sizes), params, tokenizer, np.load(folder / TOKEN_WEIGHTS), whitening)

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Vectors [n, F] float32 of length 1; zeros for an empty text."""
        n_positions = self.model.sizes.n_positions
        tokens = tokenize(self.tokenizer, texts, n_positions)
        row_length = row_length_for(tokens, n_positions)
        states = pool(self.model, self.params, tokens, row_length, self.token_weights)
        return whiten_known(self.whitening, states, tokens.lengths > 0)


def row_length_for(texts: Texts, n_positions: int) -> int:
    """The length of packed rows: short where all texts are."""
    longest = texts.lengths.max(initial=1)
    return int(np.clip(longest, min(_LEAST_ROW_LENGTH, n_positions), n_positions))


def inverse_document_frequencies(texts: Texts, vocabulary: int) -> np.ndarray:
    """log((1 + S) / texts with the token) [vocabulary] float32, of S texts that are not empty.

    Above zero even for a token that all texts have. A token without any text counts as if one had
    it.
    """
    V = len(texts.lengths)
    owners = np.repeat(np.arange(V), texts.lengths)
    pairs = np.unique(texts.tokens.astype(np.int64) * V + owners)
    counts = np.bincount(pairs // V, minlength=vocabulary) if V else np.zeros(vocabulary, np.int64)
    num_texts = np.count_nonzero(texts.lengths)
    return np.log((1 + num_texts) / np.maximum(counts, 1)).astype(np.float32)


def pool(
    model: GPT2, params: dict, texts: Texts, row_length: int, token_weights: np.ndarray
) -> np.ndarray:
    """The weighted mean [V, D] float32 of the final states of each text's tokens.

    token_weights [vocabulary]: see `inverse_document_frequencies`. A token of all
    texts tells none of them apart. Zeros where there is no text.
    """
    vectors = np.zeros((len(texts.lengths), model.sizes.n_embd), np.float32)
    known = np.flatnonzero(texts.lengths)
    if not len(known):
        return vectors
    layout, last = pack_windows(texts.offsets[known], texts.lengths[known], row_length)
    # Texts in the order of their places in the rows, so that those of a chunk are a run.
    order = np.argsort(last)
    known, ends = known[order], last[order] + 1
    for first, states in _states_of_rows(model.sizes, params, texts, layout):
        stop = first + len(states)
        part = slice(*np.searchsorted(ends, [first + 1, stop + 1]))
        means = _weighted_means(states, ends[part] - first, texts, known[part], token_weights)
        vectors[known[part]] = means
    return vectors


def _states_of_rows(
    sizes: GPT2Sizes, params: dict, texts: Texts, layout: PackedLayout
) -> Iterator[tuple[int, np.ndarray]]:
    """(first place, states [n, D]) of successive chunks of packed rows, whose places count on."""
    token_states = _token_states(sizes)
    params = parallel.replicate(params)
    num_rows, row_length = layout.segments.shape
    rows = _rows_per_call(row_length)
    for begin in range(0, num_rows, rows):
        batch = parallel.split_over_devices(cut_texts(texts, layout, begin, rows))
        states = parallel.join_devices(token_states(params, batch))
        yield begin * row_length, states.reshape(rows * row_length, -1)


def _weighted_means(
    states: np.ndarray,
    ends: np.ndarray,
    texts: Texts,
    chosen: np.ndarray,
    token_weights: np.ndarray,
) -> np.ndarray:
    """Means [n, D] of the chosen texts [n], whose tokens end before the rows `ends` of states."""
    lengths = texts.lengths[chosen]
    places = ranges(ends - lengths, lengths)
    tokens = texts.tokens[ranges(texts.offsets[chosen], lengths)]
    weights = token_weights[tokens][:, None]
    starts = np.cumsum(lengths) - lengths
    sums = np.add.reduceat(states[places] * weights, starts)
    return sums / np.add.reduceat(weights, starts)


@functools.lru_cache(maxsize=2)
def _token_states(sizes: GPT2Sizes) -> Callable:
    """The compiled model, the same one for every call."""
    model = GPT2(sizes)

    def token_states(params, batch):
        return model.bind({"params": params})(batch.tokens, batch.segments)

    return parallel.map_devices(token_states)


def _rows_per_call(row_length: int) -> int:
    """Always as many, the same on each device, so that it compiles once."""
    devices = parallel.num_local_devices()
    return max(1, _TOKENS_AT_ONCE // row_length // devices) * devices
