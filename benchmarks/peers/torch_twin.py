"""Our behavior model in plain PyTorch, layer by layer, fed as PyTorch users feed it: one padded row
a user.

Same sizes, same softmax (over all items with `--negatives 0`), same optimiser; no packing, no
compiled loop. `--compile 1` compiles the model by `torch.compile`, `--bf16 1` multiplies in
bfloat16. A test compares its states and losses with those of the JAX model.
"""

from __future__ import annotations

import dataclasses
from argparse import Namespace
from collections.abc import Iterator

import numpy as np
import torch
from common import Clock, Sequences, arguments, finish, mixed_precision, use_best_settings
from torch import nn
from torch.nn import functional

TIME_BUCKETS, POSITION_BUCKETS = 32, 16
TEMPERATURE = 0.07
_WARM_UP = 3  # steps


class RMSNorm(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(width))

    def forward(self, x):
        return functional.rms_norm(x, self.scale.shape, self.scale, eps=1e-6)


class Block(nn.Module):
    """Pre-norm attention and feed-forward, each behind a sigmoid gate of the stream."""

    def __init__(self, width: int, heads: int, dropout: float, expansion: int = 2):
        super().__init__()
        self.heads, self.dropout = heads, nn.Dropout(dropout)
        self.norms = nn.ModuleList([RMSNorm(width), RMSNorm(width)])
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.query_norm, self.key_norm = RMSNorm(width // heads), RMSNorm(width // heads)
        self.out = nn.Linear(width, width, bias=False)
        self.gates = nn.ModuleList([nn.Linear(width, width), nn.Linear(width, width)])
        self.widen = nn.Linear(width, 2 * expansion * width, bias=False)
        self.narrow = nn.Linear(expansion * width, width, bias=False)

    def forward(self, x, bias):
        """x [B, T, D], bias [B, H, T, T] with -inf where nothing may be seen."""
        attended = self._attend(self.norms[0](x), bias)
        x = x + torch.sigmoid(self.gates[0](x)) * self.dropout(attended)
        transformed = self._transform(self.norms[1](x))
        return x + torch.sigmoid(self.gates[1](x)) * self.dropout(transformed)

    def _attend(self, x, bias):
        B, T, D = x.shape
        qkv = self.qkv(x).view(B, T, 3, self.heads, D // self.heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)
        query, key = self.query_norm(query), self.key_norm(key)
        mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=bias)
        return self.out(mixed.transpose(1, 2).reshape(B, T, D))

    def _transform(self, x):
        """SwiGLU."""
        gate, up = self.widen(x).chunk(2, -1)
        return self.narrow(functional.silu(gate) * up)


class Twin(nn.Module):
    def __init__(self, num_items: int, width: int, layers: int, heads: int, dropout: float):
        super().__init__()
        self.items = nn.Embedding(num_items, width)
        nn.init.normal_(self.items.weight, std=width**-0.5)
        self.dropout, self.heads = nn.Dropout(dropout), heads
        self.blocks = nn.ModuleList([Block(width, heads, dropout) for _ in range(layers)])
        self.time_bias = nn.Embedding(TIME_BUCKETS, layers * heads)
        self.position_bias = nn.Embedding(POSITION_BUCKETS, layers * heads)
        nn.init.zeros_(self.time_bias.weight)
        nn.init.zeros_(self.position_bias.weight)
        self.norm, self.state = RMSNorm(width), nn.Linear(width, width)

    def forward(self, items, times):
        """Unit-length states [B, T, D] after each event.

        items and times [B, T] are padded at the right.
        """
        # Item vectors have unit length; the stream has unit variance.
        vectors = functional.normalize(self.items(items), dim=-1)
        x = self.dropout(vectors * self.items.embedding_dim**0.5)
        for block, bias in zip(self.blocks, self._biases(times), strict=True):
            x = block(x, bias)
        return functional.normalize(self.state(self.norm(x)), dim=-1)

    def _biases(self, times) -> list:
        """One attention bias [B, H, T, T] for each layer, -inf where the key is later."""
        T = times.shape[1]
        columns = torch.arange(T, device=times.device)
        steps = (columns[:, None] - columns[None]).clamp(min=0)
        ages = (times[:, :, None] - times[:, None]).clamp(min=0)
        by_time = self.time_bias(log_buckets(ages, TIME_BUCKETS))
        by_position = self.position_bias(log_buckets(steps, POSITION_BUCKETS))
        future = torch.full((T, T), float("-inf"), device=times.device).triu(1)
        # [B, T, T, layers x heads] to [B, layers x heads, T, T]
        heads_first = (by_time + by_position).permute(0, 3, 1, 2)
        return [bias + future for bias in heads_first.split(self.heads, 1)]


def log_buckets(distance, num_buckets: int):
    """0, 1, 2-3, 4-7, ..."""
    # `torch.compile` cannot vectorise frexp on CPUs (torch 2.13).
    bounds = 2 ** torch.arange(num_buckets - 1, device=distance.device)
    return torch.bucketize(distance, bounds, right=True)


def sampled_loss(model: Twin, states, targets, negatives, log_expected, temperature: float):
    """Cross-entropy of the target among itself and shared negatives, with the logQ correction."""
    scaled = states / temperature
    target_vectors = functional.normalize(model.items(targets), dim=-1)
    negative_vectors = functional.normalize(model.items(negatives), dim=-1)
    positive = (scaled * target_vectors).sum(-1)
    scores = scaled @ negative_vectors.T - log_expected
    # A negative that is the target itself does not count.
    scores = scores.masked_fill(negatives[None] == targets[:, None], float("-inf"))
    return (torch.logaddexp(positive, scores.logsumexp(-1)) - positive).mean()


def full_loss(model: Twin, states, targets, temperature: float):
    """Cross-entropy of the target among all items."""
    catalogue = functional.normalize(model.items.weight, dim=-1)
    scores = (states / temperature) @ catalogue.T
    return functional.cross_entropy(scores, targets)


@dataclasses.dataclass(frozen=True)
class Loss:
    """The loss of the states; negatives follow half the counts, half a uniform distribution."""

    probabilities: torch.Tensor  # [V]
    num_negatives: int  # 0 = full softmax

    @classmethod
    def of(cls, data: Sequences, num_negatives: int, device: str) -> Loss:
        counts = np.bincount(data.items, minlength=data.num_items)
        # The same distribution as the JAX model's negatives have.
        probabilities = 0.5 * counts / counts.sum() + 0.5 / data.num_items
        return cls(torch.from_numpy(probabilities).float().to(device), num_negatives)

    def __call__(self, model: Twin, states, targets):
        M = self.num_negatives
        if not M:
            return full_loss(model, states, targets, TEMPERATURE)
        negatives = torch.multinomial(self.probabilities, M, replacement=True)
        log_expected = torch.log(M * self.probabilities[negatives])
        return sampled_loss(model, states, targets, negatives, log_expected, TEMPERATURE)


def padded(data: Sequences, users: np.ndarray, length: int) -> tuple[torch.Tensor, ...]:
    """(items, times, targets, which are real) [B, T]: the last T + 1 events of each user, padded at
    the right.
    """
    ends = data.offsets[users + 1]
    begins = np.maximum(data.offsets[users], ends - length - 1)
    events = begins[:, None] + np.arange(length + 1)
    # A user with a short history has padding at the end of the row.
    is_real = events < ends[:, None]
    events = np.where(is_real, events, 0)
    items = np.where(is_real, data.items[events], 0).astype(np.int64)
    times = np.where(is_real, data.times[events], 0).astype(np.int64)
    columns = (items[:, :-1], times[:, :-1], items[:, 1:], is_real[:, 1:])
    return tuple(torch.from_numpy(column) for column in columns)


def main() -> None:
    a = arguments(
        __doc__,
        data="",
        width=128,
        layers=2,
        heads=2,
        length=64,
        dropout=0.5,
        negatives=1024,
        batch=128,
        steps=20,
        threads=2,
        bf16=0,
        compile=0,
    )
    use_best_settings(a.device, a.threads)
    torch.manual_seed(0)
    data = Sequences.read(a.data)
    model = Twin(data.num_items, a.width, a.layers, a.heads, a.dropout).to(a.device)
    figures = train(model, data, a)
    ways = [" compiled" if a.compile else " eager", " bf16" if a.bf16 else ""]
    finish(a.device, system="PyTorch twin" + "".join(ways), **figures)


def train(model: Twin, data: Sequences, a: Namespace) -> dict[str, object]:
    """The figures of all steps but the warm-up."""
    optimizer = torch.optim.Adam(model.parameters(), lr=4e-3, betas=(0.9, 0.98), fused=True)
    loss_of = Loss.of(data, a.negatives, a.device)
    forward = torch.compile(model) if a.compile else model

    def step(columns: tuple[torch.Tensor, ...]) -> torch.Tensor:
        # Indices from the host: those of a mask on the device would have to be waited for.
        real = columns[-1].flatten().nonzero()[:, 0].to(a.device)
        items, times, following = (column.to(a.device) for column in columns[:-1])
        with mixed_precision(a.device, bool(a.bf16)):
            states = forward(items, times).flatten(0, 1)
            loss = loss_of(model, states[real], following.flatten()[real])
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss.detach()

    batches = batches_of(data, a)
    losses, targets = [step(next(batches)) for _ in range(_WARM_UP)], 0
    # Nothing of the device is read between the steps.
    with Clock(a.device) as clock:
        for _ in range(a.steps):
            columns = next(batches)
            targets += int(columns[-1].sum())
            losses.append(step(columns))
    # With padding.
    positions = a.steps * a.batch * a.length
    return {
        "trained_targets_per_second": targets / clock.wall,
        "trained_targets_per_cpu_second": targets / clock.cpu,
        "real_positions": targets / positions,
        "losses": [loss.item() for loss in losses],
    }


def batches_of(data: Sequences, a: Namespace) -> Iterator[tuple[torch.Tensor, ...]]:
    """Padded rows of users who are drawn at random, without end."""
    rng = np.random.default_rng(0)
    # A user with one event has no target.
    learnable = np.flatnonzero(np.diff(data.offsets) > 1)
    while True:
        users = rng.choice(learnable, a.batch, replace=False)
        yield padded(data, users, a.length)


if __name__ == "__main__":
    main()
