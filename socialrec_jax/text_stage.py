"""The stage before the retriever: what products say and show, as one vector each.

RUN/text/ is a GPT-2 folder that `transformers` opens, with vectors.npy beside it: serving needs that file alone.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from socialrec_jax import parallel
from socialrec_jax.config import Config, required
from socialrec_jax.data.text_batches import TextBatches
from socialrec_jax.data.tokenizer import Texts, product_texts, tokenize, train_tokenizer
from socialrec_jax.data.world import World
from socialrec_jax.models.text import GPT2, GPT2Sizes
from socialrec_jax.pretrained import load_pretrained, save_pretrained
from socialrec_jax.run import RunDirectory, replacing, write_atomically
from socialrec_jax.training.fit import fit, whole_calls
from socialrec_jax.training.text import TextTrainer
from socialrec_jax.training.text_vectors import pool, unit_rows, whiten

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

STAGE = "text"
_TOKENS_PER_STEP = 2048  # over all devices: a small catalogue still takes a thousand steps
_LEAST_STEPS = 200  # however few the words: the model shall know them
_ROW_LENGTH = 64  # of texts that are all shorter: packed rows cost attention by their length


def item_features(run: RunDirectory, world: World, config: Config) -> np.ndarray:
    """What the products' texts and fixed vectors say [V, F] float32; F = 0 where there are neither.

    Text and fixed vectors are each whitened, of length 1, and zeros for a product without. Everything is made once:
    RUN/text/key says of what, and a finished vectors.npy of the same is read.
    """
    texts = product_texts(world.items)
    key, file = _key(texts, world, config), run.text / "vectors.npy"
    if not _stands(run.text / "key", key):
        for folder in (run.text, run.checkpoints / STAGE):  # made of something else: of no use any more
            shutil.rmtree(folder, ignore_errors=True)
        run.text.mkdir(parents=True)
        write_atomically(run.text / "key", key)
    if not file.exists():
        fixed = np.asarray(world.items.vectors)
        parts = [_text_vectors(run, texts, config), _finish(fixed, config, np.abs(fixed).sum(1) > 0)]
        with replacing(file) as temporary:
            np.save(temporary, np.concatenate(parts, axis=1))
    return np.load(file)


def _stands(file: Path, key: str) -> bool:
    return file.exists() and file.read_text() == key


def _key(texts: list[str], world: World, config: Config) -> str:
    """A hash of everything that the vectors follow from."""
    digest = hashlib.sha256(json.dumps([texts, dataclasses.asdict(config.text)]).encode())
    digest.update(json.dumps([config.seed, dataclasses.asdict(config.train)]).encode())
    digest.update(world.items.vectors.tobytes())
    for file in sorted(Path(config.text.pretrained or "/nowhere").glob("*.*")):
        digest.update(file.read_bytes())
    return digest.hexdigest()


def _text_vectors(run: RunDirectory, texts: list[str], config: Config) -> np.ndarray:
    """[V, F], or [V, 0] where no product has a text."""
    known = np.array([bool(text) for text in texts])
    if not known.any():
        return np.zeros((len(texts), 0), np.float32)
    sizes, start, tokenizer = _start(texts, config)
    tokens = tokenize(tokenizer, texts, sizes.n_positions)
    row_length = int(np.clip(tokens.lengths.max(), min(_ROW_LENGTH, sizes.n_positions), sizes.n_positions))
    model, params = GPT2(sizes), start
    if required(config.text.epochs):
        # Once each: where products share their few words (categories alone, say), an epoch is short.
        distinct = tokenize(tokenizer, sorted(set(filter(None, texts))), sizes.n_positions)
        params = _train(run, config, model, start, distinct, row_length)
    assert params is not None  # `config.check`: without epochs there is a pretrained model
    save_pretrained(run.text, sizes, params, tokenizer)
    return _finish(pool(model, params, tokens, row_length), config, known)


def _start(texts: list[str], config: Config) -> tuple[GPT2Sizes, dict | None, PreTrainedTokenizerFast]:
    """Sizes, parameters (None: fresh ones) and tokenizer that the training starts from; texts are cut to sizes."""
    t = config.text
    if t.pretrained:
        sizes, params, tokenizer = load_pretrained(Path(t.pretrained))
        return sizes, params, tokenizer
    tokenizer = train_tokenizer(list(filter(None, texts)), required(t.vocabulary))
    return GPT2Sizes(len(tokenizer), t.max_tokens, t.width, t.num_layers, t.num_heads), None, tokenizer


def _train(run: RunDirectory, config: Config, model: GPT2, start: dict | None, tokens: Texts, row_length: int) -> dict:
    """The averaged parameters after all epochs, from wherever run stands."""
    devices = parallel.num_devices()
    rows = max(1, round(_TOKENS_PER_STEP / row_length / devices)) * devices
    batches = TextBatches(tokens, row_length, rows, config.seed)
    steps = max(batches.steps_per_epoch * required(config.text.epochs), _LEAST_STEPS)
    num_steps = whole_calls(steps, config.train.steps_per_call)
    state, _ = fit(run, STAGE, TextTrainer(config, model, num_steps, start), batches, None)
    return state.average


def _finish(vectors: np.ndarray, config: Config, known: np.ndarray) -> np.ndarray:
    return unit_rows(whiten(np.asarray(vectors, np.float32), config.text.vector_width, known))
