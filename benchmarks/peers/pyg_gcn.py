"""PyTorch Geometric's GCNConv, two layers, forward and backward: edge visits a second, by default
and by CSR.
"""

from __future__ import annotations

import numpy as np
import torch
from common import Clock, arguments, finish
from torch_geometric.nn import GCNConv


def main() -> None:
    a = arguments(__doc__, graph="", width=64, repeats=5, threads=2)
    torch.set_num_threads(a.threads)
    with np.load(a.graph) as columns:
        senders, receivers, weights = (
            torch.from_numpy(columns[n]) for n in ("senders", "receivers", "weights")
        )
        num_nodes = int(columns["num_nodes"])
    torch.manual_seed(0)
    features = torch.randn(num_nodes, a.width, requires_grad=True)
    options = {"normalize": False, "add_self_loops": False, "bias": False}
    layers = torch.nn.ModuleList([GCNConv(a.width, a.width, **options) for _ in range(2)])
    edge_index = torch.stack([senders.long(), receivers.long()])
    forward = (
        torch.sparse_coo_tensor(edge_index.flip(0), weights, (num_nodes, num_nodes))
        .coalesce()
        .to_sparse_csr()
    )
    figures = {
        name: visits_per_second(layers, features, graph, a.repeats, len(senders))
        for name, graph in {"default": (edge_index, weights), "csr": (forward,)}.items()
    }
    finish(peer="PyG GCNConv", edge_visits_per_second=figures)


def visits_per_second(layers, features, graph: tuple, repeats: int, num_edges: int) -> float:
    """Each edge is visited by two layers, forth and back."""
    clock = Clock()
    for number in range(repeats + 1):
        if number == 1:
            clock = Clock()
        with clock:
            hidden = torch.relu(layers[0](features, *graph))
            layers[1](hidden, *graph).square().sum().backward()
    return 4 * num_edges * repeats / clock.wall


if __name__ == "__main__":
    main()
