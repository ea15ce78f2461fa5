"""The GPT-2 here equals that of transformers, and packing does not change what it computes."""

from __future__ import annotations

import functools

import jax
import numpy as np
import pytest
import transformers
from safetensors.numpy import save_file

from socialrec_jax.data.text.tokenizer import train_tokenizer
from socialrec_jax.errors import BadData, InputMissing
from socialrec_jax.inference.pretrained import (
    CONFIG,
    TOKENIZER,
    WEIGHTS,
    load_pretrained,
    save_pretrained,
)
from socialrec_jax.models.gpt2 import GPT2, GPT2Sizes, from_hugging_face, to_hugging_face
from socialrec_jax.models.packing import positions

SIZES = GPT2Sizes(vocab_size=300, n_positions=24, n_embd=32, n_layer=2, n_head=4)
TOKENS = np.random.default_rng(0).integers(0, 300, (2, 20)).astype(np.int32)
WHOLE = np.ones_like(TOKENS)


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(["a red lamp", "a blue lamp"], 300)


@pytest.fixture(scope="module")
def params():
    initial = jax.jit(GPT2(SIZES).init)(jax.random.key(0), TOKENS, WHOLE)["params"]
    perturbation = np.random.default_rng(1)  # so that no bias is zero and no scale one
    return jax.tree.map(
        lambda leaf: np.asarray(leaf + perturbation.normal(0, 0.1, leaf.shape), np.float32), initial
    )


@pytest.fixture
def folder(tmp_path, params, tokenizer):
    save_pretrained(tmp_path / "model", SIZES, params, tokenizer)
    return tmp_path / "model"


@functools.partial(jax.jit, static_argnums=0)
def logits(sizes: GPT2Sizes, params: dict) -> jax.Array:
    model = GPT2(sizes).bind({"params": params})
    return model.logits(model(TOKENS, WHOLE))


def torch_logits(model) -> np.ndarray:
    import torch  # late, as all processes import this file

    with torch.no_grad():
        return model.eval()(torch.tensor(TOKENS, dtype=torch.long)).logits.numpy()


def test_transformers_opens_a_saved_folder(folder, params, tokenizer):
    torch_model = transformers.GPT2LMHeadModel.from_pretrained(folder)
    np.testing.assert_allclose(logits(SIZES, params), torch_logits(torch_model), atol=1e-5)
    opened = transformers.AutoTokenizer.from_pretrained(folder)
    assert opened("a red lamp")["input_ids"] == tokenizer("a red lamp")["input_ids"]
    assert (opened.eos_token, opened.pad_token) == ("<eos>", "<pad>")


@pytest.mark.parametrize("inner", [None, 48])
def test_a_folder_of_transformers_opens_here(tmp_path, tokenizer, inner):
    import torch

    torch.manual_seed(0)
    config = transformers.GPT2Config(
        vocab_size=300,
        n_positions=24,
        n_embd=32,
        n_layer=3,
        n_head=2,
        n_inner=inner,
        initializer_range=0.2,
    )
    torch_model = transformers.GPT2LMHeadModel(config)
    torch_model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    sizes, params, _ = load_pretrained(tmp_path)
    np.testing.assert_allclose(logits(sizes, params), torch_logits(torch_model), atol=1e-5)


def test_names_are_a_bijection(params):
    back = from_hugging_face(to_hugging_face(params))
    assert jax.tree.structure(back) == jax.tree.structure(params)
    assert jax.tree.all(jax.tree.map(np.array_equal, back, params))


def test_packed_equals_alone(params):
    segments = np.repeat([[1, 2, 3, 0]], [7, 5, 6, 2], axis=1).astype(np.int32)
    model = jax.jit(GPT2(SIZES).apply)
    packed = np.asarray(model({"params": params}, TOKENS[:1], segments))
    for number in (1, 2, 3):
        here = segments[0] == number
        tokens, alone = np.zeros_like(segments), np.zeros_like(segments)
        tokens[0, : here.sum()], alone[0, : here.sum()] = TOKENS[0, here], 1
        states = np.asarray(model({"params": params}, tokens, alone))
        np.testing.assert_allclose(packed[:, here], states[:, : here.sum()], atol=1e-5)
    assert positions(segments)[0].tolist() == [*range(7), *range(5), *range(6), 0, 1]


def test_the_past_does_not_see_the_future(params):
    changed = TOKENS.copy()
    changed[:, 10:] = (changed[:, 10:] + 1) % 300
    model = jax.jit(GPT2(SIZES).apply)
    before, after = (
        np.asarray(model({"params": params}, tokens, WHOLE)) for tokens in (TOKENS, changed)
    )
    np.testing.assert_array_equal(before[:, :10], after[:, :10])
    assert np.abs(before[:, 10:] - after[:, 10:]).max() > 1e-3


def rewrite(folder, change) -> None:
    tensors = to_hugging_face(load_pretrained(folder)[1])
    change(tensors)
    save_file(tensors, folder / WEIGHTS)


BREAKAGES = {
    "no config": (CONFIG, lambda f: (f / CONFIG).unlink()),
    "no weights": (WEIGHTS, lambda f: (f / WEIGHTS).unlink()),
    "no tokenizer": (TOKENIZER, lambda f: (f / TOKENIZER).unlink()),
    "config is no json": (CONFIG, lambda f: (f / CONFIG).write_text("{")),
    "config of another model": (
        CONFIG,
        lambda f: (f / CONFIG).write_text('{"model_type": "bert"}'),
    ),
    "config without sizes": (CONFIG, lambda f: (f / CONFIG).write_text('{"model_type": "gpt2"}')),
    "torn weights": (WEIGHTS, lambda f: (f / WEIGHTS).write_bytes((f / WEIGHTS).read_bytes()[:-9])),
    "torn tokenizer": (TOKENIZER, lambda f: (f / TOKENIZER).write_text("{}")),
    "missing tensor": (
        "transformer.ln_f.bias",
        lambda f: rewrite(f, lambda t: t.pop("transformer.ln_f.bias")),
    ),
    "unused tensor": (
        "transformer.h.7.x.bias",
        lambda f: rewrite(f, lambda t: t.update({"h.7.x.bias": WHOLE})),
    ),
    "other shape": (
        "wte",
        lambda f: rewrite(
            f, lambda t: t.update({"wte.weight": WHOLE, "transformer.wte.weight": WHOLE})
        ),
    ),
}


@pytest.mark.parametrize("breakage", BREAKAGES)
def test_a_broken_folder_is_an_error_of_one_line_that_names_the_file(folder, breakage):
    named, break_it = BREAKAGES[breakage]
    break_it(folder)
    with pytest.raises((InputMissing, BadData)) as caught:
        load_pretrained(folder)
    assert named in str(caught.value)
    assert str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)
