"""RecBole's SASRec with its full softmax: training speed, validation NDCG@10 over time, users
recommended a second.

RecBole makes one padded sequence of every target.
"""

from __future__ import annotations

import logging
import tempfile
from argparse import Namespace
from pathlib import Path

import numpy as np
import torch
from common import Sequences, Stopping, arguments, finish, train_to_best
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.model.sequential_recommender import SASRec

_DATASET = "exchange"


def write_atomic_file(data: Sequences, folder: Path) -> None:
    """RecBole's interaction file, the held-out item last."""
    lines = ["user_id:token\titem_id:token\ttimestamp:float"]
    for user in range(len(data.offsets) - 1):
        items = data.history(user).tolist()
        if data.held_out[user] >= 0:
            items.append(int(data.held_out[user]))
        # Times are places, which keeps the order.
        lines += [f"{user}\t{item}\t{place}" for place, item in enumerate(items)]
    (folder / _DATASET).mkdir()
    (folder / _DATASET / f"{_DATASET}.inter").write_text("\n".join(lines) + "\n")


def config_of(a: Namespace, folder: Path) -> Config:
    settings = {
        "data_path": str(folder),
        "MAX_ITEM_LIST_LENGTH": a.length,
        "train_batch_size": a.batch,
        "hidden_size": a.width,
        "inner_size": 2 * a.width,
        "n_layers": 2,
        "n_heads": 2,
        "loss_type": "CE",
        "train_neg_sample_args": None,
        "use_gpu": a.device == "cuda",
        "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
        "eval_args": {"split": {"LS": "test_only"}, "order": "TO", "mode": "full"},
        "show_progress": False,
        "state": "CRITICAL",
    }
    # CE is the full softmax, for which there are no sampled negatives.
    return Config(model="SASRec", dataset=_DATASET, config_dict=settings)


def main() -> None:
    a = arguments(
        __doc__,
        data="",
        width=64,
        epochs=30,
        batch=2048,
        length=50,
        threads=2,
        patience=3,
        goal=0.0,
    )
    torch.set_num_threads(a.threads)
    logging.disable(logging.CRITICAL)
    data, folder = Sequences.read(a.data), Path(tempfile.mkdtemp())
    write_atomic_file(data, folder)
    config = config_of(a, folder)
    dataset = create_dataset(config)
    batches, _, held_out = data_preparation(config, dataset)
    model = SASRec(config, batches.dataset).to(a.device)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)

    def train() -> None:
        model.train()
        for interaction in batches:
            optimizer.zero_grad()
            model.calculate_loss(interaction.to(a.device)).backward()
            optimizer.step()

    @torch.no_grad()
    def recommend() -> np.ndarray:
        model.eval()
        # A row for each user, in the order of the file; -1 is nobody's item.
        top = np.full((len(data.offsets) - 1, 10), -1)
        for batch, *_ in held_out:
            interaction = batch.to(a.device)
            scores = model.full_sort_predict(interaction).reshape(len(interaction), -1)
            # Seen items are left out. 0 is padding and no item.
            scores.scatter_(1, interaction["item_id_list"], -torch.inf)
            best = scores.topk(10).indices
            top[to_ids("user_id", interaction["user_id"])] = to_ids("item_id", best)
        return top[data.held_out >= 0]

    def to_ids(column: str, numbers: torch.Tensor) -> np.ndarray:
        return dataset.field2id_token[column][numbers.cpu().numpy()].astype(np.int64)

    stopping = Stopping(a.epochs, a.patience, a.goal)
    figures = train_to_best(train, recommend, data, stopping, a.device)
    finish(a.device, system="RecBole SASRec", **figures)


if __name__ == "__main__":
    main()
