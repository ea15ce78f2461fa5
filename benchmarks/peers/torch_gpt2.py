"""transformers' GPT-2 in PyTorch as a language model of product text: tokens trained a second."""

from __future__ import annotations

from argparse import Namespace

import numpy as np
import torch
from common import Clock, arguments, finish
from transformers import GPT2Config, GPT2LMHeadModel

_WARM_UP = 2  # steps


def main() -> None:
    a = arguments(
        __doc__,
        tokens="",
        width=256,
        layers=4,
        heads=4,
        vocabulary=8192,
        batch=8,
        steps=6,
        threads=2,
        bf16=0,
    )
    torch.set_num_threads(a.threads)
    torch.manual_seed(0)
    # [rows, tokens], without padding
    rows = torch.from_numpy(np.load(a.tokens)).long().to(a.device)
    model = model_of(a, rows.shape[1]).to(a.device)
    seconds, losses = train(model, rows, a)
    tokens = a.steps * a.batch * rows.shape[1]
    system = "torch GPT-2 bf16" if a.bf16 else "torch GPT-2"
    finish(a.device, system=system, tokens_per_second=tokens / seconds, losses=losses)


def train(model: GPT2LMHeadModel, rows: torch.Tensor, a: Namespace) -> tuple[float, list[float]]:
    """(seconds of all steps but the warm-up, losses of all)."""
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)
    clock, losses = Clock(a.device), []
    for step in range(a.steps + _WARM_UP):
        if step == _WARM_UP:
            clock = Clock(a.device)
        # Successive rows, which start over at the end.
        batch = rows[(np.arange(a.batch) + step * a.batch) % len(rows)]
        with clock, torch.autocast(a.device, torch.bfloat16, enabled=bool(a.bf16)):
            loss = model(input_ids=batch, labels=batch).loss
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
        losses.append(loss.item())
    return clock.wall, losses


def model_of(a: Namespace, length: int) -> GPT2LMHeadModel:
    """Without dropout."""
    config = GPT2Config(
        vocab_size=a.vocabulary,
        n_positions=length,
        n_embd=a.width,
        n_layer=a.layers,
        n_head=a.heads,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
    )
    return GPT2LMHeadModel(config)


if __name__ == "__main__":
    main()
