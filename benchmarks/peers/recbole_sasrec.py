"""RecBole's SASRec with its full softmax: training targets a second over some batches, users scored a second.

RecBole makes one padded sequence of every target. It is timed on part of an epoch: a whole training takes hours.
"""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path

import torch
from common import Clock, Sequences, arguments, finish
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.model.sequential_recommender import SASRec


def write_atomic(data: Sequences, folder: Path) -> None:
    """RecBole's interaction file, the held-out item last."""
    lines = ["user_id:token\titem_id:token\ttimestamp:float"]
    for user in range(len(data.offsets) - 1):
        sequence = [*data.history(user), *([data.held_out[user]] if data.held_out[user] >= 0 else [])]
        lines += [f"{user}\t{item}\t{place}" for place, item in enumerate(sequence)]
    (folder / "exchange").mkdir()
    (folder / "exchange" / "exchange.inter").write_text("\n".join(lines) + "\n")


def main() -> None:
    a = arguments(__doc__, data="", width=64, batches=20, batch=2048, length=50, threads=2)
    torch.set_num_threads(a.threads)
    logging.disable(logging.CRITICAL)
    data, folder = Sequences.read(a.data), Path(tempfile.mkdtemp())
    write_atomic(data, folder)
    settings = {
        "data_path": str(folder), "MAX_ITEM_LIST_LENGTH": a.length, "train_batch_size": a.batch, "hidden_size": a.width,
        "inner_size": 2 * a.width, "n_layers": 2, "n_heads": 2, "loss_type": "CE", "train_neg_sample_args": None,
        "use_gpu": False, "load_col": {"inter": ["user_id", "item_id", "timestamp"]}, "show_progress": False,
        "eval_args": {"split": {"LS": "valid_and_test"}, "order": "TO", "mode": "full"}, "state": "CRITICAL",
    }  # fmt: skip
    config = Config(model="SASRec", dataset="exchange", config_dict=settings)
    dataset = create_dataset(config)
    train, validation, _ = data_preparation(config, dataset)
    model = SASRec(config, train.dataset)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    clock, serving, targets, loss = Clock(), Clock(), 0, torch.zeros(())
    for number, interaction in zip(range(a.batches + 2), train):  # noqa: B905 - one stops the other
        if number == 2:  # warm
            clock, targets = Clock(), 0
        with clock:
            optimizer.zero_grad()
            loss = model.calculate_loss(interaction)
            loss.backward()
            optimizer.step()
        targets += len(interaction)
    model.eval()
    users = 0
    with torch.no_grad():
        for number, (interaction, *_) in enumerate(validation):
            with serving:
                model.full_sort_predict(interaction).reshape(len(interaction), -1).topk(10)
            users += len(interaction)
            if number >= a.batches:
                break
    finish(
        peer="RecBole SASRec",
        trained_targets_per_second=targets / clock.wall,
        trained_targets_per_cpu_second=targets / clock.cpu,
        users_per_second=users / serving.wall,
        loss=loss.item(),
    )


if __name__ == "__main__":
    main()
