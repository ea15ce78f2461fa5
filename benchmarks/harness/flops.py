"""Closed forms: what the model must compute and move, whatever the compiler makes of it.

XLA's own count takes a loop's body once and counts recomputation and padding; these count real
events only, attention only between the pairs that the mask lets through (half of T x T for one
causal window), and nothing twice. One multiply-add is 2 FLOPs; a gradient costs twice the forward
pass, so training is 3 x forward. Elementwise work is left out. A test holds them against
`cost_analysis()` of unrolled models.
"""

from __future__ import annotations

import numpy as np

from socialrec_jax.shapes import Array

TRAINING = 3  # forward, and the gradients of inputs and of weights
# over parameters: gradient written and read; parameter, two moments, average each read and written
_ADAM_PASSES = 10
_ROW_PASSES = (
    4  # over the rows that a step touches: gradient written and read; row read and written
)
# widths a token and block that a backward pass needs: qkv, mixed, attended, gates, feed-forward
_ACTIVATIONS = 14


def causal_pairs(segments: Array) -> int:
    """(query, key) pairs that packed rows [B, T] attend to: l (l + 1) / 2 for each window of l
    events.
    """
    total = 0
    for row in np.asarray(segments).reshape(-1, segments.shape[-1]):
        lengths = np.bincount(row)[1:].astype(np.int64)
        total += int((lengths * (lengths + 1) // 2).sum())
    return total


def behavior(events: int, pairs: int, width: int, layers: int) -> float:
    """Forward FLOPs of the behavior transformer.

    A block has 24 D^2 an event: qkv 6, out 2, SwiGLU 8 + 4, two gates 2 + 2; and 4 D a pair: scores
    and mixing. The state after the last block costs 2 D^2.
    """
    return layers * (24 * width**2 * events + 4 * width * pairs) + 2 * width**2 * events


def gpt2(tokens: int, pairs: int, width: int, layers: int) -> float:
    """Forward FLOPs of GPT-2 without its head: 24 D^2 a token and block (qkv 6, out 2, feed-forward
    16), 4 D a pair.
    """
    return layers * (24 * width**2 * tokens + 4 * width * pairs)


def softmax(rows: int, classes: int, width: int) -> float:
    """Forward FLOPs of logits."""
    return 2 * rows * classes * width


def convolution(nodes: int, edges: int, width: int, layers: int = 2) -> float:
    """Forward FLOPs of the friends' graph convolution: theta 2 D^2 a node, weighing and adding 2 D
    an edge.
    """
    return layers * (2 * nodes * width**2 + 2 * edges * width)


def ranker(
    queries: int, candidates: int, catalogue: int, width: int, sizes: tuple[int, int, int, int]
) -> float:
    """Forward FLOPs of one ranker; sizes: (signals S, interactions I, hidden H, actions A)."""
    S, I, H, A = sizes  # noqa: E741
    each = I + 2 * (S + I) * H + 2 * H * H + 2 * (S + H) * A
    return queries * candidates * each + 2 * (queries + catalogue) * width * I


def adam_bytes(parameters: int) -> float:
    """Least traffic of a float32 step with Adam and an average, the two reads of the passes
    included.
    """
    return 4 * (_ADAM_PASSES + 2) * parameters


def row_bytes(rows: int, width: int) -> float:
    """Least traffic of a step on so many rows of a table, row-wise Adagrad's sum and the passes'
    reads included.
    """
    return 4.0 * rows * ((_ROW_PASSES + 2) * width + 2)


def all_reduce_bytes(parameters: int, devices: int) -> float:
    """What each device sends when float32 gradients are added over all of them in a ring."""
    return 2 * 4 * parameters * (devices - 1) / devices


def exchange_bytes(rows: int, width: int, devices: int) -> float:
    """What each device sends for so many rows of its own: their numbers, the rows to others,
    gradients back.
    """
    return 4 * rows * (1 + 2 * width) * (devices - 1) / devices


def activation_bytes(tokens: int, width: int, layers: int, itemsize: int) -> float:
    """Least traffic of what the backward pass needs of the blocks: written once, read once."""
    return 2 * _ACTIVATIONS * width * tokens * layers * itemsize
