"""Texts to vectors: token states of a GPT-2, pooled over each text, whitened, of length 1."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import jax.numpy as jnp
import numpy as np

from socialrec_jax.data.batching.layout import (
    PackedLayout,
    one_window_a_row,
    own_row_lengths,
    pack_windows,
)
from socialrec_jax.data.csr import sorted_distinct
from socialrec_jax.data.text.text_batches import cut_texts
from socialrec_jax.data.text.tokenizer import Texts, tokenize
from socialrec_jax.data.text.whitening import Whitening, whiten_known
from socialrec_jax.errors import InputMissing
from socialrec_jax.inference.chunks import bucket, in_flight
from socialrec_jax.inference.pretrained import load_pretrained
from socialrec_jax.models.gpt2 import GPT2, GPT2Sizes
from socialrec_jax.runtime import parallel
from socialrec_jax.shapes import Array

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

# Beside the GPT-2 in RUN/text: what makes its states comparable vectors.
TOKEN_WEIGHTS = "inverse_document_frequencies.npy"
TEXT_WHITENING = "text_whitening.npz"
VECTOR_WHITENING = "vector_whitening.npz"  # of the items' fixed vectors

_TOKENS_AT_ONCE = 8192  # on all devices
_LEAST_ROW_LENGTH = 64  # of packed rows; attention costs by their length
_LEAST_OWN_ROW = 16  # of rows with one text


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
        # The folder is one that transformers opens, too.
        sizes, params, tokenizer = load_pretrained(folder)
        whitening = Whitening.load(folder / TEXT_WHITENING)
        return cls(GPT2(sizes), params, tokenizer, np.load(folder / TOKEN_WEIGHTS), whitening)

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Vectors [n, F] float32 of length 1; zeros for an empty text."""
        n_positions = self.model.sizes.n_positions
        tokens = tokenize(self.tokenizer, texts, n_positions)
        states = pool_alone(self.model, self.params, tokens, n_positions, self.token_weights)
        return self._whitened(states, tokens.lengths > 0)

    def _whitened(self, states: np.ndarray, known: np.ndarray) -> np.ndarray:
        """White vectors [n, F] of states [n, D].

        One by one: BLAS adds up several rows in another order than one.
        """
        rows = [slice(number, number + 1) for number in range(len(states))]
        white = [whiten_known(self.whitening, states[row], known[row]) for row in rows]
        width = len(self.whitening.scales)
        return np.concatenate([np.zeros((0, width), np.float32), *white])


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
    pairs = sorted_distinct(texts.tokens.astype(np.int64) * V + owners)
    counts = np.bincount(pairs // V, minlength=vocabulary) if V else np.zeros(vocabulary, np.int64)
    num_texts = np.count_nonzero(texts.lengths)
    return np.log((1 + num_texts) / np.maximum(counts, 1)).astype(np.float32)


def pool(
    model: GPT2, params: dict, texts: Texts, row_length: int, token_weights: np.ndarray
) -> np.ndarray:
    """The weighted mean [V, D] float32 of the final states of each text's tokens.

    token_weights [vocabulary]: see `inverse_document_frequencies`. A token of all texts tells none
    of them apart. Zeros where there is no text. The devices pool, and send one vector a text.
    """
    vectors = np.zeros((len(texts.lengths), model.sizes.n_embd), np.float32)
    known = np.flatnonzero(texts.lengths)
    if len(known):
        # Several texts share a row: most are far shorter than the model's window.
        packed = pack_windows(texts.offsets[known], texts.lengths[known], row_length)
        vectors[known] = _pool_rows(model, params, texts, token_weights, *packed)
    return vectors


def pool_alone(
    model: GPT2, params: dict, texts: Texts, longest: int, token_weights: np.ndarray
) -> np.ndarray:
    """`pool` with a row for each text, so that its vector has the same bytes whatever other texts
    there are.

    longest: of all texts that there may be.
    """
    lengths = texts.lengths
    vectors = np.zeros((len(lengths), model.sizes.n_embd), np.float32)
    row_lengths = np.where(lengths > 0, own_row_lengths(lengths, _LEAST_OWN_ROW, longest), 0)
    for row_length in np.unique(row_lengths[lengths > 0]).tolist():
        chosen = np.flatnonzero(row_lengths == row_length)
        layout = one_window_a_row(texts.offsets[chosen], lengths[chosen], row_length)
        last = row_length * np.arange(len(chosen)) + lengths[chosen] - 1
        vectors[chosen] = _pool_rows(model, params, texts, token_weights, layout, last)
    return vectors


def _pool_rows(
    model: GPT2,
    params: dict,
    texts: Texts,
    token_weights: np.ndarray,
    layout: PackedLayout,
    last: np.ndarray,
) -> np.ndarray:
    """The weighted means [n, D] of the texts of a layout; last: flat position [n] of their ends."""
    # Texts in the order of their places in the rows, so that those of a device are a run.
    order = np.argsort(last)
    places = _TextPlaces.of(layout, last[order], _rows_per_call(layout.segments.shape[1]))
    shared = parallel.replicate((params, token_weights))
    means = _means_of_chunks(model.sizes, shared, texts, layout, places)
    vectors = np.empty((len(last), model.sizes.n_embd), np.float32)
    vectors[order] = np.concatenate(list(means))
    return vectors


@dataclasses.dataclass(frozen=True)
class _TextPlaces:
    """Where texts [n] lie in packed rows, in the order of their places."""

    rows: np.ndarray  # [n] of the layout
    segments: np.ndarray  # [n] 1.. in their row
    rows_per_call: int
    bounds: np.ndarray  # the texts of each device lie between two bounds, call after call

    @classmethod
    def of(cls, layout: PackedLayout, last: np.ndarray, rows_per_call: int) -> _TextPlaces:
        """last: the flat position [n] of each text's last token, ascending."""
        num_rows, row_length = layout.segments.shape
        devices = parallel.num_local_devices()
        num_parts = -(-num_rows // rows_per_call) * devices
        first_rows = rows_per_call // devices * np.arange(num_parts + 1)
        rows = last // row_length
        segments = layout.segments.reshape(-1)[last]
        return cls(rows, segments, rows_per_call, np.searchsorted(rows, first_rows))

    @property
    def most_texts(self) -> int:
        """The largest number of texts of one device in one call, as a power of two.

        At least one for each row: then few new texts need no program of their own.
        """
        rows = self.rows_per_call // parallel.num_local_devices()
        return bucket(max(rows, int(np.diff(self.bounds).max())), 1)

    def of_call(self, call: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(row, segment, exists) [P, most_texts] of each device's texts; rows count from its first.

        Padding points at the first text of the first row.
        """
        devices = parallel.num_local_devices()
        bounds = self.bounds[call * devices : (call + 1) * devices + 1]
        exists = np.arange(self.most_texts)[None] < np.diff(bounds)[:, None]
        rows, segments = np.zeros(exists.shape, np.int32), np.ones(exists.shape, np.int32)
        texts = slice(bounds[0], bounds[-1])
        rows[exists] = self.rows[texts] % (self.rows_per_call // devices)
        segments[exists] = self.segments[texts]
        return rows, segments, exists


def _means_of_chunks(
    sizes: GPT2Sizes, shared: tuple, texts: Texts, layout: PackedLayout, places: _TextPlaces
) -> Iterator[np.ndarray]:
    """The means [n, D] of the texts of successive chunks of rows, in the order of their places."""
    pooled = _pooled_states(sizes, bucket(int(places.segments.max()), 1))
    size = places.rows_per_call

    def calls() -> Iterator[tuple]:
        for call, begin in enumerate(range(0, len(layout.segments), size)):
            batch = parallel.split_over_devices(cut_texts(texts, layout, begin, size))
            rows, segments, exists = places.of_call(call)
            yield pooled(shared, (batch, rows, segments)), exists

    for means, exists in in_flight(calls()):
        yield parallel.on_host(means)[exists]


@functools.lru_cache(maxsize=2)
def _pooled_states(sizes: GPT2Sizes, segments_per_row: int) -> Callable:
    """The compiled model with the pooling of its states, the same one for every call."""
    model = GPT2(sizes)

    def pooled_states(shared: tuple, part: tuple) -> Array:
        params, token_weights = shared
        batch, rows, segments = part
        states = model.bind({"params": params})(batch.tokens, batch.segments)
        weights = token_weights[batch.tokens]
        means = _segment_means(states, weights, batch.segments, segments_per_row)
        return means[rows, segments - 1]

    return parallel.map_devices(pooled_states)


def _segment_means(states: Array, weights: Array, segments: Array, num_segments: int) -> Array:
    """Weighted means [R, num_segments, D] of states [R, T, D], by segments [R, T] from 1 on."""
    numbers = jnp.arange(1, num_segments + 1)[None, :, None]
    is_of_segment = segments[:, None, :] == numbers
    weights = jnp.where(is_of_segment, weights[:, None, :], 0)
    # A product, though most weights are 0: a sum by scatter has no fixed order on GPUs.
    sums = jnp.einsum("rst,rtd->rsd", weights, states, precision="highest")
    totals = weights.sum(axis=-1, keepdims=True)
    return sums / jnp.where(totals > 0, totals, 1)


def _rows_per_call(row_length: int) -> int:
    """Always as many, the same on each device, so that it compiles once."""
    devices = parallel.num_local_devices()
    return max(1, _TOKENS_AT_ONCE // row_length // devices) * devices
