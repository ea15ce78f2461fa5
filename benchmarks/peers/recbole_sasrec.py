"""RecBole's SASRec with its full softmax: training speed, validation NDCG@10 over time, users
recommended a second.

RecBole makes one padded sequence of every target.
"""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path

import numpy as np
import torch
from common import Sequences, arguments, finish, trained_to_its_best
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.model.sequential_recommender import SASRec


def write_atomic(data: Sequences, folder: Path) -> None:
    """RecBole's interaction file, the held-out item last."""
    lines = ["user_id:token\titem_id:token\ttimestamp:float"]
    for user in range(len(data.offsets) - 1):
        sequence = [
            *data.history(user),
            *([data.held_out[user]] if data.held_out[user] >= 0 else []),
        ]
        lines += [f"{user}\t{item}\t{place}" for place, item in enumerate(sequence)]
    (folder / "exchange").mkdir()
    (folder / "exchange" / "exchange.inter").write_text("\n".join(lines) + "\n")


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
    write_atomic(data, folder)
    settings = {
        "data_path": str(folder), "MAX_ITEM_LIST_LENGTH": a.length, "train_batch_size": a.batch, "hidden_size": a.width,
        "inner_size": 2 * a.width, "n_layers": 2, "n_heads": 2, "loss_type": "CE", "train_neg_sample_args": None,
        "use_gpu": False, "load_col": {"inter": ["user_id", "item_id", "timestamp"]}, "show_progress": False,
        "eval_args": {"split": {"LS": "test_only"}, "order": "TO", "mode": "full"}, "state": "CRITICAL",
    }  # fmt: skip
    config = Config(model="SASRec", dataset="exchange", config_dict=settings)
    dataset = create_dataset(config)
    batches, _, held_out = data_preparation(config, dataset)
    model = SASRec(config, batches.dataset)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)

    def train() -> None:
        model.train()
        for interaction in batches:
            optimizer.zero_grad()
            model.calculate_loss(interaction).backward()
            optimizer.step()

    @torch.no_grad()
    def recommend() -> np.ndarray:
        model.eval()
        top = np.full((len(data.offsets) - 1, 10), -1)
        for interaction, *_ in held_out:
            scores = model.full_sort_predict(interaction).reshape(len(interaction), -1)
            scores.scatter_(
                1, interaction["item_id_list"], -torch.inf
            )  # seen; 0 pads and is nobody's item
            top[tokens("user_id", interaction["user_id"])] = tokens(
                "item_id", scores.topk(10).indices
            )
        return top[data.held_out >= 0]

    def tokens(column: str, numbers: torch.Tensor) -> np.ndarray:
        return dataset.field2id_token[column][numbers.numpy()].astype(np.int64)

    figures = trained_to_its_best(train, recommend, data, a.epochs, a.patience, a.goal)
    finish(peer="RecBole SASRec", **figures)


if __name__ == "__main__":
    main()
