"""Our behavior model in plain PyTorch, layer by layer, fed as PyTorch users feed it: one padded row
a user.

Same sizes, same softmax (over all items with `--negatives 0`), same optimiser; no packing, no
compiled loop. `--compile 1` compiles the model by `torch.compile`, `--bf16 1` multiplies in
bfloat16. A test compares its states and losses with those of the JAX model.
"""

from __future__ import annotations

import dataclasses
import math
from argparse import Namespace
from collections.abc import Iterator

import numpy as np
import torch
from common import Clock, Sequences, arguments, finish, mixed_precision, use_best_settings
from torch import nn
from torch.nn import functional

TICKS = 256  # of a clock: of an event, and of a gap that is twice as long
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
        shape = heads, 1, width // heads
        self.query_scale = nn.Parameter(torch.ones(shape))
        self.key_scale = nn.Parameter(torch.ones(shape))
        self.query_offset = nn.Parameter(0.1 * torch.randn(shape))
        # Of features that turn: others would change no weight.
        turned = 4 * num_periods(width // heads)
        self.key_offset = nn.Parameter(0.1 * torch.randn(heads, 1, turned))
        self.out = nn.Linear(width, width, bias=False)
        self.gates = nn.ModuleList([nn.Linear(width, width), nn.Linear(width, width)])
        self.widen = nn.Linear(width, 2 * expansion * width, bias=False)
        self.narrow = nn.Linear(expansion * width, width, bias=False)

    def forward(self, x, angles):
        """x [B, T, D], angles: cosines and sines [B, 1, T, n]."""
        attended = self._attend(self.norms[0](x), angles)
        x = x + torch.sigmoid(self.gates[0](x)) * self.dropout(attended)
        transformed = self._transform(self.norms[1](x))
        return x + torch.sigmoid(self.gates[1](x)) * self.dropout(transformed)

    def _attend(self, x, angles):
        B, T, D = x.shape
        qkv = self.qkv(x).view(B, T, 3, self.heads, D // self.heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)
        query = turn(normalised(query) * self.query_scale + self.query_offset, *angles)
        padding = key.shape[-1] - self.key_offset.shape[-1]
        key_offset = functional.pad(self.key_offset, (0, padding))
        key = turn(normalised(key) * self.key_scale + key_offset, *angles)
        mixed = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
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
        self.dropout, self.head_dim = nn.Dropout(dropout), width // heads
        self.blocks = nn.ModuleList([Block(width, heads, dropout) for _ in range(layers)])
        self.norm, self.state = RMSNorm(width), nn.Linear(width, width)

    def forward(self, items, times):
        """Unit-length states [B, T, D] after each event.

        items and times [B, T] are padded at the right.
        """
        # Item vectors have unit length; the stream has unit variance.
        vectors = functional.normalize(self.items(items), dim=-1)
        x = self.dropout(vectors * self.items.embedding_dim**0.5)
        angles = self._angles(times)
        for block in self.blocks:
            x = block(x, angles)
        return functional.normalize(self.state(self.norm(x)), dim=-1)

    def _angles(self, times) -> tuple:
        """Cosines and sines [B, 1, T, n] of the angles of events and of the time between them."""
        B, T = times.shape
        n = num_periods(self.head_dim)
        events = TICKS * torch.arange(T, device=times.device).expand(B, T)
        gaps = torch.diff(times, dim=1, prepend=times[:, :1]).clamp(min=0)
        gaps = torch.round(TICKS * torch.log2(1 + gaps.float())).long().cumsum(1)
        phases = [phases_of(events, 4, 4 * T, n), phases_of(gaps, 8, 32 * T, n)]
        radians = 2 * torch.pi * torch.cat(phases, -1)[:, None]
        return torch.cos(radians), torch.sin(radians)


def num_periods(head_dim: int) -> int:
    """Pairs of features that turn by each of the two clocks."""
    return max(1, 3 * (head_dim // 2) // 8)


def phases_of(ticks, shortest: int, longest: int, count: int):
    """The share of each of n periods that is over [B, T, n]."""
    bounds = math.log2(TICKS * shortest), math.log2(TICKS * longest)
    # In double precision, as the JAX model has them.
    periods = torch.logspace(*bounds, count, base=2, dtype=torch.float64, device=ticks.device)
    periods = torch.round(periods)
    return (ticks[..., None] % periods.long()).float() / periods.float()


def normalised(x):
    return functional.rms_norm(x, x.shape[-1:], eps=1e-6)


def turn(x, cos, sin):
    """x [B, H, T, K] with feature i of each head turned together with feature i + n."""
    n = cos.shape[-1]
    first, second = x[..., :n], x[..., n : 2 * n]
    turned = first * cos - second * sin, second * cos + first * sin
    return torch.cat([part.to(x.dtype) for part in turned] + [x[..., 2 * n :]], -1)


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
