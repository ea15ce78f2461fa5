"""RecTools' SASRec with sampled softmax: training speed, validation NDCG@10 over time, users
recommended a second.
"""

from __future__ import annotations

import warnings
from argparse import Namespace
from functools import partial

import numpy as np
import pandas as pd
from common import Sequences, Stopping, arguments, finish, train_to_best, use_best_settings
from pytorch_lightning import Trainer
from rectools import Columns
from rectools.dataset import Dataset
from rectools.models import SASRecModel

warnings.filterwarnings("ignore")

_ACCELERATORS = {"cpu": "cpu", "cuda": "gpu"}  # Lightning's names


def quiet_trainer(device: str) -> Trainer:
    return Trainer(
        accelerator=_ACCELERATORS[device],
        devices=1,
        precision="bf16-mixed" if device == "cuda" else "32-true",
        max_epochs=1,
        min_epochs=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


def model_of(a: Namespace) -> SASRecModel:
    return SASRecModel(
        n_blocks=2,
        n_heads=2,
        n_factors=a.width,
        dropout_rate=0.2,
        session_max_len=a.length,
        loss="sampled_softmax",
        n_negatives=a.negatives,
        batch_size=a.batch,
        epochs=1,
        lr=1e-3,
        recommend_torch_device=a.device,
        get_trainer_func=partial(quiet_trainer, a.device),
    )


def dataset_of(data: Sequences) -> Dataset:
    users = np.repeat(np.arange(len(data.offsets) - 1), np.diff(data.offsets))
    # One second after the other, so that the order of the files is kept.
    seconds = pd.to_timedelta(np.arange(len(users)), unit="s")
    table = {
        Columns.User: users,
        Columns.Item: data.items,
        Columns.Weight: 1.0,
        Columns.Datetime: pd.Timestamp("2000-01-01") + seconds,
    }
    return Dataset.construct(pd.DataFrame(table))


def to_lists(table: pd.DataFrame, users: np.ndarray) -> np.ndarray:
    """Top items [Q, 10] of RecTools' table, in the order of the users, who are sorted."""
    rows = np.searchsorted(users, table[Columns.User].to_numpy())
    ranks = table[Columns.Rank].to_numpy() - 1
    # A user with fewer than 10 recommendations keeps -1, which is nobody's item.
    top = np.full((len(users), 10), -1)
    top[rows, ranks] = table[Columns.Item]
    return top


def main() -> None:
    a = arguments(
        __doc__,
        data="",
        width=64,
        epochs=30,
        length=50,
        negatives=256,
        batch=128,
        threads=1,
        patience=3,
    )
    # One thread is the fastest here: most products are of a matrix with a vector.
    use_best_settings(a.device, a.threads)
    data = Sequences.read(a.data)
    dataset = dataset_of(data)
    model = model_of(a)
    users = np.flatnonzero(data.held_out >= 0)

    def train() -> None:
        # Training goes on from the last call.
        model.fit_partial(dataset, min_epochs=1, max_epochs=1)

    def recommend() -> np.ndarray:
        table = model.recommend(users, dataset, k=10, filter_viewed=True)
        return to_lists(table, users)

    # RecTools reads the last `length` events of a history, and pads the rest.
    lengths = np.minimum(np.diff(data.offsets) - 1, a.length)
    figures = train_to_best(train, recommend, data, Stopping(a.epochs, a.patience), a.device)
    real_positions = float(lengths.mean() / a.length)
    finish(a.device, system="RecTools SASRec", real_positions=real_positions, **figures)


if __name__ == "__main__":
    main()
