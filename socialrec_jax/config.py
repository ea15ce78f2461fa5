"""Every knob of a run: frozen dataclasses, three presets, a JSON round trip.

A field that is None is derived from the data by `training.resolve` before the first step, so that
one command fits a small shop and a large one; `RUN/config.json` holds the values that were used.
"""

from __future__ import annotations

import dataclasses
import json
from typing import Any, Literal

from socialrec_jax.errors import UsageError

SELECT_BY = "ndcg@10"  # the validation metric that chooses the model and tunes the baselines

Split = Literal["leave-one-out", "time"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataConfig:
    """How raw tables become a World."""

    social_direction: Literal["both", "out", "in"] = "both"
    """Whom an edge src -> dst informs: both ends, src only (out: src follows dst), or dst only
    (in).
    """
    max_bad_share: float = 0.01
    """Stop when more than this share of a table's rows is unusable, 0..1."""
    validation_share: float = 0.1
    """Share of events in the validation window of a time split, 0.01..0.4."""
    test_share: float = 0.1
    """Share of events in the test window of a time split, 0.01..0.4."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """Sizes and regularisation of the model."""

    width: int = 128
    """D, size of user and item vectors; a multiple of num_heads, 16..1024."""
    num_layers: int = 2
    """Gated transformer blocks of the behavior model, 1..16."""
    num_heads: int = 2
    """Attention heads, 1..16."""
    history_length: int | None = None
    """T, events of one window and of one packed row, 8..4096; from the data: 64, 128 or 256."""
    dropout: float | None = None
    """Share of activations dropped in training, 0..0.7; from the data: more where items have few
    events.
    """
    temperature: float = 0.07
    """Cosine logits are divided by this, 0.02..0.2."""
    request_time: bool = False
    """Let the model see when the next event happens (serving then asks for the time), off in
    published tables.
    """
    social_queries: int = 2
    """Positions of each packed row that learn with the user's friends, 0 (the ranker alone knows
    friends) .. 64.
    """
    social_aggregation: Literal["sum", "mean", "max"] = "sum"
    """How the friend graph's convolution joins what friends say."""
    compute_dtype: Literal["float32", "bfloat16"] = "float32"
    """Arithmetic of the blocks; parameters, logits and sums stay float32."""
    remat: bool = False
    """Compute each block once more in the backward pass instead of keeping what it computed:
    slower, less memory.
    """


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """The optimiser and the loop around it."""

    epochs: int | None = None
    """Passes over the training events at most, 1..1000; from the data: about 6,000 steps, 20..60
    passes.
    """
    patience: int = 8
    """Evaluations without a better validation NDCG@10 before training stops, 1..100."""
    tokens_per_step: int | None = None
    """Events in one optimiser step over all devices, 64..2^20; from the data: 64 steps an epoch,
    1024..4096.
    """
    accumulation: int = 1
    """Parts that a step's rows on a device are computed in, one after the other, to save memory,
    1..256.
    """
    steps_per_call: int = 8
    """K, optimiser steps in one device call, 1..64."""
    learning_rate: float = 4e-3
    """Peak rate of Adam, 1e-5..1e-1."""
    warmup_share: float = 0.05
    """Share of all steps spent on linear warm-up, 0..0.5."""
    ema_decay: float = 0.995
    """Decay a step of the averaged parameters that are evaluated and served, 0 (off) .. 0.9999."""
    negatives: int | None = None
    """Shared negatives a step; 0 = full softmax; from the data: full up to 5,000 items, else
    1024.
    """
    type_weight: float = 0.1
    """Weight of the next-event-type loss beside the next-item loss, 0..1."""
    focus: tuple[str, ...] = ()
    """Event types that pay, such as buy: fine-tune on them, and recommend what they will happen to;
    all when empty.
    """
    refit: bool = True
    """Train once more on all events, for serving, after the evaluation."""
    evaluations: int = 20
    """Validations over the whole training, each followed by a checkpoint, 1..1000."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class TextConfig:
    """The language model that reads product text, and the vectors that it gives."""

    width: int = 128
    """Size of a token's state; a multiple of num_heads, 16..4096. With pretrained, sizes and tokens
    are its own.
    """
    num_layers: int = 2
    """Transformer blocks, 1..48."""
    num_heads: int = 2
    """Attention heads, 1..64."""
    max_tokens: int = 128
    """L, tokens of one text and of one packed row; longer texts are cut, 8..4096."""
    vocabulary: int | None = None
    """Tokens of the byte-level BPE, 258..65536; from the data: 1,000..16,000, more for more
    text.
    """
    epochs: int | None = None
    """Passes over the texts, 0 (take pretrained as it is) .. 1000; from the data: 1..8, about two
    million tokens.
    """
    pretrained: str | None = None
    """Folder of a GPT-2 in Hugging Face's layout (config, safetensors, tokenizer) to start from."""
    vector_width: int = 64
    """F, size of a product's text vector, 1..1024."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """One run."""

    preset: Literal["tiny", "base", "large"] = "base"
    split: Split = "leave-one-out"
    """leave-one-out: a user's last event is tested, the second last validated; time: global cuts in
    time.
    """
    seed: int = 0
    """Every random choice is a function of (seed, step)."""
    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    train: TrainConfig = TrainConfig()
    text: TextConfig = TextConfig()


def tiny() -> Config:
    """Seconds on one core: tests and the embedded sample world."""
    return Config(preset="tiny", model=ModelConfig(width=64), train=TrainConfig(epochs=50))


def base() -> Config:
    """Up to some million events: minutes on two cores, seconds on an accelerator."""
    return Config()


def large() -> Config:
    """Tens of millions of events, on accelerators."""
    return Config(
        preset="large",
        model=ModelConfig(width=256, num_layers=8, num_heads=4, compute_dtype="bfloat16"),
        train=TrainConfig(tokens_per_step=65536, learning_rate=1e-3),
    )


PRESETS = {"tiny": tiny, "base": base, "large": large}


_RANGES = {
    "data.max_bad_share": (0, 1),
    "data.validation_share": (0.01, 0.4),
    "data.test_share": (0.01, 0.4),
    "model.width": (16, 1024),
    "model.num_layers": (1, 16),
    "model.num_heads": (1, 16),
    "model.history_length": (8, 4096),
    "model.dropout": (0, 0.7),
    "model.temperature": (0.02, 0.2),
    "model.social_queries": (0, 64),
    "train.epochs": (1, 1000),
    "train.patience": (1, 100),
    "train.tokens_per_step": (64, 1 << 20),
    "train.accumulation": (1, 256),
    "train.steps_per_call": (1, 64),
    "train.learning_rate": (1e-5, 1e-1),
    "train.warmup_share": (0, 0.5),
    "train.ema_decay": (0, 0.9999),
    "train.negatives": (0, 1 << 20),
    "train.type_weight": (0, 1),
    "train.evaluations": (1, 1000),
    "text.width": (16, 4096),
    "text.num_layers": (1, 48),
    "text.num_heads": (1, 64),
    "text.max_tokens": (8, 4096),
    "text.vocabulary": (258, 1 << 16),
    "text.epochs": (0, 1000),
    "text.vector_width": (1, 1024),
}


def required(value: int | None) -> int:
    """A setting that `training.resolve` has filled in."""
    if value is None:
        raise ValueError("this configuration was not resolved against a World")
    return value


def check(config: Config) -> None:
    """Raise UsageError on the first setting that is out of its range."""
    for name, (low, high) in _RANGES.items():
        section, field = name.split(".")
        value = getattr(getattr(config, section), field)
        if value is not None and not low <= value <= high:
            raise UsageError(f"--{name.replace('_', '-')} {value} is out of range {low}..{high}")
    for name, sizes in (("model", config.model), ("text", config.text)):
        if sizes.width % sizes.num_heads:
            raise UsageError(
                f"--{name}.width {sizes.width} is no multiple of --{name}.num-heads {sizes.num_heads}"
            )
    if config.text.epochs == 0 and not config.text.pretrained:
        raise UsageError(
            "--text.epochs 0 trains nothing: say with --text.pretrained DIR what to read texts with"
        )


def to_json(config: Config) -> str:
    return json.dumps(dataclasses.asdict(config), indent=2)


def from_json(text: str) -> Config:
    """The Config that `to_json` wrote; an unknown field is a TypeError that names it."""
    return _build(Config, json.loads(text))


def _build(cls: type, values: dict[str, Any]):
    sections = {
        f.name: type(f.default)
        for f in dataclasses.fields(cls)
        if dataclasses.is_dataclass(f.default)
    }
    values = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
    return cls(**{k: _build(sections[k], v) if k in sections else v for k, v in values.items()})
