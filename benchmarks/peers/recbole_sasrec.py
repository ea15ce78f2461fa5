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
from common import (
    Sequences,
    Stopping,
    arguments,
    finish,
    mixed_precision,
    train_to_best,
    use_best_settings,
)
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


class System:
    """RecBole's model, its data and its optimiser."""

    def __init__(self, data: Sequences, config: Config, device: str):
        self.device, self.num_users = device, len(data.offsets) - 1
        self.dataset = create_dataset(config)
        self.batches, _, self.held_out = data_preparation(config, self.dataset)
        self.model = SASRec(config, self.batches.dataset).to(device)
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=1e-3)

    def train(self) -> None:
        """One epoch."""
        self.model.train()
        for interaction in self.batches:
            self.optimizer.zero_grad()
            # On a CPU, bfloat16 would be another model's speed than what RecBole runs.
            with mixed_precision(self.device, self.device == "cuda"):
                loss = self.model.calculate_loss(interaction.to(self.device))
            loss.backward()
            self.optimizer.step()

    @torch.no_grad()
    def recommend(self) -> np.ndarray:
        """Top items [U, 10] of all users, in the order of the file."""
        self.model.eval()
        # -1 is nobody's item.
        top = np.full((self.num_users, 10), -1)
        for batch, *_ in self.held_out:
            interaction = batch.to(self.device)
            users = self.to_ids("user_id", interaction["user_id"])
            top[users] = self.to_ids("item_id", self._best(interaction))
        return top

    def _best(self, interaction) -> torch.Tensor:
        """The best items [Q, 10] in RecBole's numbers, those of the history left out."""
        scores = self.model.full_sort_predict(interaction).reshape(len(interaction), -1)
        # A history is padded with 0, which is no item.
        scores.scatter_(1, interaction["item_id_list"], -torch.inf)
        return scores.topk(10).indices

    def to_ids(self, column: str, numbers: torch.Tensor) -> np.ndarray:
        """RecBole's numbers are not those of the file."""
        ids = self.dataset.field2id_token[column]
        return ids[numbers.cpu().numpy()].astype(np.int64)


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
    use_best_settings(a.device, a.threads)
    logging.disable(logging.CRITICAL)
    data, folder = Sequences.read(a.data), Path(tempfile.mkdtemp())
    write_atomic_file(data, folder)
    system = System(data, config_of(a, folder), a.device)
    has_held_out = data.held_out >= 0

    def recommend() -> np.ndarray:
        return system.recommend()[has_held_out]

    stopping = Stopping(a.epochs, a.patience, a.goal)
    figures = train_to_best(system.train, recommend, data, stopping, a.device)
    finish(a.device, system="RecBole SASRec", **figures)


if __name__ == "__main__":
    main()
