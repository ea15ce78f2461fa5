"""RecTools' SASRec with sampled softmax: training speed, validation NDCG@10 over time, users recommended a second."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import torch
from common import Clock, Sequences, arguments, finish, ndcg_at_10
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
    moments = pd.Timestamp("2000-01-01") + pd.to_timedelta(np.arange(len(users)), unit="s")  # keeps the files' order
    table = {Columns.User: users, Columns.Item: data.items, Columns.Weight: 1.0, Columns.Datetime: moments}
    return Dataset.construct(pd.DataFrame(table))


def main() -> None:
    a = arguments(__doc__, data="", width=64, epochs=30, length=50, negatives=256, batch=128, threads=1, patience=3)
    torch.set_num_threads(a.threads)
    data = Sequences.read(a.data)
    dataset = dataset_of(data)
    model = SASRecModel(
        n_blocks=2, n_heads=2, n_factors=a.width, dropout_rate=0.2, session_max_len=a.length, loss="sampled_softmax",
        n_negatives=a.negatives, batch_size=a.batch, epochs=1, lr=1e-3, get_trainer_func=quiet_trainer,
    )  # fmt: skip
    judged = np.flatnonzero(data.held_out >= 0)
    training, serving, curve, best = Clock(), Clock(), [], 0.0
    for epoch in range(1, a.epochs + 1):
        with training:
            model.fit_partial(dataset, min_epochs=1, max_epochs=1)
        with serving:
            found = model.recommend(judged, dataset, k=10, filter_viewed=True)
        top = np.full((len(judged), 10), -1)
        place = np.searchsorted(judged, found[Columns.User].to_numpy())
        top[place, found[Columns.Rank].to_numpy() - 1] = found[Columns.Item]
        ndcg = ndcg_at_10(top, data.held_out[judged])
        curve.append([round(training.wall, 2), round(training.cpu, 2), round(ndcg, 5)])
        print(epoch, *curve[-1], flush=True)
        best = max(point[2] for point in curve)
        if best > max(point[2] for point in curve[-a.patience :]):
            break
    finish(
        peer="RecTools SASRec",
        trained_targets_per_second=data.num_targets * len(curve) / training.wall,
        trained_targets_per_cpu_second=data.num_targets * len(curve) / training.cpu,
        real_positions=float(np.minimum(np.diff(data.offsets) - 1, a.length).mean() / a.length),
        users_per_second=len(judged) * len(curve) / serving.wall,
        validation_ndcg_10=best,
        curve=curve,
    )


if __name__ == "__main__":
    main()
