"""Exact search by plain PyTorch: a matrix product and `topk`, chunk by chunk of the users.

Two ways on a GPU: products in full float32, which is exact, and in TF32, which is not.
"""

from __future__ import annotations

from argparse import Namespace

import torch
from common import Clock, arguments, finish, use_best_settings

_PRECISIONS = {"float32": "highest", "tf32": "high"}  # torch's names


def main() -> None:
    a = arguments(
        __doc__,
        items=1_000_000,
        width=64,
        users=1024,
        k=100,
        chunk=256,
        repeats=5,
        threads=2,
    )
    use_best_settings(a.device, a.threads)
    catalogue, users = random_vectors(a)
    # A CPU has no TF32.
    ways = _PRECISIONS if a.device == "cuda" else {"float32": "highest"}
    rates = {}
    for name, precision in ways.items():
        torch.set_float32_matmul_precision(precision)
        rates[name] = len(users) / seconds_of_search(catalogue, users, a)
    finish(a.device, system="torch matmul and topk", users_per_second=rates)


def random_vectors(a: Namespace) -> tuple[torch.Tensor, torch.Tensor]:
    """Vectors of about unit length: (catalogue [V, D], users [Q, D])."""
    torch.manual_seed(0)
    catalogue = torch.randn(a.items, a.width, device=a.device) / a.width**0.5
    users = torch.randn(a.users, a.width, device=a.device) / a.width**0.5
    return catalogue, users


def seconds_of_search(catalogue: torch.Tensor, users: torch.Tensor, a: Namespace) -> float:
    """Of all users once, the lists brought to the host; a first search warms up."""
    search(catalogue, users, a.k, a.chunk)
    with Clock(a.device) as clock:
        for _ in range(a.repeats):
            search(catalogue, users, a.k, a.chunk)
    return clock.wall / a.repeats


@torch.inference_mode()
def search(
    catalogue: torch.Tensor, users: torch.Tensor, k: int, chunk: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """(scores [Q, k], items [Q, k]) on the host, the best first."""
    # Nothing is waited for between the chunks.
    found = [torch.topk(part @ catalogue.T, k) for part in users.split(chunk)]
    scores, items = (torch.cat(parts) for parts in zip(*found, strict=True))
    return scores.cpu(), items.cpu()


if __name__ == "__main__":
    main()
