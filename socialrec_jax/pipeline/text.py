"""The stage before the retriever: what products say and show, as one vector each.

RUN/text/ is a GPT-2 folder that `transformers` opens. Beside it are vectors.npy, which is all that
serving of known items needs, and what puts new texts and vectors into the same space: token weights
and two whitening transforms.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from socialrec_jax.config import Config, required
from socialrec_jax.data.text.text_batches import TextBatches
from socialrec_jax.data.text.tokenizer import Texts, product_texts, tokenize, train_tokenizer
from socialrec_jax.data.text.whitening import Whitening, whiten_known
from socialrec_jax.data.world import World
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
from socialrec_jax.runtime import parallel, processes
from socialrec_jax.runtime.run import RunDirectory, replacing, write_atomically
from socialrec_jax.training.loop import fit, whole_calls
from socialrec_jax.training.text import TextTrainer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

STAGE = "text"
_TOKENS_PER_STEP = 2048  # over all devices: a small catalogue still takes a thousand steps
_LEAST_STEPS = 200  # however few the words: the model shall know them


def item_features(run: RunDirectory, world: World, config: Config) -> np.ndarray:
    """What the products' texts and fixed vectors say [V, F] float32; F = 0 where there are neither.

    Text and fixed vectors are each whitened, of length 1, and zeros for a product without.
    Everything is made once: RUN/text/key says of what, and a finished vectors.npy of the same is
    read.
    """
    texts = product_texts(world.items)
    processes.broadcast_from_main(lambda: _forget_others(run, _key(texts, world, config)))
    if not processes.broadcast_from_main((run.text / "vectors.npy").exists):
        trained = _trained(run, texts, config)
        processes.broadcast_from_main(lambda: _write_vectors(run, world, texts, config, trained))
    return np.load(run.text / "vectors.npy")


def _forget_others(run: RunDirectory, key: str) -> None:
    """What was made of something else than this key's is gone after it, and the key is there."""
    file = run.text / "key"
    if not (file.exists() and file.read_text() == key):
        for folder in (run.text, run.checkpoints / STAGE):
            shutil.rmtree(folder, ignore_errors=True)
        run.text.mkdir(parents=True)
        write_atomically(file, key)


def _write_vectors(
    run: RunDirectory, world: World, texts: list[str], config: Config, trained: TrainedText | None
) -> None:
    fixed = np.asarray(world.items.vectors)
    spoken = (
        np.zeros((len(texts), 0), np.float32)
        if trained is None
        else _text_vectors(run, texts, config, trained)
    )
    known = np.abs(fixed).sum(1) > 0
    shown = _whitened(fixed, config, known, run.text / VECTOR_WHITENING)
    with replacing(run.text / "vectors.npy") as temporary:
        np.save(temporary, np.concatenate([spoken, shown], axis=1))


def _key(texts: list[str], world: World, config: Config) -> str:
    """A hash of everything that the vectors follow from."""
    digest = hashlib.sha256(json.dumps([texts, dataclasses.asdict(config.text)]).encode())
    digest.update(json.dumps([config.seed, dataclasses.asdict(config.train)]).encode())
    digest.update(world.items.vectors.tobytes())
    for file in sorted(Path(config.text.pretrained or "/nowhere").glob("*.*")):
        digest.update(file.read_bytes())
    return digest.hexdigest()


@dataclasses.dataclass(frozen=True)
class TrainedText:
    """The language model after its training, and the texts as it reads them."""

    sizes: GPT2Sizes
    params: dict
    tokenizer: PreTrainedTokenizerFast
    tokens: Texts
    row_length: int


def _trained(run: RunDirectory, texts: list[str], config: Config) -> TrainedText | None:
    """None where no product has a text."""
    if not any(texts):
        return None
    sizes, start, tokenizer = _start(texts, config)
    tokens = tokenize(tokenizer, texts, sizes.n_positions)
    row_length = row_length_for(tokens, sizes.n_positions)
    params = start
    if required(config.text.epochs):
        # Once each: where products share their few words (categories alone, say), an epoch is
        # short.
        distinct = tokenize(tokenizer, sorted(set(filter(None, texts))), sizes.n_positions)
        params = _train(run, config, GPT2(sizes), start, distinct, row_length)
    assert params is not None  # `config.check`: without epochs there is a pretrained model
    return TrainedText(sizes, params, tokenizer, tokens, row_length)


def _text_vectors(
    run: RunDirectory, texts: list[str], config: Config, trained: TrainedText
) -> np.ndarray:
    """[V, F]; the model that says them is kept beside them."""
    save_pretrained(run.text, trained.sizes, trained.params, trained.tokenizer)
    weights = inverse_document_frequencies(trained.tokens, trained.sizes.vocab_size)
    np.save(run.text / TOKEN_WEIGHTS, weights)
    states = pool(GPT2(trained.sizes), trained.params, trained.tokens, trained.row_length, weights)
    known = np.array([bool(text) for text in texts])
    return _whitened(states, config, known, run.text / TEXT_WHITENING)


def _start(
    texts: list[str], config: Config
) -> tuple[GPT2Sizes, dict | None, PreTrainedTokenizerFast]:
    """Sizes, parameters (None: fresh ones) and tokenizer that the training starts from; texts are
    cut to sizes.
    """
    t = config.text
    if t.pretrained:
        sizes, params, tokenizer = load_pretrained(Path(t.pretrained))
        return sizes, params, tokenizer
    tokenizer = train_tokenizer(list(filter(None, texts)), required(t.vocabulary))
    return (
        GPT2Sizes(len(tokenizer), t.max_tokens, t.width, t.num_layers, t.num_heads),
        None,
        tokenizer,
    )


def _train(
    run: RunDirectory,
    config: Config,
    model: GPT2,
    start: dict | None,
    tokens: Texts,
    row_length: int,
) -> dict:
    """The averaged parameters after all epochs, from wherever run stands."""
    devices = parallel.num_devices()
    rows = max(1, round(_TOKENS_PER_STEP / row_length / devices)) * devices
    batches = TextBatches(tokens, row_length, rows, config.seed)
    steps = max(batches.steps_per_epoch * required(config.text.epochs), _LEAST_STEPS)
    num_steps = whole_calls(steps, config.train.steps_per_call)
    state, _ = fit(run, STAGE, TextTrainer(config, model, num_steps, start), batches, None)
    return state.average


def _whitened(vectors: np.ndarray, config: Config, known: np.ndarray, file: Path) -> np.ndarray:
    """White rows of length 1 where known; the transform is kept in file for new vectors."""
    vectors = np.asarray(vectors, np.float32)
    whitening = Whitening.fit(vectors[known], config.text.vector_width)
    whitening.save(file)
    return whiten_known(whitening, vectors, known)
