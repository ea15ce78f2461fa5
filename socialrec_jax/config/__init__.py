"""Every setting of a run: frozen dataclasses, three presets, a JSON round trip.

Meaning, unit and range of a setting stand beside it, and `--help` shows them. A setting that is
None follows from the data (`training.auto_config`), so that one command fits a small shop and a
large one; `RUN/config.json` holds the values that were used.
"""

from __future__ import annotations

import dataclasses
import json
from typing import Annotated, Any, Literal

from typing_extensions import Doc

from socialrec_jax.config.ranges import Range, ranges
from socialrec_jax.config.update import UPDATE, UpdateConfig
from socialrec_jax.errors import UsageError

SELECT_BY = "ndcg@10"  # the validation metric that chooses the model and tunes the baselines

Split = Literal["leave-one-out", "time"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataConfig:
    """How raw tables become a World."""

    social_direction: Annotated[
        Literal["both", "out", "in"],
        Doc("Who learns of whom by src -> dst: both, src of dst (out), or dst of src (in)."),
    ] = "both"
    max_bad_share: Annotated[
        float, Range(0, 1, "Stop when more than this share of a table's rows is unusable")
    ] = 0.01
    validation_share: Annotated[
        float, Range(0.01, 0.4, "Share of events in the validation window of a time split")
    ] = 0.1
    test_share: Annotated[
        float, Range(0.01, 0.4, "Share of events in the test window of a time split")
    ] = 0.1
    map: Annotated[tuple[str, ...], Doc("[TABLE.]FIELD=COLUMN: user=buyer,items.item=sku")] = ()
    ignore: Annotated[tuple[str, ...], Doc("Columns to pass over, such as updated_at.")] = ()
    types: Annotated[tuple[str, ...], Doc("Types that are one: view=click,pv buy=order.")] = ()
    names: Annotated[tuple[str, ...], Doc("Without a header: events=user,item,timestamp.")] = ()
    encoding: Annotated[str | None, Doc("Of text files, such as latin-1; by default UTF-8.")] = None
    sep: Annotated[str | None, Doc("Between cells of text files, such as ';' or tab.")] = None
    order: Annotated[
        Literal["time", "file", "random"], Doc("What orders a user's events; file: their rows.")
    ] = "time"
    deduplicate: Annotated[bool, Doc("Reject events that repeat an earlier one.")] = False
    min_user_events: Annotated[int, Range(0, 10_000, "Leave out users of fewer events")] = 0
    min_item_events: Annotated[int, Range(0, 10_000, "Leave out items of fewer events")] = 0
    min_value: Annotated[float | None, Doc("Leave out events of a lower value, such as 4.")] = None
    since: Annotated[str | None, Doc("Leave out earlier events: an ISO 8601 date in UTC.")] = None
    until: Annotated[str | None, Doc("Leave out events of this time and later.")] = None
    first_year: Annotated[int, Range(1678, 2260, "Earlier events have a wrong time")] = 1990
    last_year: Annotated[int | None, Range(1678, 2260, "Later ones, too; None: next year")] = None
    engine: Annotated[
        Literal["duckdb", "spark"], Doc("What reads and sorts the tables; both make one World.")
    ] = "duckdb"
    master: Annotated[str, Doc("Of Spark: local[N], spark://HOST:PORT, yarn or k8s://...")] = (
        "local[*]"
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """Sizes and regularisation of the model."""

    width: Annotated[
        int, Range(16, 1024, "D, size of user and item vectors; a multiple of num_heads")
    ] = 128
    num_layers: Annotated[int, Range(1, 16, "Gated transformer blocks of the behavior model")] = 2
    num_heads: Annotated[int, Range(1, 16, "Attention heads")] = 2
    history_length: Annotated[
        int | None,
        Range(8, 4096, "T, events of one window and of one packed row; by default 64, 128 or 256"),
    ] = None
    dropout: Annotated[
        float | None,
        Range(0, 0.7, "Share of activations dropped; by default more where items have few events"),
    ] = None
    temperature: Annotated[float, Range(0.02, 0.2, "Cosine logits are divided by this")] = 0.07
    request_time: Annotated[
        bool,
        Doc("Let the model see when the next event happens; serving then needs that time, too."),
    ] = False
    social_queries: Annotated[
        int, Range(0, 64, "Positions of a row that learn with friends; 0: only the ranker does")
    ] = 2
    social_aggregation: Annotated[
        Literal["sum", "mean", "max"],
        Doc("How the convolution over the friend graph joins the friends of a user."),
    ] = "sum"
    compute_dtype: Annotated[
        Literal["float32", "bfloat16"],
        Doc("Arithmetic of blocks and of products in losses; parameters and sums stay float32."),
    ] = "float32"
    remat: Annotated[
        bool,
        Doc("Compute the blocks once more in the backward pass: less memory, more time."),
    ] = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """The optimiser and the loop around it."""

    epochs: Annotated[
        int | None,
        Range(1, 1000, "Passes over the events at most; by default 20 to 60, about 6,000 steps"),
    ] = None
    patience: Annotated[
        int, Range(1, 100, "Validations without a better NDCG@10 before training stops")
    ] = 8
    tokens_per_step: Annotated[
        int | None,
        Range(64, 1 << 20, "Events in a step over all devices; by default 1024 to 4096"),
    ] = None
    accumulation: Annotated[
        int,
        Range(1, 256, "Parts of a step that a device computes one after the other, to save memory"),
    ] = 1
    steps_per_call: Annotated[
        int, Range(1, 64, "K, optimiser steps in one call to the devices")
    ] = 8
    learning_rate: Annotated[float, Range(1e-5, 1e-1, "Peak learning rate of Adam")] = 4e-3
    warmup_share: Annotated[
        float, Range(0, 0.5, "Share of all steps in which the learning rate rises linearly")
    ] = 0.05
    spike_deviations: Annotated[
        float,
        Range(0, 1000, "Skip steps so many deviations above the recent median loss; 0: learn all"),
    ] = 0.0
    ema_decay: Annotated[
        float, Range(0, 0.9999, "Decay a step of the averaged parameters that are served; 0: none")
    ] = 0.995
    negatives: Annotated[
        int | None,
        Range(0, 1 << 20, "Sampled negatives a step; 0: full softmax, the default to 5,000 items"),
    ] = None
    type_weight: Annotated[
        float, Range(0, 1, "Weight of the loss of the next event's type beside the next item's")
    ] = 0.1
    focus: Annotated[
        tuple[str, ...],
        Doc("Event types that pay, such as buy: what the model is fine-tuned on, and predicts."),
    ] = ()
    refusals: Annotated[
        tuple[str, ...],
        Doc("Event types that say no, such as dismiss: read in histories, never recommended for."),
    ] = ()
    refit: Annotated[
        bool, Doc("Train once more on all events after the evaluation, for serving.")
    ] = True
    evaluations: Annotated[
        int, Range(1, 1000, "Validations in the whole training, each followed by a checkpoint")
    ] = 20


@dataclasses.dataclass(frozen=True, kw_only=True)
class TextConfig:
    """The language model of product texts, and the vectors that it gives."""

    width: Annotated[
        int, Range(16, 4096, "Size of a token's state, a multiple of num_heads; if not pretrained")
    ] = 128
    num_layers: Annotated[int, Range(1, 48, "Transformer blocks")] = 2
    num_heads: Annotated[int, Range(1, 64, "Attention heads")] = 2
    max_tokens: Annotated[
        int, Range(8, 4096, "L, tokens of one text and of one packed row; longer texts are cut")
    ] = 128
    vocabulary: Annotated[
        int | None,
        Range(258, 1 << 16, "Tokens of the byte-level BPE; by default 1,000 to 16,000"),
    ] = None
    epochs: Annotated[
        int | None,
        Range(0, 1000, "Passes over the texts, 0 with a pretrained model only; by default 1 to 8"),
    ] = None
    pretrained: Annotated[
        str | None,
        Doc("Folder of a GPT-2 to start from, in Hugging Face's layout with safetensors."),
    ] = None
    vector_width: Annotated[int, Range(1, 1024, "F, size of a product's text vector")] = 64


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvaluationConfig:
    """How much is evaluated."""

    users: Annotated[
        int,
        Range(100, 1 << 31, "Users evaluated at most on each part; of more, a random sample"),
    ] = 50_000


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """One run."""

    preset: Annotated[
        Literal["tiny", "base", "large"],
        Doc("Sizes for the sample shop, for millions of events, for accelerators."),
    ] = "base"
    split: Annotated[
        Split,
        Doc(
            "leave-one-out: the last event of each user is tested, the second last validates. "
            "time: two cuts in time, the same for all users."
        ),
    ] = "leave-one-out"
    # JAX's keys are made of 32 bits.
    seed: Annotated[
        int, Range(0, (1 << 32) - 1, "Every random choice is a function of (seed, step)")
    ] = 0
    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    train: TrainConfig = TrainConfig()
    text: TextConfig = TextConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    update: UpdateConfig = UPDATE


def tiny() -> Config:
    """Seconds on one core: tests and the sample shop."""
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


def required(value: int | None) -> int:
    """A setting that `training.auto_config` has filled in."""
    if value is None:
        raise ValueError("this configuration was not completed from a World")
    return value


def check(config: Config) -> None:
    """Raise UsageError on the first setting that is out of its range."""
    _check_ranges("", config)
    for name in ("data", "model", "train", "text", "evaluation", "update"):
        _check_ranges(f"{name}.", getattr(config, name))

    for name, sizes in (("model", config.model), ("text", config.text)):
        if sizes.width % sizes.num_heads:
            raise UsageError(
                f"--{name}.width {sizes.width} is no multiple of "
                f"--{name}.num-heads {sizes.num_heads}"
            )
    if config.text.epochs == 0 and not config.text.pretrained:
        raise UsageError(
            "--text.epochs 0 trains nothing: say with --text.pretrained DIR what to read texts with"
        )


def _check_ranges(section: str, settings: object) -> None:
    """section: what the options' names begin with."""
    for name, allowed in ranges(type(settings)).items():
        value = getattr(settings, name)
        if value is not None and value not in allowed:
            option = f"--{section}{name}".replace("_", "-")
            raise UsageError(f"{option} {value} is out of range {allowed.low}..{allowed.high}")


def to_json(config: Config) -> str:
    return json.dumps(dataclasses.asdict(config), indent=2)


def from_json(text: str) -> Config:
    """The Config that `to_json` wrote; an unknown field is a TypeError that names it."""
    return _build(Config, json.loads(text))


def _build(cls: type, values: Any):
    fields = {field.name: field.default for field in dataclasses.fields(cls)}
    built = {}
    for name, value in values.items():
        if isinstance(value, list):
            value = tuple(value)
        section = fields.get(name)
        is_section = dataclasses.is_dataclass(section)
        built[name] = _build(type(section), value) if is_section else value
    return cls(**built)
