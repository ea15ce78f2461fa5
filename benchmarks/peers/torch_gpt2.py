"""transformers' torch GPT-2 as a language model of product text: tokens trained a second."""

from __future__ import annotations

import numpy as np
import torch
from common import Clock, arguments, finish
from transformers import GPT2Config, GPT2LMHeadModel


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
    rows = torch.from_numpy(np.load(a.tokens)).long()  # [R, L], no padding
    config = GPT2Config(
        vocab_size=a.vocabulary, n_positions=rows.shape[1], n_embd=a.width, n_layer=a.layers, n_head=a.heads,
        resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0,
    )  # fmt: skip
    model = GPT2LMHeadModel(config)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)
    clock, losses = Clock(), []
    for step in range(a.steps + 2):
        if step == 2:  # warm
            clock = Clock()
        part = rows[(np.arange(a.batch) + step * a.batch) % len(rows)]
        with clock, torch.autocast("cpu", torch.bfloat16, enabled=bool(a.bf16)):
            loss = model(input_ids=part, labels=part).loss
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
        losses.append(loss.item())
    rate = a.steps * a.batch * rows.shape[1] / clock.wall
    finish(peer="torch GPT-2" + (" bf16" if a.bf16 else ""), tokens_per_second=rate, losses=losses)


if __name__ == "__main__":
    main()
