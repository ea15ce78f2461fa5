"""transformers' GPT-2 in PyTorch as a language model of product text: tokens trained a second."""

from __future__ import annotations

from argparse import Namespace

import numpy as np
import torch
from common import Clock, arguments, finish, mixed_precision, use_best_settings
from transformers import GPT2Config, GPT2LMHeadModel

_WARM_UP = 3  # steps


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
        compile=0,
    )
    use_best_settings(a.device, a.threads)
    torch.manual_seed(0)
    # [rows, tokens], without padding
    rows = torch.from_numpy(np.load(a.tokens)).long().to(a.device)
    model = model_of(a, rows.shape[1]).to(a.device)
    seconds, losses = train(model, rows, a)
    tokens = a.steps * a.batch * rows.shape[1]
    ways = [" compiled" if a.compile else "", " bf16" if a.bf16 else ""]
    system = "torch GPT-2" + "".join(ways)
    finish(a.device, system=system, tokens_per_second=tokens / seconds, losses=losses)


def train(model: GPT2LMHeadModel, rows: torch.Tensor, a: Namespace) -> tuple[float, list[float]]:
    """(seconds of all steps but the warm-up, losses of all)."""
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)
    forward = torch.compile(model) if a.compile else model

    def step(number: int) -> torch.Tensor:
        # Successive rows, which start over at the end.
        batch = rows[(np.arange(a.batch) + number * a.batch) % len(rows)]
        with mixed_precision(a.device, bool(a.bf16)):
            loss = forward(input_ids=batch, labels=batch, use_cache=False).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss.detach()

    losses = [step(number) for number in range(_WARM_UP)]
    # Nothing is read between the steps, so that the host runs ahead of the device.
    with Clock(a.device) as clock:
        losses += [step(number) for number in range(_WARM_UP, _WARM_UP + a.steps)]
    return clock.wall, [loss.item() for loss in losses]


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
