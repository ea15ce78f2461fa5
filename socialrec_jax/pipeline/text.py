"""The text stage: one vector for each item, from its texts and from vectors that the data bring.

RUN/text/ is a folder with the GPT-2 as `transformers` opens it. Beside it are vectors.npy, which is
all that serving of known items needs, and what puts new texts and vectors into the same space:
token weights and two whitening transforms.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import logging
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import jax.numpy as jnp
import numpy as np

from socialrec_jax import checksums
from socialrec_jax.config import Config, required
from socialrec_jax.data.text.text_batches import TextBatches
from socialrec_jax.data.text.tokenizer import Texts, product_texts, tokenize, train_tokenizer
from socialrec_jax.data.text.whitening import Whitening, whiten_known
from socialrec_jax.data.world import World
from socialrec_jax.errors import BadData, DamagedFile
from socialrec_jax.files import replacing, write_atomically, writing
from socialrec_jax.inference.artefacts import load_texts, write_text_manifest
from socialrec_jax.inference.load import RETRIEVER
from socialrec_jax.inference.pretrained import load_pretrained, save_pretrained
from socialrec_jax.inference.text_encoder import (
    TEXT_WHITENING,
    TOKEN_WEIGHTS,
    VECTOR_WHITENING,
    inverse_document_frequencies,
    pool,
    row_length_for,
)
from socialrec_jax.models.gpt2 import GPT2, GPT2Sizes
from socialrec_jax.pipeline import learning_rate
from socialrec_jax.pipeline.heal import has_whole_texts
from socialrec_jax.runtime import parallel, processes
from socialrec_jax.runtime.checkpoint import Checkpoints
from socialrec_jax.runtime.run import RunDirectory
from socialrec_jax.runtime.timeline import timeline
from socialrec_jax.training.loop import fit, whole_calls
from socialrec_jax.training.text import TextTrainer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

STAGE = "text"
log = logging.getLogger(__name__)
_TOKENS_PER_STEP = 2048  # over all devices: a small catalogue still takes a thousand steps
_LEAST_STEPS = 200  # a small catalogue needs them too


@timeline.stage("text")
def item_features(run: RunDirectory, world: World, config: Config) -> np.ndarray:
    """Vectors of the items [V, F] float32, from texts and fixed vectors; F = 0 without both.

    Each of the two is whitened, and its rows have length 1, or 0 for an item without. They are made
    once, and again where they are damaged: RUN/text/key is a hash of all that they follow from.
    """
    texts = product_texts(world.items)
    key = text_key(world, learning_rate.at_start(run, config))
    processes.broadcast_from_main(lambda: _delete_outdated(run, world, key))

    # All processes train together; process 0 writes the vectors, and all read them.
    if not processes.broadcast_from_main(lambda: has_whole_texts(run, world, key)):
        trained = _trained(run, texts, config)
        processes.broadcast_from_main(lambda: _write(run, world, texts, config, trained))
    return load_texts(run, world)


def features_width(world: World, config: Config) -> int:
    """F of `item_features` before they are made, but for a pretrained model that is narrower."""
    t = config.text
    of_texts = t.vector_width if t.pretrained else min(t.vector_width, t.width)
    of_vectors = min(t.vector_width, world.items.vectors.shape[1])
    return of_vectors + (of_texts if any(product_texts(world.items)) else 0)


def text_key(world: World, config: Config) -> str:
    """A hash of everything that the vectors follow from."""
    texts = product_texts(world.items)
    # Texts and settings, training and seed, fixed vectors, the pretrained model.
    digest = hashlib.sha256(json.dumps([texts, dataclasses.asdict(config.text)]).encode())
    digest.update(json.dumps([config.seed, _training_settings(config)]).encode())
    digest.update(world.items.vectors.tobytes())
    if config.text.pretrained:
        for file in sorted(Path(config.text.pretrained).glob("*.*")):
            digest.update(file.read_bytes())
    return digest.hexdigest()


def _training_settings(config: Config) -> dict:
    """Those that a text training follows from. One that is off is left out, so that texts of
    programs that did not know it stay.
    """
    settings = dataclasses.asdict(config.train)
    if not config.train.spike_deviations:
        del settings["spike_deviations"]
    return settings


def _delete_outdated(run: RunDirectory, world: World, key: str) -> None:
    """Delete what was made with another key, and write this key.

    A retriever that has learnt from the vectors keeps them: BadData where they are not whole.
    """
    file = run.text / "key"
    if _recorded_key(run) == key:
        write_atomically(file, key)
        return
    if Checkpoints(run.checkpoints / RETRIEVER).steps():
        _keep_former(run, world)
        return
    for folder in (run.text, run.checkpoints / STAGE):
        shutil.rmtree(folder, ignore_errors=True)
    run.text.mkdir(parents=True)
    write_atomically(file, key)


def _recorded_key(run: RunDirectory) -> str | None:
    """The key that RUN/text was made with; None where there is none."""
    file = run.text / "key"
    if file.exists():
        return file.read_text(errors="replace")
    with contextlib.suppress(DamagedFile):
        return checksums.read(run.text / checksums.MANIFEST).get("made_from", {}).get("key")
    return None


def _keep_former(run: RunDirectory, world: World) -> None:
    """Texts of another key stay under a retriever that has learnt from them."""
    former = "made from other texts, settings or another pretrained model than those of now"
    if not has_whole_texts(run, world, "unknown"):
        raise BadData(f"{run.text} is damaged, and was {former}: train a new --run")
    log.warning("%s was %s: it stays, for the retriever has learnt from it", run.text, former)


@dataclasses.dataclass(frozen=True)
class TrainedText:
    """The language model after its training, and the texts in its tokens."""

    sizes: GPT2Sizes
    params: dict
    tokenizer: PreTrainedTokenizerFast
    tokens: Texts
    row_length: int


def _trained(run: RunDirectory, texts: list[str], config: Config) -> TrainedText | None:
    """None where no product has a text."""
    if not any(texts):
        return None

    sizes, params, tokenizer = _start(texts, config)
    tokens = tokenize(tokenizer, texts, sizes.n_positions)
    row_length = row_length_for(tokens, sizes.n_positions)
    if required(config.text.epochs):
        # Equal texts count once. Where products share few words, such as categories alone, an
        # epoch is short.
        distinct_texts = sorted(set(filter(None, texts)))
        distinct = tokenize(tokenizer, distinct_texts, sizes.n_positions)
        model = GPT2(sizes, jnp.dtype(config.model.compute_dtype))
        params = _train(run, config, model, params, distinct, row_length)

    assert params is not None  # `config.check`: without epochs there is a pretrained model
    return TrainedText(sizes, params, tokenizer, tokens, row_length)


def _start(
    texts: list[str], config: Config
) -> tuple[GPT2Sizes, dict | None, PreTrainedTokenizerFast]:
    """Sizes, parameters (None: fresh ones) and tokenizer that the training starts from."""
    t = config.text
    if t.pretrained:
        sizes, params, tokenizer = load_pretrained(Path(t.pretrained))
        return sizes, params, tokenizer
    # Without a pretrained model, the tokenizer is learnt from the same texts.
    tokenizer = train_tokenizer(list(filter(None, texts)), required(t.vocabulary))
    sizes = GPT2Sizes(len(tokenizer), t.max_tokens, t.width, t.num_layers, t.num_heads)
    return sizes, None, tokenizer


def _train(
    run: RunDirectory,
    config: Config,
    model: GPT2,
    start: dict | None,
    tokens: Texts,
    row_length: int,
) -> dict:
    """The averaged parameters after all epochs."""
    devices = parallel.num_devices()
    rows = max(1, round(_TOKENS_PER_STEP / row_length / devices)) * devices
    batches = TextBatches(tokens, row_length, rows, config.seed)

    steps = max(batches.steps_per_epoch * required(config.text.epochs), _LEAST_STEPS)
    num_steps = whole_calls(steps, config.train.steps_per_call)
    # Nothing is held out of the texts, so there is no validation.
    trainer = TextTrainer(config, model, num_steps, start)
    state, _ = fit(run, STAGE, trainer, batches, None)
    return state.average


def _write(
    run: RunDirectory, world: World, texts: list[str], config: Config, trained: TrainedText | None
) -> None:
    """Write RUN/text, its manifest last."""
    (run.text / checksums.MANIFEST).unlink(missing_ok=True)
    with writing(run.text):
        _write_vectors(run, world, texts, config, trained)
        write_text_manifest(run, world, (run.text / "key").read_text())


def _write_vectors(
    run: RunDirectory, world: World, texts: list[str], config: Config, trained: TrainedText | None
) -> None:
    fixed = np.asarray(world.items.vectors)
    has_fixed = np.abs(fixed).sum(1) > 0
    text_vectors = np.zeros((len(texts), 0), np.float32)
    if trained is not None:
        text_vectors = _text_vectors(run, texts, config, trained)

    # Whitened apart: the two spaces have nothing in common.
    fixed_vectors = _whitened(fixed, config, has_fixed, run.text / VECTOR_WHITENING)
    vectors = np.concatenate([text_vectors, fixed_vectors], axis=1)
    with replacing(run.text / "vectors.npy") as temporary:
        np.save(temporary, vectors)


def _text_vectors(
    run: RunDirectory, texts: list[str], config: Config, trained: TrainedText
) -> np.ndarray:
    """Vectors [V, F] of the texts; the model that makes them is saved beside them."""
    # The model is kept beside its vectors, so that other programs can open it.
    save_pretrained(run.text, trained.sizes, trained.params, trained.tokenizer)
    weights = inverse_document_frequencies(trained.tokens, trained.sizes.vocab_size)
    np.save(run.text / TOKEN_WEIGHTS, weights)

    states = pool(GPT2(trained.sizes), trained.params, trained.tokens, trained.row_length, weights)
    has_text = np.array([bool(text) for text in texts])
    return _whitened(states, config, has_text, run.text / TEXT_WHITENING)


def _whitened(vectors: np.ndarray, config: Config, known: np.ndarray, file: Path) -> np.ndarray:
    """Unit rows [V, F]; the transform is fitted to known rows [V], the others become 0.

    It is saved in file, for vectors that come later.
    """
    vectors = np.asarray(vectors, np.float32)
    whitening = Whitening.fit(vectors[known], config.text.vector_width)
    whitening.save(file)
    return whiten_known(whitening, vectors, known)
