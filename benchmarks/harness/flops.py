"""Closed forms: what the model must compute and move, whatever the compiler makes of it.

XLA's own count takes a loop's body once, and counts recomputation and padding. These count real
events only, attention only between the pairs that the mask allows (half of T x T for one causal
window), and nothing twice. One multiply-add is 2 FLOPs; a gradient costs twice the forward pass, so
training is 3 x forward. Elementwise work is left out. A test compares them with `cost_analysis()`
of unrolled models.
"""

from __future__ import annotations

import numpy as np

from socialrec_jax.shapes import Array

TRAINING = 3  # forward, and the gradients of inputs and of weights

# How often Adam moves each parameter: gradient written and read; parameter, two moments and average
# each read and written.
_ADAM_PASSES = 10
# How often row-wise Adagrad moves each row of a step: gradient written and read; row read and
# written.
_ROW_PASSES = 4
# The forward and the backward pass read each parameter once.
_MODEL_READS = 2
# Widths for each token and block that a backward pass needs: qkv, mixed, attended, gates,
# feed-forward.
_ACTIVATIONS = 14


def causal_pairs(segments: Array) -> int:
    """(query, key) pairs of packed rows [B, T]: l (l + 1) / 2 for each window of l events."""
    total = 0
    for row in np.asarray(segments).reshape(-1, segments.shape[-1]):
        # Segment 0 is padding.
        lengths = np.bincount(row)[1:].astype(np.int64)
        total += int((lengths * (lengths + 1) // 2).sum())
    return total


def behavior(events: int, pairs: int, width: int, layers: int) -> float:
    """Forward FLOPs of the behavior transformer.

    A block has 24 D^2 for each event (qkv 6, out 2, SwiGLU 8 + 4, two gates 2 + 2) and 4 D for each
    pair (scores and mixing). The state after the last block costs 2 D^2.
    """
    blocks = layers * (24 * width**2 * events + 4 * width * pairs)
    return blocks + 2 * width**2 * events


def gpt2(tokens: int, pairs: int, width: int, layers: int) -> float:
    """Forward FLOPs of GPT-2 without its head.

    A block has 24 D^2 for each token (qkv 6, out 2, feed-forward 16) and 4 D for each pair.
    """
    return layers * (24 * width**2 * tokens + 4 * width * pairs)


def softmax(rows: int, classes: int, width: int) -> float:
    """Forward FLOPs of logits."""
    return 2 * rows * classes * width


def convolution(nodes: int, edges: int, width: int, layers: int = 2) -> float:
    """Forward FLOPs of the friends' graph convolution.

    The weights cost 2 D^2 for each node, weighing and adding messages 2 D for each edge.
    """
    return layers * (2 * nodes * width**2 + 2 * edges * width)


def ranker(
    queries: int, candidates: int, catalogue: int, width: int, sizes: tuple[int, int, int, int]
) -> float:
    """Forward FLOPs of one ranker; sizes: (features F, interactions I, hidden H, actions A)."""
    F, I, H, A = sizes  # noqa: E741
    hidden = 2 * (F + I) * H + 2 * H * H
    logits = 2 * (F + H) * A
    each_candidate = I + hidden + logits
    projections = 2 * (queries + catalogue) * width * I
    return queries * candidates * each_candidate + projections


def adam_bytes(parameters: int) -> float:
    """Least traffic of a float32 step with Adam and an average, the model's reads included."""
    return 4 * (_ADAM_PASSES + _MODEL_READS) * parameters


def row_bytes(rows: int, width: int) -> float:
    """Least traffic of a float32 step on so many rows of a table, the model's reads included.

    Row-wise Adagrad has one more number for each row, which is read and written.
    """
    return 4.0 * rows * ((_ROW_PASSES + _MODEL_READS) * width + 2)


def all_reduce_bytes(parameters: int, devices: int) -> float:
    """What each device sends when float32 gradients are added over all of them in a ring."""
    return 2 * 4 * parameters * (devices - 1) / devices


def exchange_bytes(rows: int, width: int, devices: int) -> float:
    """What each device sends for so many rows of a split table: their numbers, the rows to others,
    gradients back.
    """
    return 4 * rows * (1 + 2 * width) * (devices - 1) / devices


def activation_bytes(tokens: int, width: int, layers: int, itemsize: int) -> float:
    """Least traffic of what the backward pass needs of the blocks: written once, read once."""
    return 2 * _ACTIVATIONS * width * tokens * layers * itemsize
