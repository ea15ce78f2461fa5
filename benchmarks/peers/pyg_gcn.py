"""PyTorch Geometric's GCNConv, two layers, forward and backward: edge visits a second, by default
and by CSR.
"""

from __future__ import annotations

import numpy as np
import torch
from common import Clock, arguments, finish, use_best_settings
from torch_geometric.nn import GCNConv

_VISITS = 4  # two layers visit each edge, forward and backward


def main() -> None:
    a = arguments(__doc__, graph="", width=64, repeats=5, threads=2)
    use_best_settings(a.device, a.threads)
    torch.manual_seed(0)
    edge_index, weights, num_nodes = read_graph(a.graph, a.device)
    features = torch.randn(num_nodes, a.width, device=a.device, requires_grad=True)
    options = {"normalize": False, "add_self_loops": False, "bias": False}
    layers = [GCNConv(a.width, a.width, **options).to(a.device) for _ in range(2)]
    ways = {
        "default": (edge_index, weights),
        "csr": (to_csr(edge_index, weights, num_nodes),),
    }
    figures = {}
    for name, graph in ways.items():
        seconds = seconds_of_pass(layers, features, graph, a.repeats, a.device)
        figures[name] = _VISITS * len(weights) / seconds
    finish(a.device, system="PyG GCNConv", edge_visits_per_second=figures)


def read_graph(file: str, device: str) -> tuple[torch.Tensor, torch.Tensor, int]:
    """(senders and receivers [2, E], weights [E], number of nodes)."""
    with np.load(file) as columns:
        senders, receivers = columns["senders"], columns["receivers"]
        weights = torch.from_numpy(columns["weights"])
        num_nodes = int(columns["num_nodes"])
    edge_index = torch.from_numpy(np.stack([senders, receivers])).long()
    return edge_index.to(device), weights.to(device), num_nodes


def to_csr(edge_index: torch.Tensor, weights: torch.Tensor, num_nodes: int) -> torch.Tensor:
    """The transposed adjacency matrix, as PyG wants it."""
    shape = (num_nodes, num_nodes)
    matrix = torch.sparse_coo_tensor(edge_index.flip(0), weights, shape)
    return matrix.coalesce().to_sparse_csr()


def seconds_of_pass(layers: list, features, graph: tuple, repeats: int, device: str) -> float:
    """Of one forward and backward pass; a first one warms up."""
    clock = Clock(device)
    for number in range(repeats + 1):
        if number == 1:
            clock = Clock(device)
        with clock:
            hidden = torch.relu(layers[0](features, *graph))
            layers[1](hidden, *graph).square().sum().backward()
    return clock.wall / repeats


if __name__ == "__main__":
    main()
