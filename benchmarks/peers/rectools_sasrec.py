"""RecTools' SASRec with sampled softmax: training speed, validation NDCG@10 over time, users
recommended a second.
"""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import torch
from common import Sequences, arguments, finish, trained_to_its_best
from pytorch_lightning import Trainer
from rectools import Columns
from rectools.dataset import Dataset
from rectools.models import SASRecModel

warnings.filterwarnings("ignore")


def quiet_trainer(epochs: int = 1) -> Trainer:
    return Trainer(
        accelerator="cpu", max_epochs=epochs, min_epochs=epochs, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip


def dataset_of(data: Sequences) -> Dataset:
    users = np.repeat(np.arange(len(data.offsets) - 1), np.diff(data.offsets))
    query_times = pd.Timestamp("2000-01-01") + pd.to_timedelta(
        np.arange(len(users)), unit="s"
    )  # keeps the files' order
    table = {
        Columns.User: users,
        Columns.Item: data.items,
        Columns.Weight: 1.0,
        Columns.Datetime: query_times,
    }
    return Dataset.construct(pd.DataFrame(table))


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
    torch.set_num_threads(a.threads)
    data = Sequences.read(a.data)
    dataset = dataset_of(data)
    model = SASRecModel(
        n_blocks=2, n_heads=2, n_factors=a.width, dropout_rate=0.2, session_max_len=a.length, loss="sampled_softmax",
        n_negatives=a.negatives, batch_size=a.batch, epochs=1, lr=1e-3, get_trainer_func=quiet_trainer,
    )  # fmt: skip
    evaluated = np.flatnonzero(data.held_out >= 0)

    def recommend() -> np.ndarray:
        found = model.recommend(evaluated, dataset, k=10, filter_viewed=True)
        top = np.full((len(evaluated), 10), -1)
        place = np.searchsorted(evaluated, found[Columns.User].to_numpy())
        top[place, found[Columns.Rank].to_numpy() - 1] = found[Columns.Item]
        return top

    def train() -> None:
        model.fit_partial(dataset, min_epochs=1, max_epochs=1)

    finish(
        peer="RecTools SASRec",
        real_positions=float(np.minimum(np.diff(data.offsets) - 1, a.length).mean() / a.length),
        **trained_to_its_best(train, recommend, data, a.epochs, a.patience),
    )


if __name__ == "__main__":
    main()
