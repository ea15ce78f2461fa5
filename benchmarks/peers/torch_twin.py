"""Our behavior model in plain PyTorch, layer by layer, fed as PyTorch users feed it: one padded row
a user.

Same sizes, same softmax (over all items with `--negatives 0`), same optimiser; no packing, no
compiled loop. A test holds its states and losses against ours.
"""

from __future__ import annotations

import numpy as np
import torch
from common import Clock, Sequences, arguments, finish
from torch import nn
from torch.nn import functional

TIME_BUCKETS, POSITION_BUCKETS = 32, 16


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
        x = x + torch.sigmoid(self.gates[0](x)) * self.dropout(self._attend(self.norms[0](x), bias))
        gate, up = self.widen(self.norms[1](x)).chunk(2, -1)
        return x + torch.sigmoid(self.gates[1](x)) * self.dropout(
            self.narrow(functional.silu(gate) * up)
        )

    def _attend(self, x, bias):
        B, T, D = x.shape
        query, key, value = (
            self.qkv(x).view(B, T, 3, self.heads, D // self.heads).permute(2, 0, 3, 1, 4)
        )
        mixed = functional.scaled_dot_product_attention(
            self.query_norm(query), self.key_norm(key), value, attn_mask=bias
        )
        return self.out(mixed.transpose(1, 2).reshape(B, T, D))


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
        """Unit-length states [B, T, D] after each event; items and times [B, T] are padded at the
        right.
        """
        x = functional.normalize(self.items(items), dim=-1) * self.items.embedding_dim**0.5
        x = self.dropout(x)
        T = items.shape[1]
        place = torch.arange(T)
        steps = (place[:, None] - place[None]).clamp(min=0)
        ages = (times[:, :, None] - times[:, None]).clamp(min=0)
        both = self.time_bias(log_buckets(ages, TIME_BUCKETS)) + self.position_bias(
            log_buckets(steps, POSITION_BUCKETS)
        )
        future = torch.full((T, T), float("-inf")).triu(1)
        for block, bias in zip(
            self.blocks, both.permute(0, 3, 1, 2).split(self.heads, 1), strict=True
        ):
            x = block(x, bias + future)
        return functional.normalize(self.state(self.norm(x)), dim=-1)


def log_buckets(distance, num_buckets: int):
    """0, 1, 2-3, 4-7, ..."""
    return torch.frexp(distance.double())[1].long().clamp(max=num_buckets - 1)


def sampled_loss(model: Twin, states, targets, negatives, log_expected, temperature: float):
    """Cross-entropy of the target among itself and shared negatives, with the logQ correction."""
    scaled = states / temperature
    positive = (scaled * functional.normalize(model.items(targets), dim=-1)).sum(-1)
    scores = scaled @ functional.normalize(model.items(negatives), dim=-1).T - log_expected
    scores = scores.masked_fill(negatives[None] == targets[:, None], float("-inf"))
    return (torch.logaddexp(positive, scores.logsumexp(-1)) - positive).mean()


def full_loss(model: Twin, states, targets, temperature: float):
    """Cross-entropy of the target among all items."""
    scores = (states / temperature) @ functional.normalize(model.items.weight, dim=-1).T
    return functional.cross_entropy(scores, targets)


def padded(data: Sequences, users: np.ndarray, length: int):
    """(items, times, targets) [B, T] and which are real: the last T + 1 events of each user, padded
    at the right.
    """
    shape = (len(users), length + 1)
    items, times, real = np.zeros(shape, np.int64), np.zeros(shape, np.int64), np.zeros(shape, bool)
    for row, user in enumerate(users):
        begin, end = (
            max(data.offsets[user], data.offsets[user + 1] - length - 1),
            data.offsets[user + 1],
        )
        items[row, : end - begin], times[row, : end - begin] = (
            data.items[begin:end],
            data.times[begin:end],
        )
        real[row, : end - begin] = True
    as_tensors = (
        torch.from_numpy(x) for x in (items[:, :-1], times[:, :-1], items[:, 1:], real[:, 1:])
    )
    return tuple(as_tensors)


def main() -> None:
    a = arguments(
        __doc__, data="", width=128, layers=2, heads=2, length=64, dropout=0.5, negatives=1024, batch=128, steps=20,
        threads=2,
    )  # fmt: skip
    torch.set_num_threads(a.threads)
    torch.manual_seed(0)
    data, rng = Sequences.read(a.data), np.random.default_rng(0)
    model = Twin(data.num_items, a.width, a.layers, a.heads, a.dropout)
    optimizer = torch.optim.Adam(model.parameters(), lr=4e-3, betas=(0.9, 0.98), fused=True)
    counts = np.bincount(data.items, minlength=data.num_items)
    probabilities = torch.from_numpy(0.5 * counts / counts.sum() + 0.5 / data.num_items).float()
    learnable = np.flatnonzero(np.diff(data.offsets) > 1)
    clock, targets, positions, losses = Clock(), 0, 0, []
    for step in range(a.steps + 2):
        if step == 2:  # warm
            clock, targets, positions = Clock(), 0, 0
        with clock:
            items, times, following, real = padded(
                data, rng.choice(learnable, a.batch, replace=False), a.length
            )
            states, following = model(items, times)[real], following[real]
            if a.negatives:
                negatives = torch.multinomial(probabilities, a.negatives, replacement=True)
                expected = torch.log(a.negatives * probabilities[negatives])
                loss = sampled_loss(model, states, following, negatives, expected, 0.07)
            else:
                loss = full_loss(model, states, following, 0.07)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
        targets, positions = targets + int(real.sum()), positions + real.numel()
        losses.append(loss.item())
    finish(
        peer="PyTorch twin",
        trained_targets_per_second=targets / clock.wall,
        trained_targets_per_cpu_second=targets / clock.cpu,
        real_positions=targets / positions,
        losses=losses,
    )


if __name__ == "__main__":
    main()
